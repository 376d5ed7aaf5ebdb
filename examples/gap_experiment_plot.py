# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The picture of gap_experiment.py: the gap against the step, a row for each start, a column for each temperature."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hf_cloob.evaluation.plot_style import INK, MUTED, SERIES, new_figure, plot_style, save_png
from hf_cloob.evaluation.statistics import mean_interval

STARTS = {
    "equal": "equal weights\n(gap 0, symmetric)",
    "zero_gap": "different weights,\ncenters moved together",
    "unequal": "different weights",
    "offset": "equal weights,\ncenters moved apart",
}
COLORS = {
    "clip": SERIES[5],
    "cua": SERIES[0],
    "cuaxu": SERIES[2],
    "clip_alignment": SERIES[1],
    "clip_uniformity": SERIES[3],
    "clip_cross_uniformity": SERIES[4],
}
NOTE = (
    "Gap: distance of the centers of two encoders' embeddings of the same pictures, on a square root's scale. "
    "Thick: mean of the seeds; thin: each seed.\n"
    "Numbers: mean gap at the last step ± its 95 % t-interval, and how often a linear probe tells the encoders apart "
    "(50 %: by chance)."
)
TICKS = (0, 0.1, 0.5, 1, 2)


def plot_gaps(runs: Sequence[dict], path: Path) -> Path:
    """Draw the gap of all runs, as `gap_experiment_training.train` returns them.

    Args:
        runs: all of the same steps.
        path: the PNG to write.
    """
    starts, temperatures, objectives = (
        list(dict.fromkeys(run[name] for run in runs)) for name in ("start", "temperature", "objective")
    )
    with plot_style():
        figure = new_figure(2.0 + 3.0 * len(temperatures), 1.3 + 2.2 * len(starts))
        figure.set_layout_engine("constrained", w_pad=0.08, h_pad=0.08)
        panels = figure.subplots(len(starts), len(temperatures), sharex=True, sharey=True, squeeze=False)
        for row, start in enumerate(starts):
            for column, temperature in enumerate(temperatures):
                panel = panels[row][column]
                cell = [run for run in runs if (run["start"], run["temperature"]) == (start, temperature)]
                _draw_cell(panel, cell, objectives)
                if row == 0:
                    panel.set_title(
                        "learned temperature" if temperature == "learned" else f"temperature {temperature}"
                    )
            panels[row][0].set_ylabel(STARTS[start], color=INK)
        _draw_axes(panels[0][0], runs)
        for panel in panels[-1]:
            panel.set_xlabel("step")
        figure.legend(*panels[0][0].get_legend_handles_labels(), loc="outside upper left", ncols=len(objectives))
        figure.supxlabel(NOTE, x=0.012, ha="left", fontsize=8.5, color=MUTED)
        return save_png(figure, path)


def _draw_cell(panel, runs: Sequence[dict], objectives: Sequence[str]) -> None:
    for place, objective in enumerate(objectives):
        seeds = [run for run in runs if run["objective"] == objective]
        color, steps = COLORS[objective], seeds[0]["step"]
        for run in seeds:
            panel.plot(steps, run["gap"], color=color, lw=0.7, alpha=0.45)
        middles = [sum(gaps) / len(gaps) for gaps in zip(*(run["gap"] for run in seeds), strict=True)]
        panel.plot(steps, middles, color=color, lw=2.0, label=objective.replace("_", " + ").upper())
        last = [run["gap"][-1] for run in seeds]
        reach = f" ± {mean_interval(last)['high'] - middles[-1]:.3f}" if len(last) > 1 else ""
        separable = sum(run["separability"][-1] for run in seeds) / len(seeds)
        panel.annotate(
            f"{middles[-1]:.3f}{reach}, {100 * separable:.0f} %",
            (0.99, 1.0 - 0.085 * place),
            xycoords="axes fraction",
            ha="right",
            va="top",
            color=color,
            fontsize=8,
        )


def _draw_axes(panel, runs: Sequence[dict]) -> None:
    """One scale for all panels: gaps from 0, steps by their logarithm, 0 included."""
    steps = runs[0]["step"]
    panel.set_xscale("symlog", linthresh=1, linscale=0.5)
    panel.set_xlim(0, steps[-1])
    # A power of ten close to the last step would run into its number.
    ticks = [0, *(10**power for power in range(len(str(steps[-1]))) if 2 * 10**power < steps[-1]), steps[-1]]
    panel.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    panel.minorticks_off()
    # A gap of 0.1, which a probe sees, is not to vanish below one of 1.5; the numbers stand above the lines.
    panel.set_yscale("function", functions=(lambda gap: np.sqrt(np.maximum(gap, 0)), np.square))
    panel.set_ylim(0, 1.9 * max(TICKS))
    panel.set_yticks(TICKS, [str(tick) for tick in TICKS])
