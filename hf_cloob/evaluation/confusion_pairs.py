# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Which classes a model takes for each other: the confusion matrix of the most confused ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from .plot_style import FAINT, INK, MUTED, RIGHT, SERIES, new_figure, plot_style, save_png
from .ranking import check_indices

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from PIL.Image import Image

# The page's measures, in inches.
CELL, MARGIN, HEADER, FOOTER = 0.42, 0.35, 0.95, 0.4
THUMBNAIL, GAP = 0.36, 0.06
LETTER = 0.075  # width of a letter of the names
MAX_CLASSES = 40
# Strong pairs among classes that are picked already are passed over; these are more than enough to fill a page.
PAIRS_A_CLASS = 64
LONGEST_NAME = 34
# A cell below half a percent stays empty: its number would round to nothing.
SMALLEST_SHOWN = 0.005


@torch.no_grad()
def mean_confusion(probabilities: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean probability that the pictures of one class are given for each class.

    confusion[a, b] = mean over the images i of class a of P(b | image i)

    A softer count than that of first places: it says something with a single picture a class, too.

    Args:
        probabilities: (num_images, num_classes), rows sum to 1.
        targets: (num_images,) int64, each image's class.

    Returns:
        (num_classes, num_classes); the row of a class without pictures is 0.

    Raises:
        ValueError: probabilities that are none, or targets that do not fit them.
    """
    if probabilities.ndim != 2 or not len(probabilities):
        raise ValueError(f"probabilities must be (num_images, num_classes); got {tuple(probabilities.shape)}.")
    sums = probabilities.double().sum(dim=1)
    bad = (~((sums - 1).abs() < 1e-2) | (probabilities < 0).any(dim=1)).nonzero().flatten()
    if bad.numel():
        row = int(bad[0])
        raise ValueError(f"rows of probabilities must be ≥ 0 and sum to 1; row {row} sums to {sums[row]:.4g}.")
    num_classes = probabilities.shape[1]
    targets = check_indices("targets", targets, len(probabilities), num_classes, "the classes").to(sums.device)
    counts = torch.bincount(targets, minlength=num_classes).clamp(min=1)
    total = probabilities.new_zeros(num_classes, num_classes, dtype=torch.float32)
    return total.index_add_(0, targets, probabilities.float()) / counts[:, None]


def most_confused_classes(confusion: torch.Tensor, num_classes: int) -> list[int]:
    """Picks classes pair by pair, the most confused pair first, and puts confused classes beside each other.

    The confusion of a pair is confusion[a, b] + confusion[b, a]; only classes with pictures of their own count.

    Args:
        confusion: (num_classes, num_classes) as `mean_confusion` returns it.
        num_classes: how many to pick at most.
    """
    has_images = confusion.sum(dim=1) > 0
    strength = (confusion + confusion.T) * has_images[:, None] * has_images
    strongest = strength.triu(1).flatten()
    strongest, order = strongest.topk(min(strongest.numel(), PAIRS_A_CLASS * num_classes))
    groups: list[list[int]] = []
    for pair in order[strongest > 0].tolist():
        a, b = divmod(pair, len(strength))
        known = [next((group for group in groups if item in group), None) for item in (a, b)]
        if sum(map(len, groups)) + known.count(None) > num_classes:
            continue
        if known == [None, None]:
            groups.append([a, b])
        elif known[0] is None or known[1] is None:
            group, old, new = (known[1], b, a) if known[0] is None else (known[0], a, b)
            # At whichever end of its group the older of the two is nearer to.
            group.insert(len(group) if 2 * group.index(old) >= len(group) - 1 else 0, new)
    return [item for group in groups for item in group]


def confusion_pairs(
    probabilities: torch.Tensor,
    targets: torch.Tensor,
    class_names: Sequence[str],
    path: str | Path,
    title: str,
    num_classes: int = 16,
    example_images: Mapping[int, Image] | None = None,
) -> Path:
    """Draws the confusion matrix of the classes that are confused most, with a picture of each.

    A row is what the pictures truly are, a column what they are taken for; a cell is the mean probability in
    percent, green where it is right. The last column is all other classes together.

    Args:
        probabilities: (num_images, num_classes), rows sum to 1.
        targets: (num_images,) int64, each image's class.
        class_names: a name a class.
        path: the PNG to write; its folder is created.
        title: headline.
        num_classes: how many classes to show, 2 to 40.
        example_images: class -> a picture of it, for rows and columns.

    Returns:
        The path written.

    Raises:
        ValueError: as `mean_confusion`; names that are not one a class; num_classes outside 2 to 40; no two classes
            with pictures are confused at all.
        ImportError: matplotlib is missing.
    """
    if not 2 <= num_classes <= MAX_CLASSES:
        raise ValueError(f"num_classes must be from 2 to {MAX_CLASSES}; got {num_classes}.")
    confusion = mean_confusion(probabilities, targets).cpu()
    if len(class_names) != len(confusion):
        raise ValueError(f"class_names has {len(class_names)} names for {len(confusion)} classes.")
    shown = most_confused_classes(confusion, num_classes)
    if not shown:
        raise ValueError("no two classes with pictures are confused; there is nothing to draw.")
    cells = confusion[shown][:, shown]
    others = (confusion[shown].sum(dim=1) - cells.sum(dim=1)).clamp(min=0)
    names = [_shortened(class_names[index]) for index in shown]
    images = [(example_images or {}).get(index) for index in shown]

    label = LETTER * max(map(len, names)) + (THUMBNAIL + GAP if any(images) else 0) + 0.1
    # Without pictures the columns carry names, at a slant of 45 degrees.
    above = THUMBNAIL + 2 * GAP + 0.05 if all(images) else 0.75 * label + 0.1
    left, top = MARGIN + label, HEADER + above
    width = max(left + CELL * (len(shown) + 1.4) + (0.2 if all(images) else 0.5 * label) + MARGIN, 7.0)
    height = top + CELL * len(shown) + FOOTER
    with plot_style():
        figure = new_figure(width, height)
        page = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
        page.axis("off")
        page.text(MARGIN, 0.4, title, fontsize=14, fontweight="bold", va="center", parse_math=False)
        right = f"Right: {100 * float(cells.diagonal().mean()):.0f} % on average over these {len(shown)} classes."
        subtitle = f"Rows: what it is.  Columns: what it is taken for.  {right}"
        page.text(MARGIN, 0.67, subtitle, color=MUTED, va="center")
        _draw_labels(page, names, images, left, top)
        _draw_cells(page, cells, others, left, top)
        note = "Mean probability in percent; green: right, orange: taken for another of these, last column: any other."
        page.text(MARGIN, height - 0.2, note, fontsize=8, color=MUTED, va="center")
        return save_png(figure, path)


def _draw_labels(page: Axes, names: list[str], images: list, left: float, top: float) -> None:
    for index, (name, image) in enumerate(zip(names, images, strict=True)):
        middle = top + CELL * (index + 0.5)
        indent = THUMBNAIL + GAP if any(images) else 0
        page.text(left - indent - 0.08, middle, name, ha="right", va="center", parse_math=False)
        column = left + CELL * (index + 0.5)
        if image is not None:
            _draw_image(page, image, left - THUMBNAIL / 2 - GAP, middle)
        if all(images):
            _draw_image(page, image, column, top - THUMBNAIL / 2 - GAP)
        else:
            page.text(
                column - 0.05, top - 0.06, name, rotation=45, rotation_mode="anchor", fontsize=8.5, parse_math=False
            )
    others = left + CELL * (len(names) + 0.9)
    page.text(others, top - 0.06, "other", ha="center", va="bottom", color=MUTED, fontsize=8.5)


def _draw_cells(page: Axes, cells: torch.Tensor, others: torch.Tensor, left: float, top: float) -> None:
    from matplotlib.colors import to_rgb
    from matplotlib.patches import Rectangle

    size = len(cells)
    for row in range(size):
        for column in range(size + 1):
            value = float(others[row] if column == size else cells[row, column])
            ink = MUTED if column == size else RIGHT if row == column else SERIES[1]
            # The square root lifts small probabilities out of the white.
            depth = min(value, 1.0) ** 0.5
            color = [1 - depth * (1 - channel) for channel in to_rgb(ink)]
            x, y = left + CELL * (column + 0.4 * (column == size)), top + CELL * row
            page.add_patch(Rectangle((x, y), CELL, CELL, facecolor=color, edgecolor=FAINT, lw=0.5))
            if value >= SMALLEST_SHOWN:
                text = "white" if depth > 0.75 else INK
                page.text(x + CELL / 2, y + CELL / 2, f"{100 * value:.0f}", ha="center", va="center", color=text)


def _draw_image(page: Axes, image: Image, x: float, y: float) -> None:
    import numpy as np

    scale = THUMBNAIL / max(image.size)
    half_width, half_height = image.width * scale / 2, image.height * scale / 2
    extent = (x - half_width, x + half_width, y + half_height, y - half_height)
    page.imshow(np.asarray(image.convert("RGB")), extent=extent, aspect="auto", interpolation="bicubic")


def _shortened(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1].rstrip() + "…"
