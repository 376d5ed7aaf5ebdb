# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The curves of several runs on one axis: what one objective gains on another, and when."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .plot_style import MUTED, SERIES, new_figure, percent, plot_style, save_png
from .training_curves import by_step, read_records, series, smoothed

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# The first of these that the runs log is drawn.
SELECTION_METRICS = ("selection_top1", "selection_mean_recall@1")
LEGEND_COLUMNS = 3
HEADLINE, LEGEND_LINE = 0.42, 0.25
DASHES = ("-", (0, (4, 1.5)), (0, (1, 1)))

Curve = tuple[list[float], list[float]]


def run_curves(
    runs: Mapping[str, Sequence[str | Path]], path: str | Path, metric: str | None = None, title: str | None = None
) -> Path:
    """Draws runs on one page: selection accuracy over steps and over pairs seen, loss, collapse of the embeddings.

    The runs of one name are one setting under several seeds: thin lines, and a strong one for their mean over the
    steps that all of them have logged. Losses are drawn as logged; those of different objectives have scales of
    their own.

    Args:
        runs: for each name the folders of its runs, with `train_log.jsonl` and, for pairs seen, `arguments.json`.
        path: the PNG to write; its folder is created.
        metric: the key of the log drawn as accuracy; None: `selection_top1`, or `selection_mean_recall@1`.
        title: headline; None: none.

    Returns:
        The path written.

    Raises:
        ValueError: no run, or a log in which no record has a step.
        ImportError: matplotlib is missing.
    """
    if not runs or not all(runs.values()):
        raise ValueError(f"every name needs at least one run folder; got {dict(runs)}.")
    logs = {
        name: [by_step(read_records(Path(folder) / "train_log.jsonl"), folder) for folder in folders]
        for name, folders in runs.items()
    }
    pairs = {name: [_pairs_per_step(Path(folder)) for folder in folders] for name, folders in runs.items()}
    logged = {key for records in logs.values() for log in records for record in log for key in record}
    metric = metric or next((name for name in SELECTION_METRICS if name in logged), SELECTION_METRICS[0])

    # Above the panels, in inches: the headline and a line for every three names.
    headline, legend = HEADLINE if title else 0.1, LEGEND_LINE * math.ceil(len(runs) / LEGEND_COLUMNS)
    top = headline + legend + 0.15
    height = 6.8 + top
    with plot_style():
        figure = new_figure(11, height)
        figure.set_layout_engine(
            "constrained", w_pad=0.15, h_pad=0.1, wspace=0.06, hspace=0.06, rect=(0, 0, 1, 1 - top / height)
        )
        if title:
            figure.text(0.014, 1 - 0.26 / height, title, fontsize=13, fontweight="bold", va="center", parse_math=False)
        panels = figure.subplots(2, 2)
        accuracy = {name: [series(log, metric) for log in records] for name, records in logs.items()}
        over_pairs = {
            name: [_rescaled(curve, factor) for curve, factor in zip(curves, pairs[name], strict=True) if factor]
            for name, curves in accuracy.items()
        }
        losses = {name: [_smooth(series(log, "loss")) for log in records] for name, records in logs.items()}
        cosines = {name: [series(log, "image_mean_cosine") for log in records] for name, records in logs.items()}
        share = _is_share(accuracy)
        label = metric.removeprefix("selection_").replace("_", " ").replace("top", "top-")
        _draw(panels[0, 0], f"Selection {label} over steps", "step", accuracy, share)
        _draw(panels[0, 1], f"Selection {label} over pairs seen", "pairs seen", over_pairs, share)
        _draw(panels[1, 0], "Training loss, each objective in its own scale", "step", losses)
        _draw(panels[1, 1], "Mean cosine of the images of a batch (1 = collapsed)", "step", cosines)
        figure.legend(
            handles=_legend_handles(logs, accuracy, share),
            loc="upper left",
            bbox_to_anchor=(0.006, 1 - headline / height),
            ncols=LEGEND_COLUMNS,
            fontsize=9,
            borderaxespad=0.3,
        )
        return save_png(figure, path)


def mean_curve(curves: Sequence[Curve]) -> Curve:
    """Means several curves over the places on the x-axis that all of them have."""
    values = [dict(zip(places, heights, strict=True)) for places, heights in curves]
    shared = [place for place in curves[0][0] if all(place in value for value in values)]
    return shared, [sum(value[place] for value in values) / len(values) for place in shared]


def _draw(panel: Axes, title: str, label: str, runs: Mapping[str, Sequence[Curve]], share: bool = False) -> None:
    panel.set_title(title)
    panel.set_xlabel(label)
    panel.margins(x=0.02)
    drawn = False
    for index, (_, curves) in enumerate(runs.items()):
        curves = [curve for curve in curves if curve[0]]
        if not curves:
            continue
        drawn = True
        color, dashes = SERIES[index % len(SERIES)], DASHES[index // len(SERIES) % len(DASHES)]
        if share:
            curves = [(places, [100 * value for value in values]) for places, values in curves]
        if len(curves) > 1:
            for curve in curves:
                panel.plot(*curve, color=color, lw=0.7, alpha=0.35)
        panel.plot(*mean_curve(curves), color=color, ls=dashes, lw=2.0)
    if not drawn:
        panel.text(0.5, 0.5, "not logged", transform=panel.transAxes, color=MUTED, ha="center", va="center")
        panel.set_yticks([])
        return
    panel.set_xlim(left=0)
    if share:
        panel.set_ylim(bottom=0)
        panel.yaxis.set_major_formatter("{x:g} %")
    if label == "pairs seen":
        panel.xaxis.set_major_formatter(_count)


def _count(value: float, _: int) -> str:
    return f"{value / 1e6:g} M" if value >= 1e6 else f"{value / 1e3:g} k" if value >= 1e3 else f"{value:g}"


def _legend_handles(logs: Mapping[str, Sequence], accuracy: Mapping[str, Sequence[Curve]], share: bool) -> list:
    from matplotlib.lines import Line2D

    handles = []
    for index, name in enumerate(logs):
        label = f"{name} ({len(logs[name])} runs)" if len(logs[name]) > 1 else name
        curves = [curve for curve in accuracy[name] if curve[0]]
        if curves and mean_curve(curves)[1]:
            best = max(mean_curve(curves)[1])
            label += f", best {percent(best) if share else f'{best:.3g}'}"
        style = {"color": SERIES[index % len(SERIES)], "ls": DASHES[index // len(SERIES) % len(DASHES)], "lw": 2.0}
        handles.append(Line2D([], [], label=label, **style))
    return handles


def _is_share(runs: Mapping[str, Sequence[Curve]]) -> bool:
    values = [value for curves in runs.values() for _, heights in curves for value in heights]
    return bool(values) and 0 <= min(values) and max(values) <= 1


def _smooth(curve: Curve) -> Curve:
    return curve[0], smoothed(curve[1])


def _rescaled(curve: Curve, factor: int) -> Curve:
    return [place * factor for place in curve[0]], curve[1]


def _pairs_per_step(folder: Path) -> int | None:
    """Pairs in a step of a run, from the flags it was started with; None where they are not there."""
    path = folder / "arguments.json"
    if not path.is_file():
        return None
    arguments = json.loads(path.read_text(encoding="utf-8"))
    return arguments["batch_size"] * arguments.get("gradient_accumulation_steps", 1)
