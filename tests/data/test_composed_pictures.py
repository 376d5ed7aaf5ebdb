# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Drawings in one picture: cut from their margins, placed apart, and falling in ink and contrast."""

import random

import numpy as np
import pytest
from PIL import Image, ImageDraw

from hf_cloob.data.composed_pictures import (
    CONTRASTS,
    INK_RATIO,
    LARGEST_INK_SHARE,
    compose,
    cut_out,
    ink_of,
    only_drawing,
    place,
    sides_of,
)

SIZE = 64


def shape(kind: str, box: tuple, color: str = "black") -> Image.Image:
    picture = Image.new("RGB", (SIZE, SIZE), "white")
    getattr(ImageDraw.Draw(picture), kind)(box, fill=color)
    return picture


@pytest.fixture
def drawings():
    boxes = [("ellipse", (3, 8, 50, 55)), ("rectangle", (10, 20, 60, 42)), ("ellipse", (30, 5, 50, 60))]
    return [cut_out(shape(*box)) for box in [*boxes, ("rectangle", (0, 0, 63, 63))]]


def test_a_cut_out_drawing_fills_its_square_and_keeps_its_ink():
    picture = shape("rectangle", (10, 20, 49, 39))
    drawing = cut_out(picture)
    assert drawing.image.size == (40, 40)
    assert ink_of(drawing.image).sum() == ink_of(picture).sum() == 40 * 20
    assert drawing.ink_share == 0.5
    # Centered: paper above and below.
    assert np.array_equal(np.flatnonzero(ink_of(drawing.image).any(axis=1)), np.arange(10, 30))


def test_a_white_picture_has_no_drawing():
    with pytest.raises(ValueError, match="white picture"):
        cut_out(Image.new("RGB", (8, 8), "white"))


def test_thin_drawings_become_larger_so_that_ink_falls_by_the_ratio(drawings):
    inks = [drawing.ink_share * side**2 for drawing, side in zip(drawings, sides_of(drawings, SIZE), strict=True)]
    wanted = [LARGEST_INK_SHARE * SIZE**2 * INK_RATIO**rank for rank in range(4)]
    assert inks == pytest.approx(wanted, rel=0.1)  # sides are whole pixels


def test_places_do_not_touch_and_follow_the_seed():
    sides = (30, 23, 18, 14)
    for seed in range(30):
        boxes = place(sides, SIZE, random.Random(seed))
        taken = np.zeros((SIZE, SIZE), dtype=int)
        for left, top, side in boxes:
            assert 0 <= left <= SIZE - side and 0 <= top <= SIZE - side
            taken[top : top + side, left : left + side] += 1
        assert taken.max() == 1
        assert [side for *_, side in boxes] == list(sides)
        assert boxes == place(sides, SIZE, random.Random(seed))
    assert place(sides, SIZE, random.Random(0)) != place(sides, SIZE, random.Random(1))


def test_squares_that_cannot_fit_have_no_places():
    assert place((40, 40), SIZE, random.Random(0)) is None
    assert place((SIZE + 1,), SIZE, random.Random(0)) is None


def test_ink_and_contrast_fall_with_the_rank_in_the_pixels(drawings):
    boxes = place(sides_of(drawings, SIZE), SIZE, random.Random(0))
    picture = np.asarray(compose(drawings, boxes, SIZE))
    parts = [picture[top : top + side, left : left + side] for left, top, side in boxes]
    inks = [ink_of(Image.fromarray(part)).sum() for part in parts]
    assert all(later < 0.85 * earlier for earlier, later in zip(inks, inks[1:], strict=False))
    assert [255 - part.min() for part in parts] == pytest.approx([255 * contrast for contrast in CONTRASTS], abs=2)


def test_a_drawing_left_alone_is_where_and_as_it_was(drawings):
    boxes = place(sides_of(drawings, SIZE), SIZE, random.Random(0))
    picture = compose(drawings, boxes, SIZE)
    left, top, side = boxes[2]
    alone = np.asarray(only_drawing(picture, boxes[2]))
    inside = np.zeros((SIZE, SIZE), dtype=bool)
    inside[top : top + side, left : left + side] = True
    assert np.array_equal(alone[inside], np.asarray(picture)[inside])
    assert (alone[~inside] == 255).all()
    assert not (np.asarray(picture)[~inside] == 255).all()
