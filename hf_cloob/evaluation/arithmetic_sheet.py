# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""A page of multi-modal arithmetic: an image, the words that change it, and the images that were found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .contact_sheet import fitted_text
from .plot_style import FAINT, INK, MUTED, RIGHT, new_figure, plot_style, save_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from PIL.Image import Image

MAX_EXAMPLES, MAX_FOUND = 32, 8
COLUMNS = 2
# The page's measures, in inches.
MARGIN, HEADER, FOOTER, GUTTER = 0.35, 0.95, 0.35, 0.5
PICTURE, GAP, WORDS, ROW = 0.78, 0.12, 1.75, 1.28


@dataclass(frozen=True)
class ArithmeticExample:
    """One question and its answers.

    Attributes:
        kind: what changes.
        source: the image that is moved, and its name.
        words: what is subtracted, and what is added.
        target: the name of the right answer.
        found: the nearest images and their names, best first.
        scores: their cosines with the query.
        right: whether each is the right answer.
    """

    kind: str
    source: tuple[Image, str]
    words: tuple[str, str]
    target: str
    found: Sequence[tuple[Image, str]]
    scores: Sequence[float]
    right: Sequence[bool]


def arithmetic_sheet(examples: Sequence[ArithmeticExample], path: str | Path, title: str) -> Path:
    """Draws questions and what they found, the right answers in green.

    Args:
        examples: 1 to 32, each with 1 to 8 found images, as many as the first.
        path: the PNG to write; its folder is created.
        title: headline.

    Returns:
        The path written.

    Raises:
        ValueError: too many or no examples or found images, lists of unequal length.
        ImportError: matplotlib is missing.
    """
    _check(examples)
    num_found = len(examples[0].found)
    card = PICTURE + GAP + WORDS + num_found * (PICTURE + GAP)
    columns = min(COLUMNS, len(examples))
    width = max(2 * MARGIN + columns * (card + GUTTER) - GUTTER, 7.5)
    height = HEADER + -(-len(examples) // columns) * ROW + FOOTER
    first, among = sum(own.right[0] for own in examples), sum(any(own.right) for own in examples)
    with plot_style():
        figure = new_figure(width, height)
        page = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
        page.axis("off")
        page.text(MARGIN, 0.36, title, fontsize=14, fontweight="bold", va="center", parse_math=False)
        summary = f"right first for {first} of {len(examples)}, among the first {num_found} for {among}"
        page.text(MARGIN, 0.64, summary, color=MUTED, va="center")
        for index, example in enumerate(examples):
            _draw(page, example, MARGIN + index % columns * (card + GUTTER), HEADER + index // columns * ROW)
        note = "Numbers: cosine with the query. Green: the right answer. The source image itself is left out."
        page.text(MARGIN, height - 0.2, note, fontsize=8, color=MUTED, va="center")
        return save_png(figure, path)


def _check(examples: Sequence[ArithmeticExample]) -> None:
    if not 1 <= len(examples) <= MAX_EXAMPLES:
        raise ValueError(f"a sheet shows 1 to {MAX_EXAMPLES} examples; got {len(examples)}.")
    wanted = len(examples[0].found)
    for index, own in enumerate(examples):
        lengths = [len(own.found), len(own.scores), len(own.right)]
        if set(lengths) != {wanted} or not 1 <= wanted <= MAX_FOUND:
            raise ValueError(
                f"example {index} has {lengths} found images, scores and marks; every example needs as many as the "
                f"first, 1 to {MAX_FOUND}."
            )


def _draw(page: Axes, example: ArithmeticExample, left: float, top: float) -> None:
    image, name = example.source
    _draw_picture(page, image, left, top, FAINT)
    fitted_text(page, left, top + PICTURE + 0.1, name, PICTURE + 0.1, fontsize=6.5, color=MUTED)
    left += PICTURE + GAP
    taken, added = example.words
    fitted_text(page, left, top + 0.09, example.kind, WORDS - 0.15, fontsize=7, color=MUTED)
    fitted_text(page, left, top + 0.28, f"− {taken}", WORDS - 0.15, color=INK)
    fitted_text(page, left, top + 0.46, f"+ {added}", WORDS - 0.15, color=INK, fontweight="bold")
    fitted_text(page, left, top + 0.66, f"= {example.target}", WORDS - 0.15, fontsize=8, color=RIGHT)
    left += WORDS
    for (image, name), score, right in zip(example.found, example.scores, example.right, strict=True):
        color = RIGHT if right else MUTED
        _draw_picture(page, image, left, top, RIGHT if right else FAINT)
        fitted_text(page, left, top + PICTURE + 0.1, name, PICTURE + 0.06, fontsize=6.5, color=color)
        fitted_text(page, left, top + PICTURE + 0.24, f"{score:.2f}", PICTURE, fontsize=6.5, color=color)
        left += PICTURE + GAP


def _draw_picture(page: Axes, image: Image, left: float, top: float, frame: str) -> None:
    import numpy as np
    from matplotlib.patches import Rectangle

    scale = (PICTURE - 0.08) / max(image.size)
    width, height = image.width * scale, image.height * scale
    x, y = left + (PICTURE - width) / 2, top + (PICTURE - height) / 2
    extent = (x, x + width, y + height, y)
    page.imshow(np.asarray(image.convert("RGB")), extent=extent, aspect="auto", interpolation="bicubic", zorder=2)
    line = 2.4 if frame == RIGHT else 0.8
    page.add_patch(Rectangle((left, top), PICTURE, PICTURE, fill=False, edgecolor=frame, linewidth=line, zorder=3))
