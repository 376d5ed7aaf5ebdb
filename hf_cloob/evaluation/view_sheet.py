# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What augmentation makes of pairs: a page with each pair's views side by side, every picture over its caption."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .contact_sheet import fitted_text
from .plot_style import FAINT, INK, MUTED, new_figure, plot_style, save_png

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_PAIRS, MAX_VIEWS = 12, 8
# The page's measures, in inches.
MARGIN, HEADER, PICTURE, GAP, LINE, ROW_GAP = 0.35, 1.05, 1.4, 0.16, 0.15, 0.2
CAPTION_LINES, LETTERS = 3, 21


def view_sheet(
    pairs: Sequence[Sequence[tuple[Image, str]]], names: Sequence[str], path: str | Path, title: str
) -> Path:
    """Draws pairs as rows and their views as columns; a caption that differs from the first column's is in full ink.

    Args:
        pairs: 1 to 12 pairs; for each of them its views (PIL image, caption), as many as there are names.
        names: 1 to 8 headings of the columns, for example ("as it is", "weak", "strong", "strong").
        path: the PNG to write; its folder is created.
        title: the page's headline.

    Returns:
        The path written.

    Raises:
        ValueError: no or too many pairs or columns, or a pair with another number of views.
        ImportError: matplotlib is missing.
    """
    if not 1 <= len(pairs) <= MAX_PAIRS or not 1 <= len(names) <= MAX_VIEWS:
        raise ValueError(
            f"a sheet has 1 to {MAX_PAIRS} pairs and 1 to {MAX_VIEWS} views; got {len(pairs)} and {len(names)}."
        )
    for number, views in enumerate(pairs):
        if len(views) != len(names):
            raise ValueError(f"pair {number} has {len(views)} views; there are {len(names)} names.")
    row_height = PICTURE + CAPTION_LINES * LINE + ROW_GAP
    width = 2 * MARGIN + len(names) * PICTURE + (len(names) - 1) * GAP
    height = HEADER + len(pairs) * row_height + MARGIN / 2
    with plot_style():
        figure = new_figure(width, height)
        # One axis in inches from the top left corner: every element is placed by the measures above.
        page = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
        page.axis("off")
        fitted_text(page, MARGIN, 0.42, title, width - 2 * MARGIN, fontsize=13, fontweight="bold")
        for column, name in enumerate(names):
            left = MARGIN + column * (PICTURE + GAP)
            fitted_text(page, left, HEADER - 0.15, name, PICTURE, color=MUTED)
            for row, views in enumerate(pairs):
                top = HEADER + row * row_height
                changed = views[column][1] != views[0][1]
                _draw_view(page, *views[column], left, top, INK if changed or column == 0 else MUTED)
        return save_png(figure, path)


def _draw_view(page, image: Image, caption: str, left: float, top: float, color: str) -> None:
    import numpy as np
    from matplotlib.patches import Rectangle

    scale = PICTURE / max(image.size)
    width, height = image.width * scale, image.height * scale
    x, y = left + (PICTURE - width) / 2, top + (PICTURE - height) / 2
    extent = (x, x + width, y + height, y)
    page.imshow(np.asarray(image.convert("RGB")), extent=extent, aspect="auto", interpolation="bicubic", zorder=2)
    page.add_patch(Rectangle((left, top), PICTURE, PICTURE, fill=False, edgecolor=FAINT, linewidth=0.8, zorder=3))
    lines = textwrap.wrap(caption, LETTERS, max_lines=CAPTION_LINES, placeholder=" …")
    for number, line in enumerate(lines):
        fitted_text(page, left, top + PICTURE + LINE * (number + 0.75), line, PICTURE, fontsize=8, color=color)
