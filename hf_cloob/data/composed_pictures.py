# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Several drawings in one picture, of unequal size and contrast: where they lie, and how one of them is left alone.

Salience rank 0 is the largest and strongest drawing, and both its ink and its contrast fall from rank to rank.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

WHITE = (255, 255, 255)
# Darker than this in some channel is ink, lighter is paper.
INK_BELOW = 245
# Of the picture's area, the ink of the most salient drawing; each next one has this share of the one before.
LARGEST_INK_SHARE = 1 / 8
INK_RATIO = 0.6
# How much of a drawing's distance to white is left, by salience rank.
CONTRASTS = (1.0, 0.9, 0.8, 0.7)
GAP = 1
PLACES_TRIED, LAYOUTS_TRIED = 40, 25

# Left, top and side of a square, in pixels.
Box = tuple[int, int, int]


@dataclass(frozen=True)
class Drawing:
    """A drawing without its margins: a white square around its ink, and the share of the square that is ink."""

    image: Image.Image
    ink_share: float


def cut_out(image: Image.Image) -> Drawing:
    """The smallest square, centered, that holds all of a picture's ink.

    Raises:
        ValueError: the picture is white.
    """
    ink = ink_of(image)
    if not ink.any():
        raise ValueError("a white picture has no drawing to cut out.")
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    top, left, height, width = rows[0], columns[0], rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1
    side = int(max(height, width))
    square = Image.new("RGB", (side, side), WHITE)
    cut = image.crop((int(left), int(top), int(left + width), int(top + height)))
    square.paste(cut, ((side - cut.width) // 2, (side - cut.height) // 2))
    return Drawing(square, float(ink.sum()) / side**2)


def ink_of(image: Image.Image) -> np.ndarray:
    """(height, width) bool: what is not paper."""
    return np.asarray(image.convert("RGB")).min(axis=2) < INK_BELOW


def sides_of(drawings: Sequence[Drawing], image_size: int) -> list[int]:
    """The drawings' sides in pixels, most salient first: thin ones become larger, so that the ink is what falls."""
    inks = [LARGEST_INK_SHARE * image_size**2 * INK_RATIO**rank for rank in range(len(drawings))]
    return [round((ink / drawing.ink_share) ** 0.5) for ink, drawing in zip(inks, drawings, strict=True)]


def place(sides: Sequence[int], image_size: int, rng: random.Random) -> list[Box] | None:
    """Random places for squares that do not touch; None if they do not fit in any of the layouts that are tried."""
    for _ in range(LAYOUTS_TRIED):
        boxes: list[Box] = []
        for side in sides:
            if side > image_size:
                return None
            for _ in range(PLACES_TRIED):
                box = rng.randint(0, image_size - side), rng.randint(0, image_size - side), side
                if all(_apart(box, other) for other in boxes):
                    boxes.append(box)
                    break
            else:
                break
        if len(boxes) == len(sides):
            return boxes
    return None


def compose(drawings: Sequence[Drawing], boxes: Sequence[Box], image_size: int) -> Image.Image:
    """Draw each drawing into its box on white, paler from rank to rank.

    Args:
        drawings: most salient first, at most four.
        boxes: one a drawing, see `place`.
        image_size: side of the picture in pixels.
    """
    picture = Image.new("RGB", (image_size, image_size), WHITE)
    for drawing, (left, top, side), contrast in zip(drawings, boxes, CONTRASTS, strict=False):
        scaled = drawing.image.resize((side, side), Image.Resampling.BOX)
        picture.paste(Image.blend(Image.new("RGB", (side, side), WHITE), scaled, contrast), (left, top))
    return picture


def only_drawing(picture: Image.Image, box: Sequence[int]) -> Image.Image:
    """The picture with one drawing where and as it was, and nothing else."""
    left, top, side = box
    alone = Image.new("RGB", picture.size, WHITE)
    alone.paste(picture.crop((left, top, left + side, top + side)), (left, top))
    return alone


def _apart(box: Box, other: Box) -> bool:
    (left, top, side), (other_left, other_top, other_side) = box, other
    beside = left >= other_left + other_side + GAP or other_left >= left + side + GAP
    return beside or top >= other_top + other_side + GAP or other_top >= top + side + GAP
