# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The sheet of views: every view's picture is on it, over its caption."""

import numpy as np
import pytest
from PIL import Image

from hf_cloob.evaluation.view_sheet import view_sheet

RED, BLUE = (200, 30, 30), (37, 99, 168)


def picture(color, size=(40, 40)) -> Image.Image:
    return Image.new("RGB", size, color)


def page(path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def test_every_view_of_every_pair_is_drawn(tmp_path):
    pairs = [[(picture(RED), "a red square"), (picture(BLUE), "square red")]] * 3
    one = page(view_sheet(pairs[:1], ("as it is", "strong"), tmp_path / "new" / "one.png", "Views"))
    three = page(view_sheet(pairs, ("as it is", "strong"), tmp_path / "three.png", "Views"))
    for color in (RED, BLUE):
        counts = [(sheet == color).all(-1).sum() for sheet in (one, three)]
        assert counts[0] > 10_000 and counts[1] == pytest.approx(3 * counts[0], rel=0.02)
    red, blue = (np.nonzero((one == color).all(-1))[1] for color in (RED, BLUE))
    assert red.max() < blue.min()


def test_a_caption_that_changed_is_darker(tmp_path):
    def ink(caption) -> int:
        views = [(picture(RED), "a red square"), (picture(BLUE), caption)]
        sheet = page(view_sheet([views], ("as it is", "strong"), tmp_path / "a.png", "Views"))
        return int((sheet[:, sheet.shape[1] // 2 :].sum(-1) < 150).sum())

    assert ink("square red a") > 10 and ink("a red square") == 0


def test_a_wide_picture_keeps_its_shape(tmp_path):
    sheet = page(view_sheet([[(picture(RED, (60, 20)), "wide")]], ("as it is",), tmp_path / "wide.png", "Views"))
    rows, columns = np.nonzero((sheet == RED).all(-1))
    assert (np.ptp(columns) + 1) / (np.ptp(rows) + 1) == pytest.approx(3, rel=0.05)


@pytest.mark.parametrize(
    ("pairs", "names", "message"),
    [
        ([], ("a",), "got 0 and 1"),
        ([[(picture(RED), "a")]], (), "got 1 and 0"),
        ([[(picture(RED), "a")]], ("a", "b"), "pair 0 has 1 views; there are 2 names"),
    ],
)
def test_what_cannot_be_drawn_is_refused(pairs, names, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        view_sheet(pairs, names, tmp_path / "a.png", "Views")
