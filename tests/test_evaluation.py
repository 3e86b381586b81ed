"""What stands behind 05_evaluate: intervals, calibration, thresholds, rivals and scores, against known values and other code."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from scipy.special import softmax
from sklearn import metrics as sk

import helpers
from lesson import calibration, evaluation, intervals, rivals

GENERATOR = np.random.default_rng(3)
NAMES = ["billing", "delivery, returns", "praise"]


def judged(n, classes, right=0.6, seed=0):
    """Labels, and predictions that are right so often, of invented sentences."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(classes, size=n)
    return labels, np.where(generator.random(n) < right, labels, generator.integers(classes, size=n))


# ---------------------------------------------------------------- MCC of any number of classes


@pytest.mark.parametrize("classes", [2, 3, 7])
@pytest.mark.parametrize("right", [0.0, 0.3, 1.0])
def test_the_mcc_of_many_classes_is_scikit_learn_s(classes, right):
    labels, said = judged(300, classes, right)
    counts = sk.confusion_matrix(labels, said)
    assert helpers.mcc_of_classes(counts) == pytest.approx(sk.matthews_corrcoef(labels, said))
    assert helpers.mcc_of_classes([counts, counts]) == pytest.approx([sk.matthews_corrcoef(labels, said)] * 2)


def test_of_two_classes_it_is_the_formula_that_05_teaches():
    counts = GENERATOR.integers(1, 50, size=(100, 2, 2))
    assert helpers.mcc_of_classes(counts) == pytest.approx(helpers.mcc(*counts.reshape(100, 4).T))
    for constant in [[[3, 0], [7, 0]], [[0, 3], [0, 7]], [[0, 0], [2, 9]]]:
        assert helpers.mcc_of_classes(constant) == 0


def test_the_bootstrap_of_many_classes_is_that_of_scipy_and_needs_little_memory():
    labels, said = judged(200, 4)
    counts = sk.confusion_matrix(labels, said)
    ours = np.quantile(helpers.bootstrap_mcc(counts, 4000), [0.025, 0.975])
    theirs = stats.bootstrap(
        (labels, said), lambda a, b: sk.matthews_corrcoef(a, b), paired=True, vectorized=False, n_resamples=1500,
        method="percentile", rng=np.random.default_rng(1),
    ).confidence_interval  # fmt: skip
    assert ours == pytest.approx(list(theirs), abs=0.015)
    many = helpers.bootstrap_mcc(np.diag(np.arange(100)), 1000)  # a hundred classes, in several parts
    assert many.shape == (1000,) and many == pytest.approx(1)
    four = helpers.bootstrap_mcc(np.array([40, 12, 9, 80]), 500)
    assert (four == helpers.bootstrap_mcc(np.array([[40, 12], [9, 80]]), 500)).all()


# ---------------------------------------------------------------- other sources


def test_leaving_out_one_source_at_a_time_is_the_jackknife_by_hand():
    labels, said = judged(120, 3, 0.7)
    source = np.repeat(["a", "b", "c", "d", "e"], [50, 30, 20, 15, 5])
    frame = pd.DataFrame({"label": labels, "prediction": said, "source": source})
    without = [sk.matthews_corrcoef(labels[source != one], said[source != one]) for one in "abcde"]
    error = np.sqrt(4 / 5 * sum((score - np.mean(without)) ** 2 for score in without))
    score = sk.matthews_corrcoef(labels, said)
    wide = intervals.over_sources(frame, NAMES)
    assert wide["sources"] == 5 and wide["why_none"] is None
    assert wide["mcc_interval"] == pytest.approx([score - 2.776445 * error, score + 2.776445 * error], abs=1e-5)
    shuffled = frame.sample(frac=1, random_state=1)
    assert intervals.over_sources(shuffled, NAMES)["mcc_interval"] == pytest.approx(wide["mcc_interval"])


def test_sources_that_are_alike_give_the_width_of_the_sentences_and_unlike_ones_more():
    labels, said = judged(4000, 2, 0.6)
    alike = pd.DataFrame({"label": labels, "prediction": said, "source": np.arange(4000) % 40})
    plain = np.quantile(helpers.bootstrap_mcc(intervals.confusion(alike, "ab"), 2000), [0.025, 0.975])
    assert np.ptp(intervals.over_sources(alike, "ab")["mcc_interval"]) == pytest.approx(np.ptp(plain), rel=0.3)
    unlike = alike.assign(source=np.arange(4000) // 100)
    unlike.loc[unlike["source"] % 2 == 0, "prediction"] = 1 - unlike["label"]
    assert np.ptp(intervals.over_sources(unlike, "ab")["mcc_interval"]) > 4 * np.ptp(plain)


@pytest.mark.parametrize(
    "source, words", [("", "without a source"), ("one", "a single source"), (["a", "", "b", "c"], "without a source")]
)
def test_a_corpus_without_sources_gets_a_sentence_instead_of_an_interval(source, words):
    frame = pd.DataFrame({"label": [0, 1, 1, 0], "prediction": [0, 1, 0, 0], "source": source})
    found = intervals.over_sources(frame, "ab")
    assert found["mcc_interval"] is None and words in found["why_none"]


def test_the_interval_stays_where_an_mcc_can_be():
    frame = pd.DataFrame({"label": [0, 1] * 4, "prediction": [0, 1, 1, 0] * 2, "source": list("aabbccdd")})
    low, high = intervals.over_sources(frame, "ab")["mcc_interval"]
    assert -1 <= low < high <= 1


# ---------------------------------------------------------------- calibration


def overconfident(n=20_000, factor=2.5, classes=3):
    """Logits whose probabilities are right if divided by `factor`, and labels drawn by those."""
    generator = np.random.default_rng(1)
    true = generator.normal(0, 1.5, (n, classes))
    labels = np.array([generator.choice(classes, p=row) for row in softmax(true, axis=1)])
    return true * factor, labels


def test_the_temperature_is_found_and_mends_the_calibration():
    logits, labels = overconfident()
    temperature = calibration.fit_temperature(logits, labels)
    assert temperature == pytest.approx(2.5, rel=0.05)
    found = calibration.figures(logits, labels, temperature)
    assert found["ece"] > 0.1 and found["ece_calibrated"] < 0.015
    assert found["loss_calibrated"] < found["loss"] == pytest.approx(sk.log_loss(labels, softmax(logits, axis=1)))
    for other in [temperature * 0.97, temperature * 1.03]:
        assert calibration.loss(logits, labels, other) > found["loss_calibrated"]


def test_one_sided_sentences_ask_for_no_endless_temperature():
    logits = np.array([[2.0, -1.0], [-1.0, 2.0]])
    assert 0.1 <= calibration.fit_temperature(logits, np.array([0, 1])) < 0.2  # all right: surer
    assert 9 < calibration.fit_temperature(logits, np.array([1, 0])) <= 10  # all wrong: as unsure as can be


def test_the_expected_calibration_error_is_that_of_a_case_done_by_hand():
    chances = np.array([[0.95, 0.05], [0.95, 0.05], [0.35, 0.65], [0.35, 0.65], [1.0, 0.0]])
    labels = np.array([0, 1, 1, 1, 0])
    # bin of 0.95 and 1.0: three sentences, mean 2.9 / 3, two right; bin of 0.65: two, both right
    assert calibration.expected_calibration_error(chances, labels) == pytest.approx(
        (3 * abs(2.9 / 3 - 2 / 3) + 2 * 0.35) / 5
    )


# ---------------------------------------------------------------- threshold


def test_the_score_at_each_threshold_is_that_of_scikit_learn():
    labels = GENERATOR.integers(2, size=200)
    chances = np.clip(labels * 0.3 + GENERATOR.random(200) * 0.7, 0, 1)
    scores = calibration.scores_by_threshold(labels, chances)
    for threshold, score in zip(calibration.THRESHOLDS, scores):
        assert score == pytest.approx(sk.matthews_corrcoef(labels, chances > threshold))
    assert scores.max() == scores[np.isclose(calibration.THRESHOLDS, calibration.choose_threshold(scores))][0]


def test_of_equal_thresholds_the_one_nearest_to_one_half_is_taken():
    assert calibration.choose_threshold(np.zeros(99)) == 0.5
    assert calibration.choose_threshold((calibration.THRESHOLDS > 0.7) * 1.0) == pytest.approx(0.71)


def test_a_threshold_is_chosen_without_the_test_set():
    frames = []
    for split, shift in [("validation", 0.2), ("test", -0.2)]:
        labels = np.arange(100) % 2
        chances = np.clip(0.5 + shift + 0.1 * (2 * labels - 1), 0.01, 0.99)
        frames.append(pd.DataFrame({"split": split, "label": labels, "probability": chances}))
    chosen, curves = calibration.thresholds(pd.concat(frames))
    own = chosen["validation"]
    assert list(chosen) == ["validation"] and 0.6 <= own["threshold"] <= 0.8 and own["mcc"] == 1
    assert own["test_mcc"] == 0 and own["test_mcc_at_half"] == 0 and curves["test"].max() == 1


# ---------------------------------------------------------------- other scores


@pytest.mark.parametrize("classes", [2, 4])
def test_the_other_scores_are_scikit_learn_s(classes):
    labels = GENERATOR.integers(classes, size=300)
    chances = softmax(GENERATOR.normal(0, 1, (300, classes)) + 1.5 * np.eye(classes)[labels], axis=1)
    said = chances.argmax(axis=1)
    found = evaluation.other_scores(labels, chances)
    area = sk.roc_auc_score(labels, chances[:, 1] if classes == 2 else chances, multi_class="ovr")
    assert found["auroc"] == pytest.approx(area)
    assert found["balanced_accuracy"] == pytest.approx(sk.balanced_accuracy_score(labels, said))
    assert found["macro_f1"] == pytest.approx(sk.f1_score(labels, said, average="macro"))
    assert found.get("f1") == (pytest.approx(sk.f1_score(labels, said)) if classes == 2 else None)


def test_a_set_with_one_label_has_no_auroc():
    assert evaluation.other_scores([1, 1], np.array([[0.2, 0.8], [0.7, 0.3]]))["auroc"] is None


def test_a_table_of_many_classes_holds_the_probability_of_each():
    tokens = {
        name: torch.tensor(own) for name, own in {"split": [0, 3, 3], "row": [0, 0, 1], "labels": [1, 2, 0]}.items()
    }
    logits = torch.tensor([[0.0, 1.0, 3.0], [0.5, 0.2, 0.1]])
    frame = evaluation.table("test", tokens, logits, NAMES)
    assert frame["prediction"].tolist() == [2, 0] and frame["label"].tolist() == [2, 0]
    assert evaluation.probabilities(frame, NAMES) == pytest.approx(logits.softmax(dim=1).numpy())
    assert frame["probability"].tolist() == pytest.approx(logits.softmax(dim=1).amax(dim=1).tolist())
    two = evaluation.table("test", tokens, logits[:, :2], "ab")
    assert list(two) == ["split", "row", "label", "prediction", "probability"]
    assert evaluation.probabilities(two, "ab") == pytest.approx(logits[:, :2].softmax(dim=1).numpy(), abs=1e-6)


# ---------------------------------------------------------------- rivals


def test_rivals_find_what_words_and_letters_give_away_and_the_majority_does_not():
    words = {0: "invoice refund", 1: "parcel late", 2: "thanks great"}
    labels = np.random.default_rng(0).choice(3, size=400, p=[0.5, 0.3, 0.2])
    train = pd.DataFrame({"sentence": [f"x{i} {words[label]}" for i, label in enumerate(labels)], "label": labels})
    given = rivals.answers(train, ["the parcel", "invoice!", "THANKS", "nothing of these"], NAMES)
    assert (given["majority"] == [1, 0, 0]).all()
    assert given["bag of words"].argmax(axis=1).tolist() == [1, 0, 2, 0]  # "invoice!" is another word
    assert given["bag of characters"].argmax(axis=1).tolist()[:3] == [1, 0, 2]
    for chances in given.values():
        assert chances.shape == (4, 3) and chances.sum(axis=1) == pytest.approx(1)


def test_rivals_take_any_script_and_a_class_that_training_lacks():
    train = pd.DataFrame({"sentence": ["好", "不 好", "🙂", "!"] * 5, "label": [0, 2, 0, 2] * 5})
    for chances in rivals.answers(train, ["好", "?"], NAMES).values():
        assert (chances[:, 1] == 0).all()


@pytest.mark.parametrize("rare", [1, 12])
def test_rivals_of_a_large_corpus_meet_its_rare_class(rare, monkeypatch):
    monkeypatch.setattr(rivals, "MOST", 100)
    train = pd.DataFrame({"sentence": ["many"] * 600, "label": 0})
    train.loc[: rare - 1] = ["few", 1]
    for chances in rivals.answers(train, ["few", "many"], "ab").values():
        assert chances.sum(axis=1) == pytest.approx(1)
    assert chances[0, 1] > chances[1, 1]


def test_the_table_of_rivals_says_what_the_majority_earns():
    labels = np.repeat([0, 1], [30, 70])
    answers = {"model": np.eye(2)[labels], "majority": np.tile([0.0, 1.0], (100, 1))}
    table = evaluation.compared(labels, answers, 500)
    assert table.loc["model", ["accuracy", "auroc", "mcc", "low", "high"]].tolist() == [1] * 5
    assert table.loc["majority", ["accuracy", "balanced_accuracy", "auroc", "mcc", "low", "high"]].tolist() == [
        0.7, 0.5, 0.5, 0, 0, 0,
    ]  # fmt: skip
    assert table.loc["majority", "f1"] == pytest.approx(2 * 0.7 / 1.7) and table.loc["majority", "macro_f1"] < 0.42


@pytest.mark.parametrize(
    ("wrong", "title"),
    [(0, "No sentence is taken for another class."), (2, "Most often taken for another: praise for billing (2).")],
)
def test_the_confusion_matrix_names_a_mistake_only_where_there_is_one(wrong, title):
    figure, words = evaluation.confusion_map([[3, 0, 0], [0, 4, 0], [wrong, 0, 2]], NAMES)
    plt.close(figure)
    assert words.endswith(title)


# ---------------------------------------------------------------- the table of coverage


def test_the_table_of_coverage_is_what_the_script_says():
    from benchmarks import coverage

    listed = pd.read_csv(helpers.ROOT / "results/coverage/coverage.csv").set_index(["sources are", "sources"])
    assert len(listed) == len(coverage.SPREADS) * len(coverage.SOURCES)
    row, sizes, spread = ("very unlike", "six of one size"), [86] * 6, coverage.SPREADS["very unlike"]
    found = [coverage.experiment(seed, sizes, spread, 200) for seed in range(150)]
    for name in found[0]:
        held = np.mean([own[name][0] <= listed.loc[row, "true MCC"] <= own[name][1] for own in found])
        expected = listed.loc[row, name]
        assert abs(held - expected) < 4 * np.sqrt(expected * (1 - expected) / 150) + 0.02, name
    text = (helpers.ROOT / "results/coverage/README.md").read_text(encoding="utf-8")
    for name in found[0]:
        for share in listed[name]:
            assert coverage.percent(share) in text
    six = listed.loc[["unlike", "very unlike"]].query("sources != '14 of 17'")
    page = (helpers.ROOT / "docs/evaluation.md").read_text(encoding="utf-8")
    ranges = [
        f"{100 * six[name].min():.0f} to {100 * six[name].max():.0f}" for name in ["sentences", "one source left out"]
    ]
    assert f"in {ranges[0]} of 100 cases with six sources, the one over sources in {ranges[1]}." in page
    told = pd.read_csv(helpers.ROOT / "results/coverage/power.csv")
    assert (told["found"] - told["foretold"]).abs().max() < 0.04, "what docs and 07 say of it"
    alone = pd.read_csv(helpers.ROOT / "results/coverage/single_runs.csv").set_index("runs")
    assert np.allclose(alone["said"], alone["deviation"], rtol=0.1) and alone["holds"].min() > 0.94
    assert alone.loc[10, "holds"].max() < 0.98, "not wider than it need be, where ten runs tell the spread"
    assert all(coverage.percent(share) in text for share in alone["holds"])
    held = (100 * alone["holds"]).astype(int)
    assert f"in {held.min()} to {held.max()} of 100 simulated cases" in page


def test_the_script_of_that_table_writes_it(tmp_path):
    from benchmarks import coverage, simulated_sweeps

    coverage.main(["--experiments", "3", "--resamples", "50"], tmp_path)
    assert len(pd.read_csv(tmp_path / "coverage.csv")) == len(coverage.SPREADS) * len(coverage.SOURCES)
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "--experiments 3 --resamples 50" in text and len(pd.read_csv(tmp_path / "power.csv")) == len(
        simulated_sweeps.SWEEPS
    )
    assert len(pd.read_csv(tmp_path / "single_runs.csv")) == len(simulated_sweeps.SEEDS)
