# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The contact sheet: a PNG of the expected size that shows what it is given, and errors."""

import math

import numpy as np
import pytest
from PIL import Image

from hf_cloob.evaluation.contact_sheet import contact_sheet

GREEN, GREY = (46, 139, 87), (205, 213, 222)


def sheet(path, count=4, true_name="cat", scores=(0.5, 0.2, 0.1, 0.05, 0.01), size=(64, 64), title="A page"):
    images = [Image.new("RGB", size, (200, 30, 30)) for _ in range(count)]
    names = ["cat", "dog", "rocket", "a name that is far too long for its narrow column of the page", "$5 and $6"]
    return contact_sheet(images, [true_name] * count, [names] * count, [list(scores)] * count, path, title)


def pixels(path, color) -> int:
    return int((np.asarray(Image.open(path).convert("RGB")) == color).all(axis=-1).sum())


@pytest.mark.parametrize(("count", "rows"), [(1, 1), (3, 1), (4, 2), (30, 10)])
def test_a_contact_sheet_is_a_png_with_a_row_for_three_pictures(tmp_path, count, rows):
    path = sheet(tmp_path / "new" / "folder" / "sheet.png", count)
    with Image.open(path) as page:
        assert page.format == "PNG"
        # 13.94 inches of three cards; 1.3 of header and footer and 1.545 a row, at 110 dots an inch.
        assert page.size == pytest.approx((13.94 * 110, (1.3 + 1.545 * rows) * 110), abs=2)


def test_the_right_answer_and_it_alone_has_a_green_bar(tmp_path):
    right = sheet(tmp_path / "right.png", true_name="cat")
    second = sheet(tmp_path / "second.png", true_name="dog")
    none = sheet(tmp_path / "none.png", true_name="sun")
    assert pixels(right, GREEN) > 2 * pixels(second, GREEN) > 0
    assert pixels(none, GREEN) == 0 < pixels(none, GREY)


def test_pictures_keep_their_shape(tmp_path):
    square, wide = sheet(tmp_path / "a.png", 1), sheet(tmp_path / "b.png", 1, size=(64, 32))
    assert pixels(wide, (200, 30, 30)) == pytest.approx(pixels(square, (200, 30, 30)) / 2, rel=0.03)


def test_a_page_of_zero_scores_and_a_title_with_mathematics_signs_is_drawn(tmp_path):
    assert sheet(tmp_path / "sheet.png", scores=(0.0,) * 5, title=r"$a_{b} \alpha").stat().st_size > 1000


def test_drawing_twice_gives_the_same_bytes(tmp_path):
    assert sheet(tmp_path / "a.png").read_bytes() == sheet(tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"count": 0}, "1 to 30 images; got 0"),
        ({"count": 31}, "1 to 30 images; got 31"),
        ({"scores": (0.5, 0.2)}, "image 0 has 5 predicted names and 2 scores"),
        ({"scores": (30.0, 0.2, 0.1, 0.1, 0.1)}, "image 0 has the score 30.0"),
        ({"scores": (0.5, math.nan, 0.1, 0.1, 0.1)}, "image 0 has the score nan"),
    ],
)
def test_a_sheet_that_cannot_be_drawn_is_explained(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        sheet(tmp_path / "sheet.png", **changes)


def test_lists_of_unequal_length_are_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"equally long; got \[1, 2, 1, 1\]"):
        contact_sheet([Image.new("RGB", (8, 8))], ["a", "b"], [["a"]], [[1.0]], tmp_path / "sheet.png", "A page")
