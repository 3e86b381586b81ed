"""07_compare_runs on sweeps that are written here, so that what it should say is known."""

import functools
import itertools
import json
import shutil
from pathlib import Path

import matplotlib
import nbformat
import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom, bootstrap, ttest_1samp
from sklearn.metrics import matthews_corrcoef

import helpers
from lesson import chance, settings, simulation, sweeps, words

matplotlib.use("agg")
NOTEBOOKS = Path(helpers.ROOT, "notebooks")
CELLS = nbformat.read(NOTEBOOKS / "07_compare_runs.ipynb", as_version=4).cells
SENTENCES = 200
LABEL = np.random.default_rng(5).random(SENTENCES) < 0.7
make_up = functools.cache(simulation.make_up)  # the same runs for each call, and more than half of 07's time


@pytest.fixture(name="sweep", autouse=True)
def empty_sweep(tmp_path, monkeypatch):
    """The folder of an empty sweep, below a folder of runs that is this test's own."""
    monkeypatch.setattr(helpers, "RUNS", tmp_path)
    monkeypatch.chdir(NOTEBOOKS)
    monkeypatch.setattr(
        chance.sentence_noises, "__defaults__", (20, 50)
    )  # rounds and samples: what takes most of the time
    monkeypatch.setattr(simulation, "make_up", make_up)
    (tmp_path / "mine").mkdir()
    return tmp_path / "mine"


def notebook(**parameters):
    """Execute 07's cells; returns its variables."""
    variables = {"__name__": "__main__"}
    for cell in CELLS:
        tags = set(cell.metadata.get("tags", []))
        if cell.cell_type == "code" and "colab-setup" not in tags:
            exec(compile(cell.source, "07_compare_runs.ipynb", "exec"), variables)
            if "parameters" in tags:
                variables |= {"SWEEP": "mine", "RESAMPLES": 500} | parameters
    return variables


def answers(wrong, seed, label=LABEL):
    """Predictions that are wrong for a share `wrong` of the sentences, others for each seed."""
    return label ^ (np.random.default_rng(seed).random(len(label)) < wrong)


def write_run(sweep, name, parameters, prediction, label=LABEL, validation=None, longest=None, threads=None):
    """A run folder as 02 to 05 and run.py leave it."""
    (sweep / name / "corpus").mkdir(parents=True)
    metrics = {
        "run": f"mine/{name}",
        "model": "tiny",
        "corpus": "cola",
        "device": "CPU",
        "parameters": parameters,
        "train_seconds": 120.0,
    }
    frames = []
    for split, answer in {"validation": prediction if validation is None else validation, "test": prediction}.items():
        frames.append(
            pd.DataFrame(
                {
                    "split": split,
                    "row": np.arange(len(label)),
                    "label": label * 1,
                    "prediction": answer * 1,
                    "probability": answer * 0.9,
                }
            )
        )
        score = float(matthews_corrcoef(label, answer))
        metrics[split] = {
            "n": len(label),
            "mcc": score,
            "mcc_interval": [score - 0.1, score + 0.1],
            "accuracy": float((label == answer).mean()),
            "collapsed": len(set(answer)) == 1,
        }
    pd.concat(frames).to_csv(sweep / name / "predictions.csv", index=False)
    curve = [0.5 * metrics["validation"]["mcc"], metrics["validation"]["mcc"]]
    pd.DataFrame({"epoch": [1, 2], "training_loss": 0.5, "validation_mcc": curve, "seconds": 60.0}).to_csv(
        sweep / name / "history.csv", index=False
    )
    hidden = {"source": "source", "label": 1, "sentence": ["A sentence that must not be shown."] * len(label)}
    pd.DataFrame(hidden).to_parquet(sweep / name / "corpus" / "test.parquet")
    tokens = (
        {}
        if longest is None
        else {"03_tokenize": {"longest": longest, "seconds": 5.0, "finished": "then", "parameters": {}}}
    )
    training = {"seconds": 130.0, "finished": name, "parameters": parameters, "threads": threads}
    (sweep / name / "run.json").write_text(
        json.dumps({"notebooks": tokens | {"04_train": training, "05_evaluate": {}}})
    )
    (sweep / name / "metrics.json").write_text(json.dumps(metrics))
    (sweep / name / "state.json").write_text(json.dumps({"status": "finished"}))


def test_copies_of_a_pair_are_no_more_evidence(sweep):
    """MAX_LEN 64 and 128 give the same predictions: three seeds at two rates are three pairs, not six."""
    for seed, rate, max_len in itertools.product([1, 2, 3], [1e-5, 1e-4], [64, 128]):
        parameters = {"LEARNING_RATE": rate, "MAX_LEN": max_len, "SEED": seed}
        write_run(sweep, f"{seed},{rate},{max_len}", parameters, answers(0.2, seed + 10 * (rate > 5e-5)))
    found = sweeps.find("mine")
    pairs = settings.find_pairs(found, "LEARNING_RATE")
    assert {value: len(own) for value, own in pairs.items()} == {1e-4: 3}
    assert len(settings.twins(found, settings.table(found))) == 2
    assert len(settings.find_pairs(found, "MAX_LEN")[128]) == 6, "other answers, so other pairs"


def test_what_auto_became_tells_settings_apart_and_what_was_asked_by_name_does_not(sweep):
    auto = {"CORPUS": "auto", "MODEL_NAME": "auto", "PRECISION": "auto", "LEARNING_RATE": None}
    asked = {"CORPUS": "cola", "MODEL_NAME": "tiny", "PRECISION": "bf16", "LEARNING_RATE": 1e-4}
    for seed, (own, precision) in enumerate([(auto, "bf16"), (asked, "bf16"), (auto, "no")]):
        write_run(sweep, f"SEED={seed}", own | {"SEED": seed}, answers(0.2, seed))
        record = json.loads((sweep / f"SEED={seed}/run.json").read_text())
        record["notebooks"]["04_train"] |= {"precision": precision, "learning_rate": 1e-4}
        (sweep / f"SEED={seed}/run.json").write_text(json.dumps(record))
    found = sweeps.find("mine")
    assert found.levels == {"PRECISION": ["bf16", "fp32"], "SEED": [0, 1, 2]}
    assert settings.table(found)["setting"].value_counts().tolist() == [2, 1]


def test_a_run_trained_again_since_its_scores_is_left_out(sweep):
    for seed in [1, 2]:
        write_run(sweep, f"SEED={seed}", {"SEED": seed}, answers(0.2, seed))
    record = json.loads((sweep / "SEED=1/run.json").read_text())
    del record["notebooks"]["05_evaluate"]
    (sweep / "SEED=1/run.json").write_text(json.dumps(record))
    found = sweeps.find("mine")
    assert list(found.metrics) == ["SEED=2"] and "trained again since" in found.left_out["SEED=1"]


def test_a_known_difference_is_found_and_every_figure_is_right(sweep, capsys):
    predictions = {}
    for seed, max_len in itertools.product([1, 2, 3, 4, 13], [64, 128]):
        predictions[seed, max_len] = answers(0.3 if max_len == 64 else 0.1, seed * max_len)
        write_run(
            sweep,
            f"SEED={seed},MAX_LEN={max_len}",
            {"MAX_LEN": max_len, "SEED": seed, "EPOCHS": 4},
            predictions[seed, max_len],
            longest=100,
        )
    write_run(sweep, ".shared/03_tokenize-1a2b", {"MAX_LEN": 64, "SEED": 99}, LABEL)
    write_run(sweep, "SEED=5,MAX_LEN=64", {"MAX_LEN": 64, "SEED": 5}, LABEL)
    write_run(
        sweep, ".SEED=9,MAX_LEN=64.123", {"MAX_LEN": 64, "SEED": 9}, LABEL
    )  # half written, by a process that died
    (sweep / "SEED=5,MAX_LEN=64/state.json").write_text('{"status": "running"}')
    (sweep / "SEED=6,MAX_LEN=64").mkdir()
    (sweep / "SEED=6,MAX_LEN=64/state.json").write_text('{"status": "failed"}')
    (sweep / "notebooks").mkdir()
    seen = notebook()
    said = capsys.readouterr().out
    assert (
        "runs/mine: 10 finished, 2 left out" in said
        and "SEED=5,MAX_LEN=64: running" in said
        and "SEED=6,MAX_LEN=64: failed" in said
    )
    assert (
        list(seen["sweep"].levels) == ["MAX_LEN", "SEED"]
        and list(seen["runs"]["seed"]) == ["1", "2", "3", "4", "13"] * 2
    )
    assert "must not be shown" not in said

    scores = {key: matthews_corrcoef(LABEL, prediction) for key, prediction in predictions.items()}
    differences = [scores[seed, 128] - scores[seed, 64] for seed in [1, 2, 3, 4, 13]]
    mean, low, high = (seen["effects"][128][name] for name in ["mean", "low", "high"])
    assert mean == pytest.approx(np.mean(differences)) and 0 < low < mean < high
    assert f"MAX_LEN, against 64: 128 scores {mean:+.3f} MCC" in said
    assert "5 pairs): it differs beyond chance from 64" in said
    student = ttest_1samp(differences, 0).confidence_interval(0.95)
    assert (seen["effects"][128]["here low"], seen["effects"][128]["here high"]) == pytest.approx(
        (student.low, student.high)
    )
    assert f"on these sentences {student.low:+.3f} to {student.high:+.3f}" in said
    row = seen["table"].loc["MAX_LEN 64"]
    of_64 = [scores[seed, 64] for seed in [1, 2, 3, 4, 13]]
    assert (row["mean"], row["median"], row["spread"]) == pytest.approx(
        (np.mean(of_64), np.median(of_64), np.std(of_64, ddof=1))
    )
    assert row["mean_low"] < row["mean"] < row["mean_high"]

    only_64 = ((predictions[13, 64] == LABEL) & (predictions[13, 128] != LABEL)).sum()
    only_128 = ((predictions[13, 64] != LABEL) & (predictions[13, 128] == LABEL)).sum()
    value, seed, difference, *counts, p = seen["tests"].iloc[-1]
    assert (value, seed, *counts) == (128, "13", only_64, only_128) and difference == pytest.approx(differences[-1])
    assert p == pytest.approx(2 * binom.cdf(only_64, only_64 + only_128, 0.5), rel=1e-6)
    assert [[run.split(",")[0] for run in pair] for pair in seen["twins"]] == [
        ["SEED=1", "SEED=2"],
        ["SEED=3", "SEED=4"],
    ] * 2

    spread = np.sqrt(np.mean([np.var([scores[seed, m] for seed in [1, 2, 3, 4, 13]], ddof=1) for m in [64, 128]]))
    assert seen["seed_noise"] == pytest.approx(spread) and seen["freedom"] == 8
    errors = [
        bootstrap(
            (LABEL, p), matthews_corrcoef, paired=True, vectorized=False, n_resamples=300, method="percentile", rng=1
        ).standard_error
        for p in list(predictions.values())[:2]
    ]
    ours = [seen["resampled"][f"SEED=1,MAX_LEN={m}"].std() for m in [64, 128]]
    assert ours == pytest.approx(errors, rel=0.2)
    factor = 2.306004  # Student's t with 8 degrees of freedom
    drawn = [[seen["resampled"][f"SEED={seed},MAX_LEN={m}"] for seed in [1, 2, 3, 4, 13]] for m in [64, 128]]
    luck = np.mean([np.var(b - a) / 2 for own in drawn for a, b in zip(own, own[1:])])  # in both kinds: it counts once
    shared = min(luck, spread**2)
    assert 0 < shared < seen["sentence_noise"] ** 2 and 1.96**2 * luck < (factor * spread) ** 2
    of_mean = np.sqrt((factor * spread) ** 2 + 1.96**2 * (seen["sentence_noise"] ** 2 - luck))
    assert np.sqrt(2) * seen["of_mean"] == pytest.approx(np.sqrt(2) * of_mean, rel=1e-4), "two runs: both were drawn"
    assert f"differ by less than {np.sqrt(2) * of_mean:.3f} in 95 % of cases" in said
    assert f"by the seed alone, differ by less than {factor * np.sqrt(2) * spread:.3f}" in said
    middle = np.median(list(scores.values()))
    assert f"of this kind is {middle - of_mean:.2f} to {middle + of_mean:.2f} (95 %)" in said
    assert list(seen["noises"]["noise"]) == pytest.approx(
        [spread, seen["sentence_noise"], np.sqrt(spread**2 + seen["sentence_noise"] ** 2 - shared)]
    )
    factors = np.sqrt(8 / np.array([17.5345, 2.1797]))  # chi-squared with 8 degrees of freedom
    assert list(seen["noises"].iloc[0][["low", "high"]]) == pytest.approx(spread * factors, rel=0.03)
    assert (seen["noises"]["low"] < seen["noises"]["high"]).all()

    summary = pd.read_csv(sweep / "summary.csv", index_col="run")
    assert len(summary) == 10 and list(summary["EPOCHS"].unique()) == [4]
    assert summary.loc["SEED=13,MAX_LEN=128", "test_mcc"] == pytest.approx(scores[13, 128], abs=1e-5)
    assert summary.loc["SEED=13,MAX_LEN=128", "seconds"] == 135
    assert settings.hours(seen["sweep"]) == pytest.approx((10 * 130 + 5) / 3600), "what the runs share counts once"


@pytest.mark.parametrize("classes", [2, 3])
def test_resampled_sentences_are_the_same_for_all_runs_and_the_sums_are_right(classes):
    generator = np.random.default_rng(1)
    labels = generator.integers(classes, size=SENTENCES)
    guesses = generator.integers(classes, size=(SENTENCES, 2))
    one, other = np.where(generator.random((SENTENCES, 2)) < 0.7, labels[:, None], guesses).T
    predictions = np.stack([one, one, other], axis=1)
    scores = chance.resampled_mccs(labels, predictions, samples=2000)
    assert scores.shape == (2000, 3) and (scores[:, 0] == scores[:, 1]).all()
    drawn = np.random.default_rng(0).integers(SENTENCES, size=(3, SENTENCES))
    by_hand = [[matthews_corrcoef(labels[own], run[own]) for run in predictions.T] for own in drawn]
    assert chance.resampled_mccs(labels, predictions, samples=3) == pytest.approx(np.array(by_hand))
    assert chance.mccs(labels, np.ones((SENTENCES, 1)), np.ones((1, SENTENCES))).item() == 0, "one constant answer"


def test_the_interval_of_a_mean_draws_runs_too():
    of_runs = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    low, high = chance.interval_of_mean(np.tile(of_runs, (20000, 1)))
    assert (low + high) / 2 == pytest.approx(0.35, abs=0.01)
    expected = 2 * 1.96 * of_runs.std(ddof=1) / np.sqrt(6)  # 9 % more than if as many runs were drawn as there are
    assert high - low == pytest.approx(expected, rel=0.05)


def test_the_best_of_n_is_what_trying_all_choices_gives():
    for by in [[0.1, 0.4, 0.3, 0.2], [0.1, 0.4, 0.4, 0.0], [0.0] * 4]:
        score = np.array([0.5, 0.1, 0.3, 0.7])
        for n in [1, 2, 3, 4]:
            picked = []
            for chosen in itertools.combinations(range(4), n):
                top = [i for i in chosen if by[i] == max(by[j] for j in chosen)]
                picked.append(np.mean([score[i] for i in top]))  # ties: each as likely
            assert chance.best_of(n, np.array(by), score) == pytest.approx(np.mean(picked))
    by = np.array([0.1, 0.4, 0.3, 0.2])
    both = chance.best_of(2, np.stack([by, -by]), np.stack([score, score]))
    assert both == pytest.approx([chance.best_of(2, by, score), chance.best_of(2, -by, score)])


def test_the_curve_of_the_best_begins_with_the_mean_and_its_interval():
    by, score = np.random.default_rng(0).normal(size=(2, 9))
    curve = chance.best_of_curve(by, score)
    assert curve.shape == (4, 3) and curve[1, 0] == pytest.approx(chance.best_of(2, by, score))
    assert curve[0] == pytest.approx([score.mean(), *chance.student_interval(score)])
    assert (np.diff(chance.best_of_curve(by, by)[:, 0]) > 0).all(), "the highest of more is higher"
    assert np.isnan(chance.best_of_curve([0.1], [0.2])[0, 1:]).all() and len(chance.best_of_curve([1, 2], [1, 2])) == 1


def test_the_error_of_a_standard_error_is_about_what_it_is_over_test_sets():
    generator, found = np.random.default_rng(0), []
    for _ in range(60):
        labels, predictions = simulation.answers([simulation.SKILL] * 3, 300, generator)
        found.append(np.sqrt(chance.resampled_mccs(labels, predictions, 200).var(axis=0).mean()))
    noises = chance.sentence_noises(labels, predictions, 200, 200)
    assert noises.mean() == pytest.approx(np.mean(found), rel=0.1)
    assert noises.std() == pytest.approx(np.std(found), rel=0.5)


def test_one_run(sweep, capsys):
    write_run(sweep, "run", {"SEED": 42, "MAX_LEN": 64}, answers(0.2, 1))
    seen = notebook()
    said = capsys.readouterr().out
    assert "1 finished, 0 left out" in said and "varying: nothing" in said
    assert "Nothing varies, so there is no setting to compare." in said
    assert f"to within ±{1.96 * seen['resampled']['run'].std():.2f}" in said and "what the seed adds is unknown" in said
    assert len(pd.read_csv(sweep / "summary.csv")) == 1


def test_seeds_alone(sweep, capsys):
    for seed in [1, 2]:
        write_run(sweep, f"SEED={seed}", {"SEED": seed}, answers(0.2, seed))
    notebook()
    assert "Nothing varies but the seed" in capsys.readouterr().out


@pytest.mark.parametrize(
    "longest, why",
    [
        (47, "the longest sentence has 47 tokens"),
        (100, "MAX_LEN reaches neither the training nor the predictions"),
        (None, "MAX_LEN reaches neither"),
    ],
)
def test_identical_predictions_are_called_identical_and_explained(sweep, capsys, longest, why):
    for seed, max_len in itertools.product([1, 2, 3], [64, 128]):
        write_run(
            sweep,
            f"SEED={seed},MAX_LEN={max_len}",
            {"MAX_LEN": max_len, "SEED": seed},
            answers(0.2, seed),
            longest=longest,
        )
    seen = notebook()
    said = capsys.readouterr().out
    assert "MAX_LEN, against 64: 128 gives identical predictions for every test sentence (3 pairs)." in said
    assert f"Why identical: {why}" in said
    assert len(seen["alive"]) == 3 and seen["freedom"] == 2, "the same answers count once"


def test_all_collapsed(sweep, capsys):
    for seed, max_len in itertools.product([1, 2], [64, 128]):
        write_run(
            sweep,
            f"SEED={seed},MAX_LEN={max_len}",
            {"MAX_LEN": max_len, "SEED": seed},
            np.ones(SENTENCES, bool),
            longest=47,
        )
    notebook()
    said = capsys.readouterr().out
    assert "settings: 2 | collapsed: 4" in said
    assert "identical predictions" in said and "Why identical: every run collapsed" in said
    assert "All 4 runs collapsed: a single run of this kind says nothing" in said


def test_some_collapsed_are_counted_apart(sweep, capsys):
    for seed in [1, 2, 3]:
        write_run(sweep, f"SEED={seed}", {"SEED": seed}, np.ones(SENTENCES, bool) if seed == 2 else answers(0.2, seed))
    seen = notebook()
    assert "Besides, 1 of 3 runs collapsed" in capsys.readouterr().out
    assert seen["seed_noise"] == pytest.approx(
        np.std([matthews_corrcoef(LABEL, answers(0.2, seed)) for seed in [1, 3]], ddof=1)
    )


def test_words_none_and_paths_as_parameters(sweep, tmp_path, capsys):
    models, rates = [str(tmp_path / "models" / "large"), "minilm"], [None, 1e-4, 2e-5]
    for i, (model, rate) in enumerate(itertools.product(models, rates)):
        write_run(
            sweep,
            f"run{i}",
            {"MODEL_NAME": model, "LEARNING_RATE": rate, "SEED": 1},
            answers(0.05 if rate == 1e-4 else 0.3, i),
        )
    seen = notebook(COMPARE="LEARNING_RATE")
    said = capsys.readouterr().out
    assert list(seen["sweep"].levels) == ["MODEL_NAME", "LEARNING_RATE"]
    assert "varying: {'MODEL_NAME': ['large', 'minilm'], 'LEARNING_RATE': [None, 2e-05, 0.0001]}" in said
    assert {value: len(found) for value, found in seen["pairs"].items()} == {2e-5: 2, 1e-4: 2}
    sentence = next(line for line in said.splitlines() if line.startswith("LEARNING_RATE, against None:"))
    assert "2e-05 scores" in sentence and "0.0001 scores +" in sentence
    assert sentence.count("2 pairs)") == 2
    assert "it has too few or too unlike pairs to be told from None" in sentence, "two pairs, however large the effect"
    assert "fewer than five pairs" in said
    assert str(tmp_path) not in said and str(tmp_path) not in (sweep / "summary.csv").read_text()
    assert "MODEL_NAME, against large: minilm" in (notebook(), capsys.readouterr().out)[1], "the first that varies"


def test_test_sets_of_different_size_are_not_paired(sweep, capsys):
    for seed, corpus in itertools.product([1, 2], ["cola", "practice"]):
        label = LABEL if corpus == "cola" else LABEL[:150]
        write_run(
            sweep, f"SEED={seed},CORPUS={corpus}", {"CORPUS": corpus, "SEED": seed}, answers(0.2, seed, label), label
        )
    notebook()
    said = capsys.readouterr().out
    assert "CORPUS: no paired test, because its values have different test sets (200 and 150 sentences)" in said


def test_runs_without_twins_or_without_predictions_are_not_paired(sweep, capsys):
    write_run(sweep, "a", {"MAX_LEN": 64, "SEED": 1}, answers(0.2, 1))
    write_run(sweep, "b", {"MAX_LEN": 128, "SEED": 2}, answers(0.2, 2))
    notebook()
    assert "no two finished runs with predictions differ in MAX_LEN alone" in capsys.readouterr().out
    for run in "ab":
        (sweep / run / "predictions.csv").unlink()
        (sweep / run / "history.csv").unlink()
    notebook()
    assert "no two finished runs with predictions" in capsys.readouterr().out


def test_a_single_pair_says_what_it_cannot_say(sweep, capsys):
    for max_len in [64, 128]:
        write_run(sweep, f"MAX_LEN={max_len}", {"MAX_LEN": max_len, "SEED": 1}, answers(0.2, max_len))
    notebook()
    said = capsys.readouterr().out
    assert "1 pair)" in said and "A single pair cannot say" in said


def test_pairs_on_different_numbers_of_threads_are_said(sweep, capsys):
    for max_len, threads in [(64, 1), (128, 1), (256, 2)]:
        write_run(sweep, f"MAX_LEN={max_len}", {"MAX_LEN": max_len, "SEED": 1}, answers(0.2, max_len), threads=threads)
    notebook()
    assert "different numbers of threads." in capsys.readouterr().out
    shutil.rmtree(sweep / "MAX_LEN=256")
    notebook()
    assert "different numbers of threads." not in capsys.readouterr().out


def test_errors_say_what_to_do(sweep):
    with pytest.raises(helpers.SeriesError, match="no sweep 'night'.*python run.py -p SEED 1 2 3 --sweep night"):
        notebook(SWEEP="night")
    with pytest.raises(helpers.SeriesError, match="'mine' holds no finished run"):
        notebook()
    write_run(sweep, "a", {"SEED": 1}, answers(0.2, 1))
    with pytest.raises(helpers.SeriesError, match="'MAX_LEN', which does not vary"):
        notebook(COMPARE="MAX_LEN")
    with pytest.raises(helpers.SeriesError, match="RESAMPLES is 5"):
        notebook(RESAMPLES=5)


@pytest.mark.parametrize(
    "varying, compared",
    [
        (["EPOCHS", "MAX_LEN", "PADDING", "SEED"], "PADDING"),
        (["EPOCHS", "MAX_LEN", "SEED"], "MAX_LEN"),
        (["EPOCHS", "BATCH_SIZE", "SEED"], "EPOCHS"),
        (["SEED"], None),
    ],
)
def test_what_is_compared_unless_you_say(sweep, varying, compared):
    two = {"EPOCHS": [2, 4], "BATCH_SIZE": [8, 16], "MAX_LEN": [64, 128]}
    two |= {"PADDING": ["longest", "max_length"], "SEED": [1, 2]}
    for i, combination in enumerate(itertools.product(*(two[name] for name in varying))):
        write_run(sweep, f"run{i}", dict(zip(varying, combination)), answers(0.2, i))
    seen = notebook()
    assert seen["compared"] == compared
    assert [len(found) for found in seen["pairs"].values()] == ([2 ** (len(varying) - 1)] if compared else [])
    if "MAX_LEN" in varying:
        assert notebook(COMPARE="EPOCHS")["compared"] == "EPOCHS"


def test_runs_older_than_padding_padded_to_the_longest(sweep, capsys):
    for seed in [1, 2]:
        write_run(sweep, f"old{seed}", {"SEED": seed}, answers(0.2, seed))
        write_run(sweep, f"new{seed}", {"SEED": seed + 2, "PADDING": "longest"}, answers(0.2, seed + 2))
        write_run(sweep, f"wide{seed}", {"SEED": seed, "PADDING": "max_length"}, answers(0.2, seed + 4))
    seen = notebook()
    assert seen["sweep"].levels["PADDING"] == ["longest", "max_length"] and list(seen["table"].index) == [
        "PADDING longest",
        "PADDING max_length",
    ]
    assert seen["pairs"] == {"max_length": [("old1", "wide1"), ("old2", "wide2")]}


def test_a_parameter_that_some_runs_did_not_record(sweep, capsys):
    for seed in [1, 2]:
        write_run(sweep, f"a{seed}", {"MAX_LEN": 64, "SEED": seed}, answers(0.2, seed), longest=40)
        write_run(sweep, f"b{seed}", {"SEED": seed}, answers(0.2, seed), longest=40)
    assert notebook()["sweep"].levels["MAX_LEN"] == [64, "not recorded"]
    assert "not recorded gives identical predictions" in capsys.readouterr().out


def test_padded_to_max_len_identical_runs_are_not_laid_to_their_length(sweep, capsys):
    for seed, max_len in itertools.product([1, 2], [64, 128]):
        parameters = {"MAX_LEN": max_len, "SEED": seed, "PADDING": "max_length"}
        write_run(sweep, f"{seed},{max_len}", parameters, answers(0.2, seed), longest=47)
    notebook()
    said = capsys.readouterr().out
    assert "MAX_LEN reaches neither" in said and "longest sentence has" not in said


def test_runs_of_one_seed_without_predictions_say_nothing(sweep, capsys):
    write_run(sweep, "a", {"SEED": 1}, answers(0.2, 1))
    (sweep / "a" / "predictions.csv").unlink()
    notebook()
    assert "nan" not in capsys.readouterr().out


def test_folders_and_lists_as_values_stay_apart():
    given = [{"MODEL_NAME": "/a/one/bert", "L": [1]}, {"MODEL_NAME": "/a/two/bert/", "L": [2]}]
    given += [{"MODEL_NAME": "/a/two/bert", "L": [1]}, {"MODEL_NAME": "bert", "L": [1]}]
    shown = settings.parameters({i: {"parameters": own} for i, own in enumerate(given)})
    assert [shown[i]["MODEL_NAME"] for i in range(4)] == ["one/bert", "two/bert", "two/bert", "bert"]
    assert settings.levels(shown)["L"] == ["[1]", "[2]"]


def test_the_intervals_hold_what_they_should_as_often_as_they_say():
    drawn = np.random.default_rng(0).normal(0.1, 0.03, size=(4000, 5))
    ends = np.array([chance.student_interval(own) for own in drawn])
    assert np.mean((ends[:, 0] < 0.1) & (0.1 < ends[:, 1])) == pytest.approx(0.95, abs=0.015)
    assert np.isnan(chance.student_interval([0.1])).all(), "a single pair"
    assert chance.student_interval([0.1, 0.1, 0.1]) == pytest.approx([0.1, 0.1])

    low, high = chance.spread_factors(4)
    assert (low, high) == pytest.approx((0.599, 2.874), abs=0.001)
    spreads = drawn.std(axis=1, ddof=1)
    assert np.mean((spreads * low < 0.03) & (0.03 < spreads * high)) == pytest.approx(0.95, abs=0.015)


def test_when_a_difference_is_called_real():
    found = {}
    for wide, here in itertools.product([(0.1, 0.2), (-0.2, -0.1), (-0.1, 0.1), (np.nan, np.nan)], repeat=2):
        leave_out = (wide[0] * wide[1] > 0, here[0] * here[1] > 0)
        found.setdefault(chance.finding(wide, here), set()).add(leave_out)
    assert found == {finding: {leave_out} for leave_out, finding in chance.FINDINGS.items()}


def test_which_chance_is_the_larger_is_said_only_where_the_intervals_part():
    kinds = ["another seed", "other test sentences", "both"]
    for seed, sentences, said in [
        ((0.01, 0.02), (0.03, 0.04), "The test sentences move"),
        ((0.05, 0.06), (0.03, 0.04), "The seed moves"),
        ((0.01, 0.035), (0.03, 0.04), "open"),
        ((np.nan, np.nan), (0.03, 0.04), "Too few runs"),
    ]:
        noises = pd.DataFrame([seed, sentences, seed], columns=["low", "high"], index=kinds)
        assert said in words.louder(noises.assign(noise=noises.mean(axis=1)))


def test_titles_say_what_can_be_seen():
    runs = pd.DataFrame({"setting": ["a", "a", "b", "b"], "test": [0.1, 0.2, 0.5, 0.9], "collapsed": False})
    assert words.headline(runs) == "2 seeds of one setting: test MCC from 0.50 to 0.90"
    assert words.headline(runs[::2]) == "Test MCC 0.10 to 0.50, no setting repeated"
    assert words.headline(runs[:1]) == "Test MCC 0.10, no setting repeated"
    assert words.headline(runs.assign(collapsed=True)) == "Collapsed: 4 of 4 runs"
    curves = pd.DataFrame({"run": list("aabb"), "epoch": [1, 2, 1, 2], "validation_mcc": [0.1, 0.2, 0.2, 0.1]})
    assert words.rising(curves) == "Best after the last epoch: 1 of 2 runs" and words.rising(curves[:0]).endswith(
        "0 of 0 runs"
    )
