"""07_compare_runs as a lesson: the runs that come with the project, cells run again, damaged runs, odd names, the simulation."""

import io
import json
import math
import re
import zipfile

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_1samp
from sklearn.metrics import matthews_corrcoef
from test_compare_runs import CELLS, answers, empty_sweep, notebook, write_run  # noqa: F401

import helpers
from lesson import chance, ensembles, exercises, power, settings, simulation, sweeps, words

SOURCES = [
    cell.source for cell in CELLS if cell.cell_type == "code" and "colab-setup" not in cell.metadata.get("tags", [])
]


# ---------------------------------------------------------------- the runs that come with the project


def test_the_runs_that_come_with_the_project_are_those_of_the_table():
    shipped = sweeps.find("sweep")
    assert "come with the project" in shipped.what and not shipped.left_out and shipped.folder is None
    runs = settings.table(shipped)
    seeds = list(runs["seed"][runs["setting"] == runs["setting"].iloc[0]])
    assert seeds == [str(seed) for seed in range(1, len(seeds) + 1)] and len(seeds) >= 5, "none is left out"
    listed = pd.read_csv(helpers.ROOT / "results/cola/runs.csv").query("batch == 'shipped'")
    found = {
        (own["PADDING"], own["SEED"]): runs.loc[run, ["validation", "test"]] for run, own in shipped.values.items()
    }
    assert len(listed) == len(found)
    for row in listed.to_dict("records"):
        assert list(found[row["padding"], row["seed"]]) == pytest.approx(
            [row["validation_mcc"], row["test_mcc"]], abs=6e-5
        )


def test_they_hold_no_text_and_nothing_of_a_machine():
    with zipfile.ZipFile(sweeps.SHIPPED) as archive:
        assert sum(entry.compress_size for entry in archive.infolist()) < 1_000_000
        for entry in archive.infolist():
            text = archive.read(entry).decode()
            assert '"/' not in text
            if entry.filename.endswith(".csv"):
                table = pd.read_csv(io.StringIO(text))
                assert set(table.select_dtypes("number")) == set(table) - {"split"}
                assert set(table.get("split", [])) <= {"validation", "in_domain_dev", "test"}


def test_a_packed_sweep_reads_as_its_folder(sweep, tmp_path):
    for seed in [1, 2]:
        write_run(
            sweep, f"SEED={seed}", {"SEED": seed, "MODEL_NAME": "/home/me/models/mine"}, answers(0.2, seed), longest=9
        )
    (sweep / "half").mkdir()
    sweeps.pack([sweep], tmp_path / "runs.zip")
    packed = sweeps.read(zipfile.Path(tmp_path / "runs.zip"), "packed", "packed")
    plain = sweeps.read(sweep, "mine", "mine")
    assert list(packed.values) == [f"mine,{run}" for run in plain.values] and not packed.left_out
    for run in plain.values:
        pd.testing.assert_frame_equal(packed.answers[f"mine,{run}"], plain.answers[run])
        pd.testing.assert_frame_equal(packed.histories[f"mine,{run}"], plain.histories[run])
        assert packed.records[f"mine,{run}"]["03_tokenize"]["longest"] == 9
    assert "/home" not in zipfile.ZipFile(tmp_path / "runs.zip").read("mine,SEED=1/metrics.json").decode()
    first = (tmp_path / "runs.zip").read_bytes()
    sweeps.pack([sweep], tmp_path / "runs.zip")
    assert (tmp_path / "runs.zip").read_bytes() == first


def test_your_own_sweep_comes_before_them(tmp_path):
    write_run(tmp_path / "sweep", "a", {"SEED": 1}, answers(0.2, 1))
    assert sweeps.find("sweep").what == "runs/sweep"


# ---------------------------------------------------------------- cells run again


def test_each_cell_run_twice_says_the_same(sweep, capsys, monkeypatch):
    for seed, padding in [(seed, padding) for seed in [1, 2, 3] for padding in ["longest", "max_length"]]:
        write_run(sweep, f"{seed},{padding}", {"SEED": seed, "PADDING": padding}, answers(0.2, seed + 9 * len(padding)))
    variables = {"__name__": "__main__"}
    for number, source in enumerate(SOURCES):
        said = []
        for _ in range(2):
            exec(compile(source, f"cell {number}", "exec"), variables)
            said.append(capsys.readouterr().out)
            if number == 0:
                variables |= {"SWEEP": "mine", "RESAMPLES": 300}
        assert re.sub(r"0x\w+", "", said[0]) == re.sub(r"0x\w+", "", said[1]), source
    before = (sweep / "summary.csv").read_bytes()
    notebook(RESAMPLES=300)
    assert (sweep / "summary.csv").read_bytes() == before


@pytest.mark.parametrize("changed", [{"SWEEP": "other"}, {"COMPARE": "EPOCHS"}, {"RESAMPLES": 50}, {"found": "anew"}])
def test_a_parameter_changed_since_is_said_where_something_is_concluded(sweep, changed):
    for i, (padding, epochs) in enumerate([("longest", 1), ("max_length", 1), ("longest", 2)]):
        write_run(sweep, f"run{i}", {"PADDING": padding, "EPOCHS": epochs, "SEED": 1}, answers(0.2, i))
    variables = notebook()
    (sweep / "summary.csv").unlink()
    concluding = [source for source in SOURCES if "words.verdict(" in source or "summary" in source]
    assert len(concluding) == 2
    if "found" in changed:  # the sweep is read again, and what was made of it is not
        (find,) = [source for source in SOURCES if "sweeps.find(" in source]
        exec(find, changed := dict(variables))
    for source in concluding:
        with pytest.raises(
            helpers.SeriesError,
            match="SWEEP, COMPARE or RESAMPLES changed since. Run this notebook from its parameters",
        ):
            exec(source, variables | changed)
        exec(source, variables)
    assert (sweep / "summary.csv").exists()


# ---------------------------------------------------------------- damaged runs, odd names


DAMAGES = {
    "metrics.json": ['{"test": {', "[]", "{}", '{"test": {"mcc": "high"}}', "\x00\x01"],
    "predictions.csv": ["", "split,row\ntest,1\n", "split,row,label,prediction\ntest,0,1,yes\n", '"'],
    "history.csv": ["", "epoch\n1\n", '"'],
    "state.json": ["{", "3"],
    "run.json": ["{", "null"],
}


@pytest.mark.parametrize("file, content", [(file, content) for file, several in DAMAGES.items() for content in several])
def test_a_damaged_run_is_named_and_left_out(sweep, file, content):
    for seed in [1, 2, 3]:
        write_run(sweep, f"SEED={seed}", {"SEED": seed}, answers(0.2, seed))
    (sweep / "SEED=2" / file).write_text(content)
    found = sweeps.find("mine")
    assert list(found.metrics) == ["SEED=1", "SEED=3"] and list(found.left_out) == ["SEED=2"]
    assert file in found.left_out["SEED=2"] and "\n" not in found.left_out["SEED=2"].strip()


def test_scores_that_do_not_follow_from_the_predictions_are_left_out(sweep, capsys):
    for seed in [1, 2, 3]:
        write_run(sweep, f"SEED={seed}", {"SEED": seed}, answers(0.2, seed))
    frame = pd.read_csv(sweep / "SEED=2/predictions.csv")
    frame.loc[frame["split"] == "test", "prediction"] = answers(0.3, 9) * 1
    frame.to_csv(sweep / "SEED=2/predictions.csv", index=False)
    notebook()
    assert re.search(
        r"SEED=2: test MCC 0\.\d{3} in metrics.json, 0\.\d{3} from predictions.csv", capsys.readouterr().out
    )


def test_nothing_but_damaged_runs_says_each_reason(sweep):
    write_run(sweep, "a", {"SEED": 1}, answers(0.2, 1))
    (sweep / "a/metrics.json").write_text("{")
    with pytest.raises(helpers.SeriesError, match=r"(?s)no finished run.*a: metrics.json is damaged"):
        notebook()


def test_names_and_values_that_look_like_formulas_are_drawn_as_text(sweep, capsys):
    for i, (name, seed) in enumerate([(name, seed) for name in ["$x", "a_$$ {"] for seed in [1, 2]]):
        write_run(sweep, f"run$${i}", {"MODEL_NAME": name, "SEED": seed}, answers(0.2, i))
    seen = notebook()
    fig, ax = seen["drawing"].differences(seen["differences"], seen["effects"])
    ax.set(title=words.short_verdict(seen["sweep"], "MODEL_NAME", seen["effects"]), ylabel="$")
    fig.canvas.draw()  # a formula that cannot be read raises here
    assert "MODEL_NAME, against $x: a_$$ {" in capsys.readouterr().out


def test_a_large_sweep_can_be_drawn(sweep):
    parameters = [{"BATCH_SIZE": size, "SEED": seed} for size in range(8, 24) for seed in range(1, 5)]
    for i, own in enumerate(parameters):
        write_run(sweep, f"run{i}", own, answers(0.2, i))
    seen = notebook()
    assert len(seen["runs"]) == 64 and len(seen["effects"]) == 15 and seen["level"] == 1 - 0.05 / 15


def test_pairs_of_which_some_are_identical_are_said(sweep, capsys):
    for seed, padding, length in [(s, p, n) for s in [1, 2, 3] for p in ["longest", "max_length"] for n in [64, 128]]:
        own = {"SEED": seed, "PADDING": padding, "MAX_LEN": length}
        write_run(sweep, str(own), own, answers(0.2, seed + 9 * (padding == "max_length") * length))
    notebook(COMPARE="MAX_LEN")
    assert "3 of 6 pairs gave identical predictions" in capsys.readouterr().out


# ---------------------------------------------------------------- a larger sweep under the same name, mixtures, more classes


def test_a_run_that_stands_in_a_sweep_twice_counts_once_and_is_named(sweep, capsys):
    """A larger grid in which another parameter varies gives the same runs other names, and makes them anew."""
    for seed in [1, 2, 3]:
        write_run(sweep, f"SEED={seed}", {"SEED": seed, "MAX_LEN": 64}, answers(0.2, seed))
        for length in [64, 128]:
            name = f"MAX_LEN={length},SEED={seed}"
            write_run(sweep, name, {"SEED": seed, "MAX_LEN": length}, answers(0.2, seed * length))
    seen = notebook()
    said = capsys.readouterr().out
    assert "6 finished, 3 left out" in said and len(seen["runs"]) == 6 and len(seen["pairs"][128]) == 3
    assert "SEED=2: the same parameters as MAX_LEN=64,SEED=2, which counts" in said


def test_runs_of_different_classes_are_not_compared(sweep):
    write_run(sweep, "a", {"SEED": 1}, answers(0.2, 1))
    write_run(sweep, "b", {"SEED": 2}, answers(0.2, 2))
    metrics = json.loads((sweep / "b/metrics.json").read_text())
    (sweep / "b/metrics.json").write_text(json.dumps(metrics | {"classes": ["bad", "good"]}))
    with pytest.raises(
        helpers.SeriesError, match=r"mixes runs of different classes \(bad, good; unacceptable, acceptable\)"
    ):
        notebook()


def write_three(sweep, seed, right, padding="longest"):
    """A run of three classes, as 05 leaves it; returns its probabilities [sentences, classes]."""
    generator, names = np.random.default_rng(seed), ["billing", "delivery, returns", "praise"]
    label = np.random.default_rng(0).integers(3, size=300)
    chances = generator.dirichlet([1, 1, 1], size=300) * (1 - right) + right * np.eye(3)[label]
    name = f"PADDING={padding},SEED={seed}"
    write_run(sweep, name, {"SEED": seed, "PADDING": padding}, chances.argmax(axis=1), label)
    frame = pd.read_csv(sweep / name / "predictions.csv")
    for number, own in enumerate(names):
        frame[f"probability_{own}"] = np.tile(chances[:, number], 2)
    frame.to_csv(sweep / name / "predictions.csv", index=False)
    metrics = json.loads((sweep / name / "metrics.json").read_text()) | {"classes": names}
    (sweep / name / "metrics.json").write_text(json.dumps(metrics))
    return chances


def test_runs_of_three_classes_are_compared(sweep, capsys):
    chances = [write_three(sweep, seed, 0.3) for seed in range(5)]
    for seed in range(5):
        write_three(sweep, seed, 0.6, "max_length")
    seen = notebook()
    assert "it differs beyond chance from longest" in capsys.readouterr().out
    label = np.random.default_rng(0).integers(3, size=300)
    voted = np.mean(chances, axis=0).argmax(axis=1)
    assert seen["voted"].loc["ensemble of 5", "test MCC"] == pytest.approx(matthews_corrcoef(label, voted), abs=1e-6)


# ---------------------------------------------------------------- ensembles


def test_many_weak_runs_vote_better_than_one(sweep, capsys):
    label = np.random.default_rng(1).random(400) < 0.6
    for seed in range(1, 8):
        evidence = np.random.default_rng(seed).normal(label - 0.5, 1)
        write_run(sweep, f"SEED={seed}", {"SEED": seed}, evidence > 0, label)
        frame = pd.read_csv(sweep / f"SEED={seed}/predictions.csv")
        frame["probability"] = np.tile(1 / (1 + np.exp(-evidence)), 2)
        frame.to_csv(sweep / f"SEED={seed}/predictions.csv", index=False)
    seen = notebook()
    table, runs = seen["voted"], seen["runs"]
    together, alone, gain = table.to_dict("index").values()
    assert alone["test MCC"] == pytest.approx(runs["test"].mean()) and gain["low"] > 0.1
    assert together["test MCC"] == pytest.approx(alone["test MCC"] + gain["test MCC"])
    labels, _ = seen["sweep"].arrays(seen["members"])
    alike = chance.resampled_mccs(labels, ensembles.vote(seen["sweep"], seen["members"])[:, None], 500)
    assert [together["low"], together["high"]] == pytest.approx(list(np.quantile(alike, [0.025, 0.975])))
    p = float(re.search(r"McNemar p (\d\.\d+)", capsys.readouterr().out)[1])
    assert p < 0.01


def test_the_vote_is_the_mean_of_the_probabilities_not_of_the_verdicts(sweep):
    label = np.array([1, 0] * 20)
    for seed, chances in enumerate([0.1, 0.6, 0.9]):
        write_run(sweep, f"SEED={seed}", {"SEED": seed}, np.where(label, chances > 0.5, 0), label)
        frame = pd.read_csv(sweep / f"SEED={seed}/predictions.csv")
        frame["probability"] = np.tile(np.where(label, chances, 0.2), 2)
        frame.to_csv(sweep / f"SEED={seed}/predictions.csv", index=False)
    found = sweeps.read(sweep, "mine", "mine")
    assert (ensembles.vote(found, ["SEED=0", "SEED=1"]) == 0).all() and (
        ensembles.vote(found, list(found.values)) == label
    ).all()


def test_runs_without_probabilities_make_no_ensemble(sweep, capsys):
    for seed in [1, 2]:
        write_run(sweep, f"SEED={seed}", {"SEED": seed}, answers(0.2, seed))
        frame = pd.read_csv(sweep / f"SEED={seed}/predictions.csv")
        frame.drop(columns="probability").to_csv(sweep / f"SEED={seed}/predictions.csv", index=False)
    seen = notebook()
    assert "no ensemble: no two runs of one setting gave probabilities" in capsys.readouterr().out and not len(
        seen["voted"]
    )


def test_a_chosen_score_stands_beside_the_number_of_runs_tried(sweep, capsys):
    for seed in range(4):
        write_run(
            sweep,
            f"SEED={seed}",
            {"SEED": seed, "EPOCHS": 3},
            answers(0.3, seed),
            validation=answers(0.05 * (4 - seed), 9),
        )
    write_run(sweep, "SEED=0,EPOCHS=9", {"SEED": 0, "EPOCHS": 9}, answers(0.2, 30), validation=answers(0.01, 9))
    (sweep / "broken").mkdir()
    (sweep / "broken/state.json").write_text('{"status": "failed"}')
    runs = notebook()["runs"]
    said = capsys.readouterr().out
    assert f"best by validation of 4 runs of one setting: test MCC {runs['test']['SEED=3']:.3f}" in said
    assert f"best by validation of all, 5 tried and 1 left out: test MCC {runs['test']['SEED=0,EPOCHS=9']:.3f}" in said


# ---------------------------------------------------------------- power


def test_power_is_that_of_the_textbooks():
    assert power.power(34, 0.5, 1 / np.sqrt(2)) == pytest.approx(
        0.8077775, abs=1e-6
    )  # G*Power: paired, dz 0.5, 34 pairs
    assert power.runs_needed(0.5, 1 / np.sqrt(2)) == 34
    assert power.power(10, 0.0, 0.04) == pytest.approx(0.05)
    for difference, spread in [(0.01, 0.035), (0.03, 0.035), (0.05, 0.004)]:
        n = power.runs_needed(difference, spread)
        assert power.power(n, difference, spread) >= 0.8 and (n == 2 or power.power(n - 1, difference, spread) < 0.8)
        assert n - 2 * (2.8 * spread / difference) ** 2 == pytest.approx(1.5, abs=2)  # the rule of thumb, and t
    assert np.isnan(power.runs_needed(0.01, 1.0)) and np.isnan(power.runs_needed(0.01, np.nan))


@pytest.mark.parametrize("effect, runs, sentences", [(0.1, 10, 516), (0.2, 5, 516), (0.1, 10, 2064)])
def test_simulated_runs_are_told_apart_as_often_as_the_power_says(effect, runs, sentences):
    found, differences, squares, experiments = 0, [], [], 200
    for seed in range(experiments):
        generator = np.random.default_rng(seed)
        labels, said = simulation.answers(simulation.skills(effect, runs, generator), sentences, generator)
        scores = chance.mccs(labels, said, np.ones((1, sentences)))[0]
        low, high = chance.student_interval(scores[runs:] - scores[:runs])
        found += low > 0 or high < 0
        differences.append(scores[runs:].mean() - scores[:runs].mean())
        squares += [scores[:runs].var(ddof=1), scores[runs:].var(ddof=1)]
    expected = power.power(runs, np.mean(differences), np.sqrt(np.mean(squares)))
    assert found / experiments == pytest.approx(expected, abs=3 * np.sqrt(0.25 / experiments))


def test_more_sentences_shrink_the_spread_as_far_as_it_is_luck_with_them():
    generator, squares = np.random.default_rng(0), []
    for _ in range(8):
        spreads = []
        for sentences in [2064, 516]:
            labels, said = simulation.answers(simulation.skills(0, 30, generator), sentences, generator)
            spreads.append(chance.mccs(labels, said, np.ones((1, sentences)))[0].std(ddof=1))
        drawn = dict(enumerate(chance.resampled_mccs(labels, said, 200).T))
        luck = chance.luck_with_sentences(drawn, [list(range(30)), list(range(30, 60))])
        squares.append([spreads[0] ** 2, power.spread_with(4, spreads[1], luck) ** 2, spreads[1] ** 2])
    measured, expected, before = np.sqrt(np.mean(squares, axis=0))
    assert expected == pytest.approx(measured, rel=0.15) and measured < 0.75 * before
    assert power.spread_with(1, 0.04, luck) == pytest.approx(0.04) and power.spread_with(4, 0.04, luck) < 0.035
    assert np.isnan(chance.luck_with_sentences({}, [["alone"]]))


@pytest.mark.parametrize("spread", [0.05, 0.2])
def test_the_noise_of_both_kinds_is_that_of_a_new_seed_on_new_sentences(spread):
    """What one run's luck with its sentences adds lies in the spread over seeds and in the bootstrap: it counts once."""
    scores, variances = [], []
    for seed in range(150):
        generator = np.random.default_rng(seed)
        drawn = simulation.skills(0, 5, generator, spread)
        labels, said = simulation.answers(drawn, generator=generator)
        own = chance.mccs(labels, said, np.ones((1, len(labels))))[0]
        columns = chance.resampled_mccs(labels, said, 200)
        luck = chance.luck_with_sentences(dict(enumerate(columns.T)), [range(10)])
        kinds = own.std(ddof=1), np.sqrt(columns.var(axis=0).mean())
        scores.append(own)
        variances.append([chance.both_noises(*kinds, luck) ** 2, np.hypot(*kinds) ** 2])
    ours, added = np.sqrt(np.mean(variances, axis=0))
    true = np.std(scores)  # over 150 test sets of ten runs each
    assert ours == pytest.approx(true, rel=0.04) and added > 1.04 * true


def test_without_a_repeated_setting_the_table_is_empty_and_says_so(sweep, capsys):
    for epochs in [1, 2]:
        write_run(sweep, f"EPOCHS={epochs}", {"SEED": 1, "EPOCHS": epochs}, answers(0.2, epochs))
    seen = notebook()
    assert "Unknown: no setting was repeated with other seeds." in capsys.readouterr().out
    assert seen["power"].table(seen["seed_noise"], seen["ends"], seen["luck"]).isna().all(axis=None)


# ---------------------------------------------------------------- the simulation, and what the verdict is worth


def test_the_simulated_runs_are_like_those_of_minilm():
    shipped = sweeps.find("sweep")
    seeds = [run for run, own in shipped.values.items() if own["PADDING"] == "longest"]
    labels, predictions = shipped.arrays(seeds)
    generator, alike = np.random.default_rng(1), []
    for _ in range(100):
        label, prediction = simulation.answers(simulation.skills(0, 5, generator), len(labels), generator)
        alike.append(_look(label, prediction))
    low, high = np.quantile(alike, [0.005, 0.995], axis=0)
    assert ((low < _look(labels, predictions)) & (_look(labels, predictions) < high)).all(), (
        low,
        high,
        _look(labels, predictions),
    )


def _look(labels, predictions):
    """Share of label 1 and of answer 1, mean and spread of MCC, agreement of two runs."""
    scores = chance.mccs(labels, predictions, np.ones((1, len(labels))))[0]
    agreement = np.mean(predictions[:, 1:] == predictions[:, :-1])
    return np.array([labels.mean(), predictions.mean(), scores.mean(), scores.std(ddof=1), agreement])


def test_a_simulated_sweep_is_one_like_others_and_writes_nothing(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(sweeps, "find", lambda name: simulation.make_up(effect=1.0))
    seen = notebook()
    said = capsys.readouterr().out
    assert "simulated runs, no model: 10 finished, 0 left out" in said and "these are not your runs" in said
    assert "it differs beyond chance from longest" in said
    assert list(tmp_path.iterdir()) == [tmp_path / "mine"] and len(seen["pairs"]["max_length"]) == 5


@pytest.mark.parametrize(
    "effect, seeds, said",
    [
        (0.2, 5, "scores +0.044 .* it cannot be told"),
        (0.2, 10, "scores +0.072 .* it differs beyond"),
        (0.1, 20, "on these"),
    ],
)
def test_the_exercise_comes_out_as_its_solution_says(monkeypatch, capsys, effect, seeds, said):
    monkeypatch.setattr(sweeps, "find", lambda name: simulation.make_up(effect, seeds))
    notebook(RESAMPLES=10000)
    assert re.search(said.replace("+", r"\+"), capsys.readouterr().out)
    solution = CELLS[-1].source
    assert all(number in solution for number in re.findall(r"\+\d.\d+", said))


def test_the_solutions_figures_are_those_of_the_runs_that_come_with_the_project():
    seen = notebook(SWEEP="sweep")
    solutions = "\n".join(cell.source for cell in CELLS if "solution" in cell.metadata.get("tags", []))
    assert f"# {math.ceil((seen['seed_noise'] / 0.01) ** 2)} for minilm on CoLA" in solutions
    assert f"# {1 - power.power(3, 0.05, seen['seed_noise']):.0%} for".replace("%", " %") in solutions
    assert seen["begins"] > 0, "the verdict notices, as the last cell says"


@pytest.mark.parametrize("seeds", [1, 2])
def test_the_exercises_are_right_for_any_sweep_and_ask_for_no_spread_where_there_is_none(sweep, capsys, seeds):
    for seed, padding in [(seed, padding) for seed in range(seeds) for padding in ["longest", "max_length"]]:
        write_run(sweep, f"{seed},{padding}", {"SEED": seed, "PADDING": padding}, answers(0.2, seed + 9 * len(padding)))
    seen = notebook()
    said = re.findall(r"^Right\.$|^This cannot be asked here: no setting was repeated", capsys.readouterr().out, re.M)
    assert said == (
        ["Right."] * 3 if seeds > 1 else ["This cannot be asked here: no setting was repeated"] * 2 + ["Right."]
    )
    if seeds > 1:
        assert seen["seed_noise"] / np.sqrt(seen["seeds"]) <= 0.01 < seen["seed_noise"] / np.sqrt(seen["seeds"] - 1)


def test_how_likely_a_difference_is_missed_is_what_simulated_pairs_say():
    gained = np.random.default_rng(0).normal(0.05, 0.03 * np.sqrt(2), (20_000, 3))
    missed = (ttest_1samp(gained, 0, axis=1).pvalue > 0.05).mean()
    assert exercises.chance_to_miss(3, 0.05, 0.03) == pytest.approx(missed, abs=0.01)


def test_the_table_of_false_alarms_is_what_the_script_says():
    from benchmarks import verdict

    listed = pd.read_csv(helpers.ROOT / "results/verdict/verdict.csv").set_index(["chance of the seed", "pairs"])
    assert len(listed) == len(verdict.SPREADS) * len(verdict.PAIRS)
    again = [verdict.experiment(seed, 5, simulation.SPREAD, 0.3, 200) for seed in range(60)]
    share = np.mean([both for _, _, both, *_ in again])
    expected = listed.loc[("like minilm", 5), "power 0.3"]
    assert abs(share - expected) < 4 * np.sqrt(expected * (1 - expected) / 60) + 0.02
    assert listed["verdict"].max() < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 2000), "no more than the intervals promise"
    assert listed["bootstrap alone"].max() > 0.15, "why the bootstrap is not enough"
    text = (helpers.ROOT / "results/verdict/README.md").read_text(encoding="utf-8")
    for share in listed["verdict"]:
        assert verdict.percent(share) in text


def test_the_script_of_that_table_writes_it(tmp_path):
    from benchmarks import verdict

    verdict.main(["--experiments", "3", "--resamples", "50", "--coverage", "2"], tmp_path)
    assert len(pd.read_csv(tmp_path / "verdict.csv")) == len(verdict.SPREADS) * len(verdict.PAIRS)
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert (
        "**False alarms**" in text
        and "best of 5, test" in text
        and "--experiments 3 --resamples 50 --coverage 2" in text
    )


def test_the_lesson_is_short_and_speaks_of_a_batch_only_where_sentences_are_meant():
    kinds = {"exercise", "solution", "check"}
    lesson = [cell for cell in CELLS if not kinds & set(cell.metadata.get("tags", []))]
    code = [cell.source.splitlines() for cell in lesson if cell.cell_type == "code"]
    assert len(lesson) <= 40 and sum(map(len, code)) <= 200 and max(map(len, code)) <= 20
    prose = "\n".join(cell.source for cell in CELLS if cell.cell_type == "markdown")
    assert re.findall(r"batch\w*", prose.lower()) in ([], ["batches"]), "a set of runs is a sweep"
    for term in ["sweep", "spread", "paired test", "false alarm", "power", "best of n", "ensemble"]:
        assert f"*{term}*" in prose.lower(), term
    assert prose.count("What do you expect") >= 4
