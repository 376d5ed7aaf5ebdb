# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The curve from the model that training started from to the fine-tuned one: what is gained against what is lost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .plot_style import FAINT, INK, MUTED, SERIES, new_figure, plot_style, save_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def interpolation_plot(
    points: Sequence[tuple[float, float, float]],
    chosen_alpha: float,
    tests: Sequence[tuple[float, float]],
    path: str | Path,
    names: tuple[str, str],
) -> Path:
    """Draw the new task's figure against the known one's, on selection data, with the test figures of three models.

    Args:
        points: (alpha, new, known) on selection data, shares from 0 to 1, in order of alpha.
        chosen_alpha: the alpha of the model that was chosen on them.
        tests: (known, new) on test data of the start, the fine-tuned and the chosen model.
        path: the PNG to write.
        names: the metrics' names: the new task's and the known one's.

    Returns:
        the path.

    Raises:
        ValueError: no points, a chosen alpha that is none of them, or not three test figures.
        ImportError: matplotlib is missing.

    Source: Wortsman et al. 2022 (WiSE-FT, arXiv 2109.01903), figure 1.
    """
    alphas = [alpha for alpha, _, _ in points]
    if chosen_alpha not in alphas:
        raise ValueError(f"chosen_alpha must be one of the points' {alphas}; got {chosen_alpha}.")
    if len(tests) != 3:
        raise ValueError(f"tests takes the start, the fine-tuned and the chosen model; got {len(tests)} figures.")
    with plot_style():
        figure = new_figure(6.8, 4.8)
        axes = figure.add_subplot()
        _draw_curve(axes, points, chosen_alpha)
        labels = ("start, test", "fine-tuned, test", f"chosen, test (alpha {chosen_alpha:g})")
        for (known, new), label, marker in zip(tests, labels, "osD", strict=True):
            axes.scatter(100 * known, 100 * new, color=SERIES[1], marker=marker, s=44, zorder=4, label=label)
        axes.set_title("Between the start and the fine-tuned model")
        axes.set_xlabel(f"what was known, {names[1].replace('selection_', '')}, %")
        axes.set_ylabel(f"the new task, {names[0].replace('selection_', '')}, %")
        axes.margins(0.08)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=3)  # below: the points may be anywhere
        figure.tight_layout()
        return save_png(figure, path)


def _draw_curve(axes: Axes, points: Sequence[tuple[float, float, float]], chosen_alpha: float) -> None:
    known, new = [100 * point[2] for point in points], [100 * point[1] for point in points]
    axes.axvline(known[0], color=FAINT, linewidth=1.0)
    axes.plot(known, new, color=SERIES[0], marker="o", markersize=4, label="alpha 0 to 1, selection data")
    for index, (alpha, _, _) in enumerate(points):
        if alpha == chosen_alpha:
            axes.scatter(known[index], new[index], s=130, facecolors="none", edgecolors=INK, zorder=5, label="chosen")
        if index in (0, len(points) - 1) or alpha == chosen_alpha:
            axes.annotate(f"{alpha:g}", (known[index], new[index]), (6, 6), textcoords="offset points", color=MUTED)
