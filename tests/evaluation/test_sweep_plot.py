# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""A sweep's picture shows every setting with its interval, the differences, and settings without runs."""

import numpy as np
import pytest
from PIL import Image

from hf_cloob.evaluation.sweep_plot import sweep_plot

BLUE, ORANGE, GREEN = (37, 99, 168), (217, 119, 6), (46, 139, 87)
BASE = {0: 0.30, 1: 0.32, 2: 0.31}
BETTER = {0: 0.35, 1: 0.37, 2: 0.365}


def halves(path, color) -> tuple[int, int]:
    page = (np.asarray(Image.open(path).convert("RGB")) == color).all(axis=-1)
    middle = page.shape[1] * 56 // 100
    return int(page[:, :middle].sum()), int(page[:, middle:].sum())


def test_settings_are_on_the_left_and_their_differences_to_the_baseline_on_the_right(tmp_path):
    path = sweep_plot({"top1": {"base": BASE, "better": BETTER}}, "base", tmp_path / "new" / "sweep.png", "A sweep")
    assert halves(path, BLUE)[0] > 100 and halves(path, BLUE)[1] == 0
    assert min(halves(path, ORANGE)) > 50


def test_a_single_seed_has_a_point_and_no_interval(tmp_path):
    one = sweep_plot({"top1": {"base": {0: 0.3}, "better": {0: 0.4}}}, "base", tmp_path / "a.png", "A sweep")
    three = sweep_plot({"top1": {"base": BASE, "better": BETTER}}, "base", tmp_path / "b.png", "A sweep")
    assert halves(one, ORANGE)[0] < halves(three, ORANGE)[0]


def test_a_setting_without_runs_and_one_with_other_seeds_are_drawn(tmp_path):
    figures = {"loss": {"base": {0: 1.5, 1: 1.6}, "none": {}, "other": {2: 1.4}}}
    path = sweep_plot(figures, "base", tmp_path / "sweep.png", "A sweep")
    assert halves(path, ORANGE) == (0, 0)
    assert halves(path, GREEN)[1] == 0


def test_every_metric_adds_a_row_of_panels(tmp_path):
    figures = {"base": BASE, "better": BETTER}
    one = sweep_plot({"top1": figures}, "base", tmp_path / "a.png", "A sweep")
    two = sweep_plot({"top1": figures, "top5": figures}, "base", tmp_path / "b.png", "A sweep")
    with Image.open(one) as small, Image.open(two) as large:
        assert large.width == small.width and large.height > 1.5 * small.height


def test_equal_figures_do_not_stretch_their_last_bit_over_the_axis(tmp_path):
    # 0.1 + 0.2 is not 0.3 to the last bit, and an interval over that bit says nothing.
    figures = {"top1": {"base": {0: 0.3, 1: 0.3}, "equal": {0: 0.1 + 0.2, 1: 0.3}}}
    path = sweep_plot(figures, "base", tmp_path / "a.png", "A sweep")
    apart = sweep_plot({"top1": {"base": BASE, "better": BETTER}}, "base", tmp_path / "b.png", "A sweep")
    for side in (0, 1):
        # A diamond without a line.
        assert 0 < halves(path, ORANGE)[side] < 100 < halves(apart, ORANGE)[side]


def test_what_cannot_be_drawn_is_explained(tmp_path):
    with pytest.raises(ValueError, match="at least one metric"):
        sweep_plot({}, "base", tmp_path / "sweep.png", "A sweep")
    with pytest.raises(ValueError, match=r"one of \['better'\] for top1; got 'base'"):
        sweep_plot({"top1": {"better": BETTER}}, "base", tmp_path / "sweep.png", "A sweep")
