# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Why a retrieval-enhanced model says what it says: what pictures found in the memory, and scores before and after."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .contact_sheet import fitted_text
from .plot_style import FAINT, INK, MUTED, RIGHT, SERIES, new_figure, percent, plot_style, save_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from PIL.Image import Image

MAX_EXPLANATIONS = 8
MAX_NEIGHBORS = 10
STAGE_COLORS = ("#9aa5b1", *SERIES[:2])
NEW = SERIES[1]
# The page's measures, in inches.
MARGIN, HEADER, FOOTER, CARD_GAP = 0.35, 0.8, 0.45, 0.4
PICTURE, SIDE = 1.35, 1.55
HEADING, ROW, LABEL_WIDTH, STAGE_WIDTH, BAR_WIDTH = 0.3, 0.2, 2.9, 1.75, 1.1
TILE, TILE_GAP, LINE, STRIP_GAP = 0.86, 0.1, 0.125, 0.18
CAPTION_LINES, LETTERS = 2, 16


@dataclass(frozen=True)
class Neighbor:
    """An entry of a memory that a query found.

    Args:
        id: its id.
        score: cosine of the query and the entry's key.
        caption: its caption, if it is known.
        image: its picture, if there is one to show: a memory keeps none.
        is_new: whether an edit has just added it.
    """

    id: int
    score: float
    caption: str | None = None
    image: Image | None = None
    is_new: bool = False


@dataclass(frozen=True)
class Explanation:
    """A picture, its best labels with their scores at every stage, and what was found in the memory.

    Args:
        image: the picture that was classified.
        name: its headline.
        labels: num_labels labels, best first.
        scores: (num_labels, num_stages) probabilities; a stage's highest should be among them.
        found: strips of neighbors, best first, each with its heading ("found by the picture").
        right_labels: the right answers, where they are known.
    """

    image: Image
    name: str
    labels: Sequence[str]
    scores: Sequence[Sequence[float]]
    found: Sequence[tuple[str, Sequence[Neighbor]]] = ()
    right_labels: Sequence[str] = ()


def neighbor_sheet(explanations: Sequence[Explanation], stages: Sequence[str], path: str | Path, title: str) -> Path:
    """Draws pictures with the scores of their labels at every stage, and the memory's entries that were used.

    Entries that an edit added are framed in orange; of an entry without a picture its caption is shown. Each stage's
    best label is printed in bold, right answers in green.

    Args:
        explanations: 1 to 8 explanations.
        stages: 1 to 3 names of the columns of scores, for example ("base", "with memory").
        path: the PNG to write; its folder is created.
        title: headline.

    Returns:
        The path written.

    Raises:
        ValueError: too many or no explanations, stages or labels, rows of scores of another length, scores outside 0
            to 1, or more than 10 neighbors in a strip.
        ImportError: matplotlib is missing.
    """
    _check(explanations, stages)
    tiles = max((len(row) for explanation in explanations for _, row in explanation.found), default=0)
    width = 2 * MARGIN + SIDE + max(LABEL_WIDTH + len(stages) * STAGE_WIDTH, tiles * (TILE + TILE_GAP) - TILE_GAP)
    heights = [_height(explanation) for explanation in explanations]
    height = HEADER + sum(heights) + CARD_GAP * (len(heights) - 1) + FOOTER
    with plot_style():
        figure = new_figure(width, height)
        page = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
        page.axis("off")
        fitted_text(page, MARGIN, 0.42, title, width - 2 * MARGIN, fontsize=14, fontweight="bold")
        top = HEADER
        for index, (explanation, own_height) in enumerate(zip(explanations, heights, strict=True)):
            if index:
                rule = top - CARD_GAP / 2
                page.plot([MARGIN, width - MARGIN], [rule, rule], color=FAINT, linewidth=0.8)
            _draw(page, explanation, stages, top)
            top += own_height + CARD_GAP
        fitted_text(page, MARGIN, height - 0.22, _legend(explanations), width - 2 * MARGIN, fontsize=8, color=MUTED)
        return save_png(figure, path)


def _legend(explanations: Sequence[Explanation]) -> str:
    shown = [neighbor for explanation in explanations for _, row in explanation.found for neighbor in row]
    parts = ["Bold: a column's best label."]
    parts += ["Green: the right answer."] if any(explanation.right_labels for explanation in explanations) else []
    parts += ["Under an entry: its cosine with what found it, and its id."] if shown else []
    parts += ["Orange frame: added by the edit."] if any(neighbor.is_new for neighbor in shown) else []
    return "   ".join(parts)


def _check(explanations: Sequence[Explanation], stages: Sequence[str]) -> None:
    if not 1 <= len(explanations) <= MAX_EXPLANATIONS:
        raise ValueError(f"a neighbor sheet shows 1 to {MAX_EXPLANATIONS} explanations; got {len(explanations)}.")
    if not 1 <= len(stages) <= len(STAGE_COLORS):
        raise ValueError(f"stages must be 1 to {len(STAGE_COLORS)} names; got {len(stages)}.")
    for index, explanation in enumerate(explanations):
        where, scores = f"explanation {index}", explanation.scores
        if not explanation.labels or len(explanation.labels) != len(scores):
            raise ValueError(
                f"{where} has {len(explanation.labels)} labels and {len(scores)} rows of scores; it needs as many, "
                "and at least one."
            )
        for label, row in zip(explanation.labels, scores, strict=True):
            if len(row) != len(stages):
                raise ValueError(f"{where}: {label!r} has {len(row)} scores for {len(stages)} stages.")
            if bad := [score for score in row if not 0 <= score <= 1]:
                raise ValueError(f"{where}: {label!r} has the score {bad[0]}; scores are probabilities from 0 to 1.")
        for heading, row in explanation.found:
            if len(row) > MAX_NEIGHBORS:
                raise ValueError(
                    f"{where}: {heading!r} has {len(row)} neighbors; a strip shows at most {MAX_NEIGHBORS}."
                )


def _height(explanation: Explanation) -> float:
    scores = HEADING + ROW * len(explanation.labels)
    return max(PICTURE, scores) + sum(STRIP_GAP + _strip_height(row) for _, row in explanation.found)


def _strip_height(neighbors: Sequence[Neighbor]) -> float:
    # Captions are inside of the tiles that have no picture.
    lines = CAPTION_LINES if any(neighbor.image is not None for neighbor in neighbors) else 0
    return TILE + (lines + 1) * LINE + 0.08


def _draw(page: Axes, explanation: Explanation, stages: Sequence[str], top: float) -> None:
    left = MARGIN + SIDE
    _draw_picture(page, explanation.image, MARGIN, top, PICTURE)
    _draw_scores(page, explanation, stages, left, top)
    top += max(PICTURE, HEADING + ROW * len(explanation.labels))
    for heading, neighbors in explanation.found:
        top += STRIP_GAP
        for row, line in enumerate(textwrap.wrap(heading, 22, max_lines=4, placeholder=" …")):
            fitted_text(page, MARGIN, top + 0.1 + 0.16 * row, line, SIDE - 0.12, fontsize=8.5, color=MUTED)
        if not neighbors:
            page.text(left, top + 0.1, "nothing", color=MUTED, va="center")
        for index, neighbor in enumerate(neighbors):
            _draw_tile(page, neighbor, left + index * (TILE + TILE_GAP), top)
        top += _strip_height(neighbors)


def _draw_scores(page: Axes, explanation: Explanation, stages: Sequence[str], left: float, top: float) -> None:
    from matplotlib.patches import Rectangle

    fitted_text(page, left, top + 0.1, explanation.name, LABEL_WIDTH - 0.15, fontsize=10.5, fontweight="bold")
    columns = list(zip(*explanation.scores, strict=True))
    best = [column.index(max(column)) for column in columns]
    for stage, name in enumerate(stages):
        start = left + LABEL_WIDTH + stage * STAGE_WIDTH
        fitted_text(page, start, top + 0.1, name, STAGE_WIDTH - 0.1, fontsize=8.5, color=MUTED)
    for row, label in enumerate(explanation.labels):
        middle = top + HEADING + ROW * (row + 0.5)
        is_right = label in explanation.right_labels
        weight = "bold" if row == best[-1] else "normal"
        fitted_text(page, left, middle, label, LABEL_WIDTH - 0.15, color=RIGHT if is_right else INK, fontweight=weight)
        for stage, column in enumerate(columns):
            start, score = left + LABEL_WIDTH + stage * STAGE_WIDTH, column[row]
            color = RIGHT if is_right else STAGE_COLORS[stage]
            page.add_patch(Rectangle((start, middle - 0.06), BAR_WIDTH * score, 0.12, color=color, lw=0))
            ink = {"color": INK, "fontweight": "bold"} if row == best[stage] else {"color": MUTED}
            page.text(start + BAR_WIDTH * score + 0.06, middle, percent(score), fontsize=8, va="center", **ink)


def _draw_tile(page: Axes, neighbor: Neighbor, left: float, top: float) -> None:
    accent = NEW if neighbor.is_new else MUTED
    caption, below = neighbor.caption or "no caption", top + TILE + 0.1
    if neighbor.image is None:
        _draw_frame(page, left, top, TILE, neighbor.is_new)
        lines = textwrap.wrap(caption, LETTERS - 2, max_lines=5, placeholder=" …")
        start, first, room = left + 0.06, top + TILE / 2 - LINE * (len(lines) - 1) / 2, TILE - 0.12
    else:
        _draw_picture(page, neighbor.image, left, top, TILE, neighbor.is_new)
        lines = textwrap.wrap(caption, LETTERS, max_lines=CAPTION_LINES, placeholder=" …")
        start, first, room = left, below + LINE, TILE + 0.04
    for row, line in enumerate(lines):
        color = INK if neighbor.caption else MUTED
        fitted_text(page, start, first + LINE * row, line, room, fontsize=7.0, color=color)
    page.text(left, below, f"{neighbor.score:.2f}", fontsize=8, fontweight="bold", va="center")
    page.text(left + TILE, below, f"#{neighbor.id}", fontsize=6.5, color=accent, ha="right", va="center")


def _draw_picture(page: Axes, image: Image, left: float, top: float, side: float, is_new: bool = False) -> None:
    import numpy as np

    scale = (side - 0.1) / max(image.size)
    width, height = image.width * scale, image.height * scale
    x, y = left + (side - width) / 2, top + (side - height) / 2
    extent = (x, x + width, y + height, y)
    page.imshow(np.asarray(image.convert("RGB")), extent=extent, aspect="auto", interpolation="bicubic", zorder=2)
    _draw_frame(page, left, top, side, is_new)


def _draw_frame(page: Axes, left: float, top: float, side: float, is_new: bool) -> None:
    from matplotlib.patches import Rectangle

    ink = {"edgecolor": NEW, "linewidth": 2.4} if is_new else {"edgecolor": FAINT, "linewidth": 0.8}
    page.add_patch(Rectangle((left, top), side, side, fill=False, zorder=3, **ink))
