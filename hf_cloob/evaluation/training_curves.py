# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""A run's log as one page of curves."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterable, Mapping
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .plot_style import MUTED, SERIES, new_figure, percent, plot_style, save_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes

logger = logging.getLogger(__name__)

LEGEND_COLUMNS = 4


def training_curves(log: str | Path | Iterable[Mapping[str, Any]], path: str | Path) -> Path:
    """Draws a run's log on one page: loss and parts, selection accuracy, mean pairwise cosines, learning rate.

    Args:
        log: a `train_log.jsonl` (one JSON object a line), or its records. Every record has `step`; other keys may
            be missing on some lines. Drawn are `loss` and every key that contains "loss", `selection_top*`,
            `*_mean_cosine` and `lr`. Where a resumed run wrote a step twice, the later record holds.
        path: the PNG to write; its folder is created.

    Returns:
        The path written.

    Raises:
        ValueError: no record with a step. Lines that are no JSON object are skipped, counted and logged.
        ImportError: matplotlib is missing.
    """
    records = by_step(read_records(Path(log)) if isinstance(log, str | Path) else log, log)
    keys = sorted({key for record in records for key in record})
    losses = [key for key in ("loss",) if key in keys] + [key for key in keys if "loss" in key and key != "loss"]
    with plot_style():
        figure = new_figure(11, 7)
        figure.set_layout_engine("constrained", w_pad=0.15, h_pad=0.15, wspace=0.06, hspace=0.06)
        panels = figure.subplots(2, 2, sharex=True).flat
        _draw_losses(next(panels), records, losses)
        _draw_accuracy(next(panels), records, [key for key in keys if key.startswith("selection_top")])
        _draw_cosines(next(panels), records, [key for key in keys if key.endswith("_mean_cosine")])
        _draw_learning_rate(next(panels), records, [key for key in keys if key == "lr"])
        return save_png(figure, path)


def read_records(path: Path) -> list[dict[str, Any]]:
    records, unreadable = [], []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            record = None
        # A killed run leaves half a line behind; the rest of the log is still worth drawing.
        records.append(record) if isinstance(record, dict) else unreadable.append(number)
    if unreadable:
        logger.warning("%s: skipped %d lines that are no JSON object: %s", path, len(unreadable), unreadable)
    return records


def by_step(records: Iterable[Mapping[str, Any]], source: Any) -> list[dict[str, float]]:
    """Merges the records of each step and sorts them; keeps finite numbers only."""
    merged: dict[float, dict[str, float]] = {}
    for record in records:
        numbers = {
            key: float(value)
            for key, value in record.items()
            if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        }
        if "step" in numbers:
            merged.setdefault(numbers["step"], {}).update(numbers)
    if not merged:
        where = source if isinstance(source, str | Path) else "the records"
        raise ValueError(f"{where}: no record has a number under 'step'; there is nothing to draw.")
    return [merged[step] for step in sorted(merged)]


def series(records: list[dict[str, float]], key: str) -> tuple[list[float], list[float]]:
    points = [(record["step"], record[key]) for record in records if key in record]
    return [step for step, _ in points], [value for _, value in points]


def smoothed(values: list[float]) -> list[float]:
    """Centered mean over about a fortieth of the run: the trend shows through the noise of batches, without lag."""
    sums = [0.0, *accumulate(values)]
    last = len(values) - 1
    # Near an end the window shrinks on both sides, so that it stays centered.
    reaches = [min(len(values) // 80, index, last - index) for index in range(len(values))]
    return [(sums[index + reach + 1] - sums[index - reach]) / (2 * reach + 1) for index, reach in enumerate(reaches)]


def _draw_losses(panel: Axes, records: list[dict[str, float]], keys: list[str]) -> None:
    _start_panel(panel, "Training loss and its parts" if len(keys) > 1 else "Training loss", keys)
    for color, key in zip(_colors(keys), keys, strict=True):
        steps, values = series(records, key)
        panel.plot(steps, values, color=color, lw=0.7, alpha=0.3)
        name = key.removesuffix("_loss").replace("_", " ").replace("/", " ")
        panel.plot(steps, smoothed(values), color=color, lw=2.0 if key == "loss" else 1.4, label=name)
    if len(keys) > 1:
        _legend_above(panel)


def _draw_accuracy(panel: Axes, records: list[dict[str, float]], keys: list[str]) -> None:
    _start_panel(panel, "Zero-shot accuracy on the selection half", keys)
    for color, key in zip(_colors(keys), keys, strict=True):
        steps, values = series(records, key)
        name = key.removeprefix("selection_top")
        label = f"top-{name}, best {percent(max(values))}"
        panel.plot(steps, [100 * value for value in values], color=color, lw=1.8, marker="o", ms=3.5, label=label)
    if keys:
        panel.set_ylim(bottom=0)
        panel.yaxis.set_major_formatter("{x:g} %")
        _legend_above(panel)


def _draw_cosines(panel: Axes, records: list[dict[str, float]], keys: list[str]) -> None:
    _start_panel(panel, "Mean pairwise cosine (1 = collapsed)", keys)
    for color, key in zip(_colors(keys), keys, strict=True):
        steps, values = series(records, key)
        panel.plot(steps, values, color=color, lw=1.6, label=key.removesuffix("_mean_cosine"))
    if keys:
        panel.set_ylim(min(-0.05, panel.get_ylim()[0]), 1.05)
        _legend_above(panel)
    panel.set_xlabel("step")


def _draw_learning_rate(panel: Axes, records: list[dict[str, float]], keys: list[str]) -> None:
    _start_panel(panel, "Learning rate", keys)
    for key in keys:
        panel.plot(*series(records, key), color=SERIES[0], lw=1.8)
        panel.set_ylim(bottom=0)
        panel.yaxis.set_major_formatter("{x:g}")
    panel.set_xlabel("step")


def _start_panel(panel: Axes, title: str, keys: list[str]) -> None:
    # Room for the legend between title and axes.
    panel.set_title(title, pad=10 + 14 * max(1, math.ceil(len(keys) / LEGEND_COLUMNS)))
    panel.margins(x=0.02)
    if not keys:
        panel.text(0.5, 0.5, "not logged", transform=panel.transAxes, color=MUTED, ha="center", va="center")
        panel.set_yticks([])


def _legend_above(panel: Axes) -> None:
    """Puts the legend between title and axes, where no curve can run."""
    panel.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=LEGEND_COLUMNS,
        fontsize=8.5,
        borderaxespad=0.2,
        borderpad=0,
        columnspacing=1.4,
    )


def _colors(keys: list[str]) -> list[str]:
    return [SERIES[index % len(SERIES)] for index in range(len(keys))]
