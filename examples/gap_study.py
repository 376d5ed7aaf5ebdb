# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Does closing the contrastive gap help? Gap, zero-shot, retrieval and arithmetic of every objective, on one page.

    python examples/sweep.py examples/sweeps/gap.yaml
    python examples/gap_study.py runs/sweeps/gap --output_dir runs/gap_study

Reads the folder of a finished or unfinished sweep whose settings are named OBJECTIVE_dDIM_SCALE and which measured the
suites geometry and arithmetic. Figures are of half B of Noto, a style withheld from training, under the first seed.
Intervals (95 %) are bootstraps over pairs, or over the source pictures of arithmetic; those of zero-shot are Wilson's.
OUTPUT_DIR holds metrics.json, table.md and gap_study.png.

Source of the question: Fahim, Murphy, Fyshe 2024 (arXiv 2405.18570); towers and data are ours.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from command_line import UserError, parse_arguments, user_errors

NAME = re.compile(r"(?P<objective>\w+)_d(?P<dim>\d+)_(?P<scale>fixed|own)")
OBJECTIVES = {"clip": "CLIP", "cua": "CUA", "cuaxu": "CUAXU", "cloob": "CLOOB", "cloob_cuaxu": "CLOOB + CUAXU"}
SCALES = {"fixed": "t = 100", "own": "the loss's own t"}
# Figure -> the sweep's name of it, and what the page calls it.
FIGURES = {
    "centroid_distance": ("geometry_modality_gap", "centroid distance"),
    "separability": ("geometry_linear_separability", "linear separability"),
    "rmg": ("geometry_relative_modality_gap", "relative gap (RMG)"),
    "matched_cosine": ("geometry_matched_cosine", "matched cosine"),
    "zero_shot": ("test_seen_top1", "zero-shot top-1, seen"),
    "zero_shot_unseen": ("test_unseen_among_unseen_top1", "zero-shot top-1, unseen among unseen"),
    "image_to_text": ("geometry_image_to_text_recall@1", "image→text R@1"),
    "text_to_image": ("geometry_text_to_image_recall@1", "text→image R@1"),
    "arithmetic": ("arithmetic_noto_top1", "arithmetic top-1"),
    "arithmetic_gain": ("arithmetic_noto_gain_top1", "arithmetic over its controls"),
}
# Shares without an interval of their own, and of how many.
COUNTS = {
    "zero_shot": "test_seen_num_images",
    "zero_shot_unseen": "test_unseen_num_images",
}
SHARES = (*COUNTS, "image_to_text", "text_to_image", "arithmetic", "arithmetic_gain")
SHOWN = ("centroid_distance", "zero_shot", "text_to_image", "arithmetic")
NORMAL_QUANTILE = 1.959964


@dataclass
class GapStudyArguments:
    """Flags of gap_study.py."""

    sweep_dir: str = field(default="runs/sweeps/gap", metadata={"help": "folder of the sweep"})
    output_dir: str = field(default="runs/gap_study", metadata={"help": "folder of the results"})


def main() -> None:
    args = parse_arguments(GapStudyArguments, __doc__.split("\n\n")[0], positional="sweep_dir")
    try:
        study(args)
    except UserError as error:
        raise SystemExit(f"gap_study.py: {error}") from None


def study(args: GapStudyArguments) -> dict:
    """Collect the figures of every setting and write all results; returns what `metrics.json` holds."""
    from hf_cloob.training.run_log import write_metrics

    metrics = collect(read_sweep(Path(args.sweep_dir)))
    output_dir = Path(args.output_dir)
    output_dir.mkdir(parents=True, exist_ok=True)
    write_metrics(output_dir / "metrics.json", metrics)
    table = table_markdown(metrics)
    (output_dir / "table.md").write_text(table + "\n", encoding="utf-8")
    print(table)
    with user_errors():
        print(draw(metrics, output_dir / "gap_study.png"))
    return metrics


def read_sweep(sweep_dir: Path) -> dict[str, dict[str, float]]:
    """Setting -> figures of its first finished run, for the settings that are named as this study's."""
    path = sweep_dir / "sweep.json"
    if not path.is_file():
        raise UserError(f"sweep_dir {sweep_dir} holds no sweep.json: run examples/sweep.py first")
    settings = json.loads(path.read_text(encoding="utf-8"))["settings"]
    needed = [name for name, _ in FIGURES.values()]
    found = {}
    for name, setting in settings.items():
        finished = [run["metrics"] for run in setting["runs"].values() if all(own in run["metrics"] for own in needed)]
        if NAME.fullmatch(name) and finished:
            found[name] = finished[0]
    if not found:
        raise UserError(f"no run of {sweep_dir} is finished, measured and named OBJECTIVE_dDIM_SCALE")
    return found


def collect(runs: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Flat figures: SETTING/FIGURE with _low and _high, and how much smaller the gap is than CLIP's beside it."""
    metrics: dict[str, float] = {}
    for setting, run in runs.items():
        for figure, (name, _) in FIGURES.items():
            if figure in COUNTS:
                low, high = wilson_interval(run[name], int(run[COUNTS[figure]]))
            else:
                low, high = run[f"{name}_low"], run[f"{name}_high"]
            metrics |= {f"{setting}/{figure}": run[name]}
            metrics |= {f"{setting}/{figure}_low": low, f"{setting}/{figure}_high": high}
        parts = NAME.fullmatch(setting)
        clip = runs.get(f"clip_d{parts['dim']}_{parts['scale']}")
        if clip:
            gap = FIGURES["centroid_distance"][0]
            metrics[f"{setting}/clip_gap_over_gap"] = clip[gap] / max(run[gap], 1e-12)
    return metrics


def wilson_interval(share: float, count: int) -> tuple[float, float]:
    """95 % score interval of a share of `count` independent trials (Wilson 1927)."""
    square = NORMAL_QUANTILE**2 / count
    middle = (share + square / 2) / (1 + square)
    reach = NORMAL_QUANTILE / (1 + square) * math.sqrt(share * (1 - share) / count + square / (4 * count))
    return middle - reach, middle + reach


def settings_of(metrics: Mapping[str, float]) -> list[str]:
    return list(dict.fromkeys(name.split("/")[0] for name in metrics))


def table_markdown(metrics: Mapping[str, float]) -> str:
    """One row a setting; shares in percent."""
    shown = ("centroid_distance", "separability", "rmg", "zero_shot", "image_to_text", "text_to_image", "arithmetic")
    titles = [FIGURES[figure][1] + (" (%)" if figure in SHARES else "") for figure in shown]
    lines = [
        f"| objective | dim | scale | CLIP's gap / gap | {' | '.join(titles)} |",
        f"|---|{'---|' * (3 + len(shown))}",
    ]
    for setting in settings_of(metrics):
        parts = NAME.fullmatch(setting)
        cells = [_cell(metrics, f"{setting}/{figure}", figure in SHARES) for figure in shown]
        times = metrics.get(f"{setting}/clip_gap_over_gap")
        cells = ["–" if times is None else f"{times:.1f}", *cells]
        lines.append(
            f"| {OBJECTIVES[parts['objective']]} | {parts['dim']} | {SCALES[parts['scale']]} | {' | '.join(cells)} |"
        )
    return "\n".join(lines)


def _cell(metrics: Mapping[str, float], name: str, is_share: bool) -> str:
    value, low, high = (metrics[name + end] for end in ("", "_low", "_high"))
    if is_share:
        return f"{100 * value:.1f} [{100 * low:.1f}, {100 * high:.1f}]"
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"


def draw(metrics: Mapping[str, float], path: Path) -> Path:
    """A panel a figure, a row an objective; dimension and scale are told apart by form and filling."""
    from hf_cloob.evaluation.plot_style import FAINT, INK, MUTED, SERIES, new_figure, plot_style, save_png

    settings = settings_of(metrics)
    groups = sorted({(int(NAME.fullmatch(name)["dim"]), NAME.fullmatch(name)["scale"]) for name in settings})
    objectives = [name for name in OBJECTIVES if any(NAME.fullmatch(own)["objective"] == name for own in settings)]
    with plot_style():
        figure = new_figure(12.5, 1.6 + 0.62 * len(objectives))
        figure.set_layout_engine("constrained", w_pad=0.12, h_pad=0.1)
        figure.suptitle("Closing the contrastive gap: what it does", x=0.012, ha="left", fontsize=13, weight="bold")
        panels = figure.subplots(1, len(SHOWN), sharey=True)
        for panel, shown in zip(panels, SHOWN, strict=True):
            factor = 100 if shown in SHARES else 1
            for place, (dim, scale) in enumerate(groups):
                color, marker = SERIES[place % len(SERIES)], "o" if scale == "fixed" else "s"
                for row, objective in enumerate(objectives):
                    name = f"{objective}_d{dim}_{scale}/{shown}"
                    if name not in metrics:
                        continue
                    height = row + 0.17 * (place - (len(groups) - 1) / 2)
                    ends = [factor * metrics[name + end] for end in ("_low", "_high")]
                    panel.plot(ends, [height] * 2, color=color, lw=1.8)
                    panel.plot(factor * metrics[name], height, marker, color=color, ms=5, mec="white", mew=0.6)
            panel.set_title(FIGURES[shown][1] + (" (%)" if shown in SHARES else ""))
            panel.set_xlim(left=0)
            for row in range(1, len(objectives)):
                panel.axhline(row - 0.5, color=FAINT, lw=0.5)
        panels[0].set_yticks(range(len(objectives)), [OBJECTIVES[name] for name in objectives])
        panels[0].tick_params(axis="y", labelcolor=INK, length=0)
        panels[0].set_ylim(len(objectives) - 0.5, -0.5)
        for place, (dim, scale) in enumerate(groups):
            marker = "o" if scale == "fixed" else "s"
            label = f"d = {dim}, {SCALES[scale]}"
            panels[0].plot([], [], marker, color=SERIES[place % len(SERIES)], label=label)
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper right", ncols=len(groups))
        note = "Half B of Noto, a style withheld from training; one seed. Lines: 95 % intervals over pictures."
        figure.supxlabel(note, x=0.012, ha="left", fontsize=8.5, color=MUTED)
        return save_png(figure, path)


if __name__ == "__main__":
    main()
