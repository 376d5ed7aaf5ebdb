# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The picture of an interpolation is drawn from its figures, and impossible ones are refused."""

import pytest
from PIL import Image

from hf_cloob.evaluation.interpolation_plot import interpolation_plot

POINTS = [(0.0, 0.40, 0.50), (0.5, 0.55, 0.51), (1.0, 0.60, 0.42)]
TESTS = [(0.48, 0.41), (0.40, 0.61), (0.49, 0.54)]
NAMES = ("selection_top1", "known_selection_top1")


def test_the_picture_is_written_and_depends_on_the_figures(tmp_path):
    one = interpolation_plot(POINTS, 0.5, TESTS, tmp_path / "one.png", NAMES)
    other = interpolation_plot(POINTS, 1.0, TESTS, tmp_path / "other.png", NAMES)
    with Image.open(one) as picture:
        assert min(picture.size) > 300
    assert one.read_bytes() != other.read_bytes()


def test_a_choice_that_is_no_point_and_missing_tests_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"chosen_alpha must be one of the points' \[0.0, 0.5, 1.0\]; got 0.3"):
        interpolation_plot(POINTS, 0.3, TESTS, tmp_path / "none.png", NAMES)
    with pytest.raises(ValueError, match="got 2 figures"):
        interpolation_plot(POINTS, 0.5, TESTS[:2], tmp_path / "none.png", NAMES)
