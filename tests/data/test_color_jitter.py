# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Color changes against their formulas in NumPy and Python's colorsys, on drawings of emoji."""

import colorsys
import random
from collections import Counter

import numpy as np
import pytest

from hf_cloob.data.color_jitter import COLOR_CHANGES, change_colors, draw_color_jitter

LUMA = np.array([0.299, 0.587, 0.114])


@pytest.fixture(scope="module")
def drawings(emoji):
    return [emoji["selection"][index]["image"] for index in range(0, 400, 40)]


def levels(image) -> np.ndarray:
    return np.asarray(image, dtype=np.float64)


def by_definition(name, pixels, factor):
    gray = pixels @ LUMA
    other = {"brightness": 0.0, "contrast": gray.mean(), "saturation": gray[..., None]}[name]
    return np.clip(factor * pixels + (1 - factor) * other, 0, 255)


@pytest.mark.parametrize("factor", [0.6, 0.8, 1.4])
@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
def test_each_change_is_its_formula_up_to_rounding(drawings, name, factor):
    for drawing in drawings:
        found = levels(change_colors(drawing, [(name, factor)]))
        # PIL rounds the gray it blends with, and cuts the result off instead of rounding it.
        assert np.abs(found - by_definition(name, levels(drawing), factor)).max() < 1.6
        assert np.abs(found - levels(drawing)).max() > 4


@pytest.mark.parametrize("turn", [-0.1, 0.04, 0.1])
def test_a_turned_hue_is_that_of_the_hsv_formula(drawings, turn):
    for drawing in drawings[:4]:
        pixels = levels(drawing).reshape(-1, 3)[::7] / 255
        hsv = np.array([colorsys.rgb_to_hsv(*pixel) for pixel in pixels])
        expected = 255 * np.array([colorsys.hsv_to_rgb((h + turn) % 1, s, v) for h, s, v in hsv])
        found = levels(change_colors(drawing, [("hue", turn)])).reshape(-1, 3)[::7]
        # Hue and saturation have 8 bits: a step of hue is up to 6 levels of a channel.
        assert np.abs(found - expected).max() < 16 and np.abs(found - expected).mean() < 2


@pytest.mark.parametrize("name", COLOR_CHANGES)
def test_the_neutral_factor_changes_nothing(drawings, name):
    for drawing in drawings:
        same = levels(change_colors(drawing, [(name, 0.0 if name == "hue" else 1.0)]))
        # A passage through HSV rounds.
        assert np.abs(same - levels(drawing)).max() <= (6 if name == "hue" else 0)


def test_changes_apply_in_their_order(drawings):
    bright, flat = ("brightness", 1.4), ("contrast", 0.6)
    one, other = (levels(change_colors(drawings[0], order)) for order in ([bright, flat], [flat, bright]))
    assert np.abs(one - other).max() > 4


def test_factors_are_uniform_and_every_order_is_as_likely():
    rng = random.Random(0)
    draws = [draw_color_jitter((0.4, 0.4, 0.4, 0.1), rng) for _ in range(4800)]
    orders = Counter(tuple(name for name, _ in draw) for draw in draws)
    assert len(orders) == 24
    assert all(abs(count - 200) < 4 * (4800 / 24 * 23 / 24) ** 0.5 for count in orders.values())
    for name, center, amount in (
        ("brightness", 1, 0.4),
        ("contrast", 1, 0.4),
        ("saturation", 1, 0.4),
        ("hue", 0, 0.1),
    ):
        factors = np.array([dict(draw)[name] for draw in draws])
        shares = np.histogram(factors, bins=8, range=(center - amount, center + amount))[0]
        assert shares.sum() == 4800 and np.abs(shares - 600).max() < 4 * (600 * 7 / 8) ** 0.5


def test_an_amount_of_zero_leaves_the_change_out():
    assert draw_color_jitter((0, 0, 0, 0), random.Random(0)) == []
    assert [name for name, _ in draw_color_jitter((0, 0.4, 0, 0), random.Random(0))] == ["contrast"]
