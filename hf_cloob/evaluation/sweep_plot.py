# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""A sweep at a glance: every seed as a point, the mean, its interval, and the paired difference to a baseline."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from .plot_style import FAINT, INK, MUTED, SERIES, new_figure, plot_style, save_png
from .statistics import mean_interval, paired_difference

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Figures = Mapping[str, Mapping[int | str, float]]
ROW_HEIGHT, PANEL_EXTRA = 0.36, 0.95
NOTE = "Small points: one seed each, at the same height in every row.   Diamond: mean.   Line: its 95 % t-interval."
# Within a row: the seeds above, mean and interval below, so that neither hides the other.
SEEDS_TOP, SEEDS_SPAN, MEAN_AT = -0.34, 0.32, 0.2
# Figures nearer than this, relative to their size, are equal but for rounding.
EQUAL = 1e-9


def sweep_plot(figures: Mapping[str, Figures], baseline: str, path: str | Path, title: str) -> Path:
    """Draws for each metric the settings' figures, and beside them the differences to the baseline by seed.

    A small point is one seed, the diamond the mean, the line its 95 % t-interval. Seeds sit at the same height in
    every setting, so that a pair can be followed.

    Args:
        figures: metric -> setting -> seed -> figure; one to six metrics read well. A setting without figures keeps
            its empty row.
        baseline: the setting that differences are taken to.
        path: the PNG to write; its folder is created.
        title: headline.

    Returns:
        The path written.

    Raises:
        ValueError: no metric, or a baseline that is not among the settings of each.
        ImportError: matplotlib is missing.
    """
    if not figures:
        raise ValueError("a sweep's plot needs at least one metric.")
    for metric, settings in figures.items():
        if baseline not in settings:
            raise ValueError(f"baseline must be one of {list(settings)} for {metric}; got {baseline!r}.")
    rows = max(len(settings) for settings in figures.values())
    height = 0.75 + len(figures) * (PANEL_EXTRA + ROW_HEIGHT * rows)
    with plot_style():
        figure = new_figure(11, height)
        figure.set_layout_engine("constrained", w_pad=0.12, h_pad=0.1, wspace=0.04, hspace=0.06)
        figure.suptitle(title, x=0.012, ha="left", fontsize=13, fontweight="bold", parse_math=False)
        figure.supxlabel(NOTE, x=0.012, ha="left", fontsize=8.5, color=MUTED)
        panels = figure.subplots(len(figures), 2, squeeze=False)
        for (metric, settings), (left, right) in zip(figures.items(), panels, strict=True):
            seeds = sorted({seed for runs in settings.values() for seed in runs}, key=str)
            factor, unit = (100, " %") if _is_share(settings) else (1, "")
            scaled = {name: {seed: factor * value for seed, value in runs.items()} for name, runs in settings.items()}
            _draw_figures(left, metric.replace("_", " "), scaled, seeds, unit)
            _draw_differences(right, scaled, baseline, seeds, " (points)" if unit else "")
        return save_png(figure, path)


def _draw_figures(panel: Axes, title: str, settings: Figures, seeds: list, unit: str) -> None:
    _start_panel(panel, title, list(settings))
    for row, runs in enumerate(settings.values()):
        interval = mean_interval(list(runs.values())) if len(runs) > 1 else None
        _draw_row(panel, row, runs, seeds, interval, SERIES[row % len(SERIES)])
    _keep_apart(panel)
    panel.xaxis.set_major_formatter(f"{{x:g}}{unit}")


def _draw_differences(panel: Axes, settings: Figures, baseline: str, seeds: list, unit: str) -> None:
    _start_panel(panel, f"Difference to {baseline} by seed{unit}", list(settings))
    panel.set_yticklabels([])
    panel.axvline(0, color=INK, lw=0.9)
    for row, (name, runs) in enumerate(settings.items()):
        differences = {seed: runs[seed] - settings[baseline][seed] for seed in runs if seed in settings[baseline]}
        if name == baseline:
            panel.text(0, row, " baseline", color=MUTED, va="center", fontsize=8.5)
            continue
        interval = None
        if len(differences) > 1:
            interval = paired_difference(
                [runs[seed] for seed in differences], [settings[baseline][seed] for seed in differences]
            )
        _draw_row(panel, row, differences, seeds, interval, SERIES[row % len(SERIES)])
    _keep_apart(panel)
    panel.xaxis.set_major_formatter(lambda value, _: f"{value:+g}".replace("-", "−") if value else "0")


def _draw_row(panel: Axes, row: int, runs: Mapping, seeds: list, interval: dict | None, color: str) -> None:
    for seed, value in runs.items():
        height = row + SEEDS_TOP + SEEDS_SPAN * seeds.index(seed) / max(len(seeds) - 1, 1)
        panel.plot(value, height, "o", color=color, ms=3.6, alpha=0.6, mec="none")
    if interval:
        middle = row + MEAN_AT
        panel.plot([interval["low"], interval["high"]], [middle, middle], color=color, lw=2.2)
        panel.plot(interval["mean"], middle, "D", color=color, ms=6.5, mec="white", mew=0.9, zorder=4)
    if not runs:
        panel.text(0.5, row, "no run", transform=panel.get_yaxis_transform(), color=MUTED, ha="center", va="center")


def _start_panel(panel: Axes, title: str, names: list[str]) -> None:
    panel.set_title(title, parse_math=False)
    panel.set_ylim(len(names) - 0.5, -0.5)
    panel.set_yticks(range(len(names)), names)
    panel.tick_params(axis="y", length=0, labelcolor=INK)
    panel.grid(axis="y", visible=False)
    for row in range(1, len(names)):
        panel.axhline(row - 0.5, color=FAINT, lw=0.5)
    panel.margins(x=0.06)
    panel.locator_params(axis="x", nbins=7)


def _keep_apart(panel: Axes) -> None:
    """Widens an axis that would stretch the last bits of equal figures over its length."""
    low, high = panel.get_xlim()
    if high - low < EQUAL * max(1, abs(low)):
        panel.set_xlim((low + high) / 2 - 1, (low + high) / 2 + 1)


def _is_share(settings: Figures) -> bool:
    values = [value for runs in settings.values() for value in runs.values()]
    return bool(values) and 0 <= min(values) and max(values) <= 1
