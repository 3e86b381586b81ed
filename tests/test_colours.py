"""Colours that carry meaning, as people see them who lack one kind of cone; and that none says anything alone."""

from itertools import combinations, pairwise

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import seaborn as sns
from matplotlib.colors import to_rgb

import helpers
from lesson import calibration, drawing, features, pairs

# Machado, Oliveira and Fernandes 2009 (doi 10.1109/TVCG.2009.113), severity 1: linear RGB as it is → as it is seen
SEEN = {
    "all three": np.eye(3),
    "without red": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "without green": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "without blue": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}
TO_XYZ = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.072175], [0.0193339, 0.119192, 0.9503041]]
WHITE = [0.95047, 1.0, 1.08883]  # D65


def lab(color, seen):
    """CIELAB (L 0 to 100, a, b) of a matplotlib colour, as it is seen (IEC 61966-2-1, CIE 15)."""
    rgb = np.array(to_rgb(color))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    x, y, z = np.array(TO_XYZ) @ np.clip(np.array(seen) @ linear, 0, 1) / WHITE
    x, y, z = (np.cbrt(part) if part > 216 / 24389 else (24389 / 27 * part + 16) / 116 for part in (x, y, z))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def apart(one, other):
    """How far two colours lie apart for those who tell them apart least: ΔE of 1976. 2.3 is just noticed side by side."""
    return min(float(np.linalg.norm(lab(one, seen) - lab(other, seen))) for seen in SEEN.values())


D55E00 = {
    "all three": [54.19, 43.28, 63.28],
    "without red": [47.5, -4.04, 53.56],
    "without green": [57.99, -5.53, 62.36],
    "without blue": [53.9, 65.15, 30.67],
}  # in CIELAB, by colorspacious 1.1.2, which implements Machado's


def test_the_simulation_is_right():
    for kind, values in D55E00.items():
        assert lab("#d55e00", SEEN[kind]) == pytest.approx(values, abs=0.05), kind
    assert apart("white", "black") == pytest.approx(100, abs=0.1)


def test_the_palette_s_first_six_stay_apart_for_everybody():
    helpers.set_theme()
    colors = plt.rcParams["axes.prop_cycle"].by_key()["color"][:6]
    for saturation in (1, 0.75):  # seaborn draws bars paler
        for one, other in combinations([sns.desaturate(color, saturation) for color in colors], 2):
            assert apart(one, other) > 20, (one, other)
    assert all(apart(color, "white") > 25 for color in colors)


def test_seaborn_s_own_palette_would_not_do():
    blue, orange, green, vermilion = sns.color_palette("colorblind")[:4]
    assert apart(orange, vermilion) < 15 and apart(blue, green) < 17


@pytest.mark.parametrize("one, other", [("#f6e0b5", "#2f6690"), ("#f6ae2d", "white"), ("#f6ae2d", "#2f6690")])
def test_the_other_colours_that_mean_something_stay_apart(one, other):
    """A token and padding (03); the hidden word (01); bars of speed, the step that is marked in the roadmap."""
    assert apart(one, other) > 40


def test_heat_maps_grow_darker_for_everybody():
    steps = matplotlib.colormaps["Blues"](np.linspace(0, 1, 20))
    for kind, seen in SEEN.items():
        lightness = [lab(step[:3], seen)[0] for step in steps]
        assert all(after < before for before, after in pairwise(lightness)), kind


# ---------------------------------------------------------------- nothing by colour alone


def looks(ax):
    """What tells the lines of a picture apart in black and white: (style, marker, width), of all that have a name."""
    return [
        (line.get_linestyle(), line.get_marker(), line.get_linewidth())
        for line in ax.lines
        if line.get_label()[0] != "_"
    ]


def test_curves_differ_in_more_than_colour():
    scores = np.linspace(0, 1, len(calibration.THRESHOLDS))
    curves = {split: scores * share for split, share in [("validation", 0.5), ("in_domain_dev", 0.6), ("test", 0.4)]}
    own = {"threshold": 0.5, "mcc": 0.2, "test_mcc": 0.2, "test_mcc_at_half": 0.2}
    figure, _ = calibration.threshold_curves(
        {"validation": own, "in_domain_dev": own | {"threshold": 0.7}}, curves, "good"
    )
    (ax,) = figure.axes
    assert len(set(looks(ax))) == 3
    style = {line.get_color(): line.get_linestyle() for line in ax.lines if line.get_label() in curves}
    upright = [line for line in ax.lines if line.get_label() not in curves]
    assert len(upright) == 2 and all(line.get_linestyle() == style[line.get_color()] for line in upright)
    plt.close(figure)


def test_points_differ_in_more_than_colour():
    table = pd.DataFrame(
        {"n": 9, "accuracy": [0.2, 0.8], "low": [0.1, 0.6], "high": [0.4, 0.9], "q": [0.01, 0.5]}, index=["a", "b"]
    )
    ranked = pd.DataFrame({"split": ["test", "train"], "good": [0.2, 0.8], "bad": [0.3, 0.1], "right": [False, True]})
    for figure in (features.points(table, 0.5)[0], pairs.scatter(ranked)[0]):
        handles = [handle for ax in figure.axes for handle in ax.get_legend_handles_labels()[0]]
        assert len({handle.get_marker() for handle in handles}) == 2
        plt.close(figure)


def test_a_difference_its_means_and_a_guess_differ_in_more_than_colour():
    own = {"low": -0.1, "high": 0.2, "here low": -0.05, "here high": 0.1, "mean": 0.03, "finding": ""}
    figure, ax = drawing.differences({"a": np.array([0.1, -0.1])}, {"a": own})
    assert len(set(looks(ax))) == len(looks(ax)) == 2 and len(ax.collections) == 1
    plt.close(figure)
    figure, _ = drawing.steps([0.7, 0.6])
    assert [line.get_linestyle() for line in figure.axes[0].lines] == ["-", "--"]
    plt.close(figure)
