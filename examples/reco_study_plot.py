# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The picture of reco_study.py: all methods with their intervals, and what changes them."""

from collections.abc import Mapping
from pathlib import Path

from hf_cloob.evaluation.plot_style import FAINT, INK, MUTED, SERIES, new_figure, plot_style, save_png
from hf_cloob.evaluation.statistics import mean_interval

TITLES = {
    "flags/in_memory": "Flags, mean of the styles",
    "noto/in_memory": "Noto's fine-grained groups",
    "noto/removed": "Noto's, entities removed",
}
AXES = {"k": "neighbors", "memory_size": "entries of the memory", "wrong_captions": "share of wrong captions"}
NOTE = "Diamonds: means over the seeds. Lines and bands: their 95 % t-intervals. Small points: one seed each."
# Trained ones stand out from what is free.
FREE, TRAINED = SERIES[0], SERIES[1]
TRAINED_METHODS = ("fusion_", "reco", "whitened_")


def plot_study(groups: Mapping, effects: Mapping, path: Path) -> Path:
    """Draw the groups' methods above and the effects' curves below.

    Args:
        groups: group -> method -> seed -> accuracy.
        effects: effect -> value -> method -> seed -> accuracy; may be empty.
        path: the PNG to write.
    """
    shown = [group for group in TITLES if group in groups]
    with plot_style():
        figure = new_figure(13, 6.0 + (3.6 if effects else 0))
        figure.set_layout_engine("constrained", w_pad=0.12, h_pad=0.1)
        figure.supxlabel(NOTE, x=0.012, ha="left", fontsize=8.5, color=MUTED)
        rows = figure.subfigures(2, 1, height_ratios=[5.8, 3.4]) if effects else [figure]
        for panel, group in zip(rows[0].subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
            _draw_methods(panel, TITLES[group], groups[group])
        if effects:
            for panel, (effect, values) in zip(
                rows[1].subplots(1, len(effects), squeeze=False)[0], effects.items(), strict=True
            ):
                _draw_effect(panel, effect, values)
        return save_png(figure, path)


def _draw_methods(panel, title: str, methods: Mapping) -> None:
    names = list(methods)
    panel.set_title(title)
    for row, name in enumerate(names):
        color, seeds = (
            TRAINED if name.startswith(TRAINED_METHODS) else FREE,
            [100 * share for share in methods[name].values()],
        )
        panel.plot(seeds, [row - 0.22] * len(seeds), "o", color=color, ms=3.2, alpha=0.5, mec="none")
        middle = sum(seeds) / len(seeds)
        if len(seeds) > 1:
            interval = mean_interval(seeds)
            panel.plot([interval["low"], interval["high"]], [row + 0.1] * 2, color=color, lw=2)
        panel.plot(middle, row + 0.1, "D", color=color, ms=5.5, mec="white", mew=0.8)
        panel.annotate(
            f"{middle:.1f}",
            (1, row),
            xycoords=("axes fraction", "data"),
            va="center",
            ha="left",
            color=INK,
            fontsize=8,
        )
    panel.set_yticks(range(len(names)), [name.replace("_", " ") for name in names])
    panel.tick_params(axis="y", length=0, labelcolor=INK)
    panel.grid(axis="y", visible=False)
    panel.set_ylim(len(names) - 0.5, -0.5)
    panel.margins(x=0.05)
    panel.set_xlabel("top-1 accuracy (%)")


def _draw_effect(panel, effect: str, values: Mapping) -> None:
    places = range(len(values))
    for color, method in zip((SERIES[4], FREE, TRAINED), next(iter(values.values())), strict=True):
        seeds = [[100 * share for share in methods[method].values()] for methods in values.values()]
        middles = [sum(shares) / len(shares) for shares in seeds]
        panel.plot(places, middles, "o-", color=color, ms=4, lw=1.6, label=method.replace("_", " "))
        if all(len(shares) > 1 for shares in seeds):
            intervals = [mean_interval(shares) for shares in seeds]
            bounds = ([interval[end] for interval in intervals] for end in ("low", "high"))
            panel.fill_between(places, *bounds, color=color, alpha=0.15, lw=0)
    panel.set_title(f"Flags: effect of {effect.replace('_', ' ')}")
    panel.set_xticks(places, list(values))
    panel.set_xlabel(AXES[effect])
    panel.set_ylabel("top-1 accuracy (%)")
    panel.spines["bottom"].set_color(FAINT)
    panel.legend(loc="best")
