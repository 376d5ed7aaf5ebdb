# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""A page of pictures with what the model saw in them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .plot_style import FAINT, INK, MUTED, RIGHT, new_figure, percent, plot_style, save_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from PIL.Image import Image

# The contact sheet's measures, in inches.
MAX_PICTURES = 30
COLUMNS = 3
MARGIN, HEADER, FOOTER = 0.35, 0.95, 0.35
CARD_WIDTH, CARD_GAP, PICTURE, PADDING = 4.2, 0.32, 1.2, 0.05
ROW, HEADING = 0.185, 0.3
NAME_WIDTH, BAR_WIDTH = 1.68, 0.74


def contact_sheet(
    images: Sequence[Image],
    true_names: Sequence[str],
    predicted_names: Sequence[Sequence[str]],
    scores: Sequence[Sequence[float]],
    path: str | Path,
    title: str,
) -> Path:
    """Draws pictures with their true name and their best predictions as bars, the right answer in green.

    Args:
        images: 1 to 30 PIL images.
        true_names: one name an image.
        predicted_names: for each image its best names, best first; as many for every image (five reads well).
        scores: the probability of each of them, 0 to 1; the longest bar of the page is its highest probability.
        path: the PNG to write; its folder is created.
        title: the page's headline.

    Returns:
        The path written.

    Raises:
        ValueError: lists of unequal lengths, no or too many images, a score outside 0 to 1.
        ImportError: matplotlib is missing.
    """
    scores = [[float(score) for score in row] for row in scores]
    _check_sheet(images, true_names, predicted_names, scores)
    num_rows = math.ceil(len(images) / COLUMNS)
    card_height = max(PICTURE, HEADING + ROW * len(scores[0])) + CARD_GAP
    width = 2 * MARGIN + COLUMNS * CARD_WIDTH + (COLUMNS - 1) * CARD_GAP
    height = HEADER + num_rows * card_height + FOOTER
    with plot_style():
        figure = new_figure(width, height)
        # One axis in inches from the top left corner: every element is placed by the measures above.
        page = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
        page.axis("off")
        page.text(MARGIN, 0.42, title, fontsize=15, fontweight="bold", va="center", parse_math=False)
        page.text(MARGIN, 0.67, _summary(true_names, predicted_names), color=MUTED, va="center")
        longest = max(max(row) for row in scores)
        for index, image in enumerate(images):
            left = MARGIN + index % COLUMNS * (CARD_WIDTH + CARD_GAP)
            top = HEADER + index // COLUMNS * card_height
            _draw_picture(page, image, left, top)
            _draw_answers(page, true_names[index], predicted_names[index], scores[index], longest, left, top)
        note = f"Bars: probability; a full bar is {percent(longest)}. Green: the right answer."
        page.text(MARGIN, height - 0.25, note, fontsize=8, color=MUTED, va="center")
        return save_png(figure, path)


def _check_sheet(images: Sequence, true_names: Sequence, predicted_names: Sequence, scores: list) -> None:
    lengths = [len(images), len(true_names), len(predicted_names), len(scores)]
    if len(set(lengths)) > 1:
        raise ValueError(f"images, true_names, predicted_names and scores must be equally long; got {lengths}.")
    if not 1 <= len(images) <= MAX_PICTURES:
        raise ValueError(f"a contact sheet shows 1 to {MAX_PICTURES} images; got {len(images)}.")
    for index, (names, row) in enumerate(zip(predicted_names, scores, strict=True)):
        if len(names) != len(row) or len(row) != len(scores[0]) or not row:
            raise ValueError(
                f"image {index} has {len(names)} predicted names and {len(row)} scores; "
                f"every image needs as many as the first, {len(scores[0])}, and at least one."
            )
        bad = [score for score in row if not 0 <= score <= 1]
        if bad:
            raise ValueError(f"image {index} has the score {bad[0]}; scores are probabilities from 0 to 1.")


def _summary(true_names: Sequence[str], predicted_names: Sequence[Sequence[str]]) -> str:
    first = sum(true == names[0] for true, names in zip(true_names, predicted_names, strict=True))
    listed = sum(true in names for true, names in zip(true_names, predicted_names, strict=True))
    count = len(true_names)
    return (
        f"top-1 right for {first} of {count} pictures   ·   "
        f"right answer among the first {len(predicted_names[0])} for {listed} of {count}"
    )


def _draw_picture(page: Axes, image: Image, left: float, top: float) -> None:
    import numpy as np
    from matplotlib.patches import Rectangle

    scale = (PICTURE - 2 * PADDING) / max(image.size)
    width, height = image.width * scale, image.height * scale
    x, y = left + (PICTURE - width) / 2, top + (PICTURE - height) / 2
    extent = (x, x + width, y + height, y)
    page.imshow(np.asarray(image.convert("RGB")), extent=extent, aspect="auto", interpolation="bicubic", zorder=2)
    page.add_patch(Rectangle((left, top), PICTURE, PICTURE, fill=False, edgecolor=FAINT, linewidth=0.8, zorder=3))


def _draw_answers(
    page: Axes, true_name: str, names: Sequence[str], scores: Sequence[float], longest: float, left: float, top: float
) -> None:
    from matplotlib.patches import Rectangle

    start, end = left + PICTURE + 0.15, left + CARD_WIDTH
    names = list(names)
    found = true_name in names
    verdict = f"rank {names.index(true_name) + 1}" if found else f"not in the first {len(names)}"
    verdict_text = page.text(
        end, top + 0.1, verdict, fontsize=8, color=RIGHT if found else MUTED, ha="right", va="center"
    )
    heading = {"fontsize": 10, "fontweight": "bold"}
    room = end - start - _inches(page, verdict_text) - 0.12
    fitted_text(page, start, top + 0.1, true_name, room, **heading)
    for rank, (name, score) in enumerate(zip(names, scores, strict=True)):
        middle = top + HEADING + ROW * (rank + 0.5)
        right = name == true_name
        ink = {"color": RIGHT, "fontweight": "bold"} if right else {"color": INK}
        fitted_text(page, start, middle, name, NAME_WIDTH - 0.08, fontsize=8.5, **ink)
        length = BAR_WIDTH * score / longest if longest > 0 else 0.0
        bar = Rectangle((start + NAME_WIDTH, middle - 0.055), length, 0.11, color=RIGHT if right else FAINT, lw=0)
        page.add_patch(bar)
        page.text(end, middle, percent(score), fontsize=8, ha="right", va="center", color=RIGHT if right else MUTED)


def fitted_text(page: Axes, x: float, y: float, name: str, room: float, **font: Any) -> None:
    """Writes a name, shortened with an ellipsis until it is no wider than `room` inches."""
    text = page.text(x, y, name, ha="left", va="center", parse_math=False, **font)
    kept = name
    while _inches(page, text) > room and kept:
        kept = kept[:-1]
        text.set_text(kept.rstrip() + "…")


def _inches(page: Axes, text: Any) -> float:
    return text.get_window_extent(page.figure.canvas.get_renderer()).width / page.figure.dpi
