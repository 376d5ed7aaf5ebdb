# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What explaining_away.py found: figures with intervals, a table, and the picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from explaining_away_data import Questions

# The main figure of each measure; all others are in metrics.json.
MAIN = {
    "probe": "recall@5",
    "retrieval": "recall@5",
    "forced_choice": "accuracy",
    "alone": "recall@5",
}
TITLES = {
    "probe": "linear probe, recall@5",
    "retrieval": "retrieval by name, recall@5",
    "forced_choice": "true or changed caption",
    "alone": "retrieval, object alone, recall@5",
}
ROLES = ("most", "least", "least_minus_most")
RANKS = 4
SHOWN = 4


def summarize(values: Mapping[str, Mapping[str, Mapping]], baseline: str) -> dict[str, float]:
    """Flat figures of every setting, and of its difference to the baseline.

    Args:
        values: setting -> seed -> measure -> (num_images,) values, of the same pictures in the same order.
        baseline: a setting of them.

    Returns:
        `{setting}/{measure}` and `{setting}-{baseline}/{measure}`, means over seeds and pictures, with `_low` and
        `_high`, a bootstrap over pictures; of differences with two seeds or more also `_seeds_low` and `_seeds_high`,
        a paired t-interval over seeds; `{setting}/num_seeds`.
    """
    from hf_cloob.evaluation.explaining_away import mean_over_pictures
    from hf_cloob.evaluation.statistics import mean_interval

    metrics: dict[str, float] = {}
    for setting, seeds in values.items():
        found = mean_over_pictures(_mean_over_seeds(list(seeds.values())))
        metrics |= {f"{setting}/num_seeds": len(seeds)} | {f"{setting}/{name}": value for name, value in found.items()}
        shared = [seed for seed in seeds if seed in values[baseline]]
        if setting == baseline or not shared:
            continue
        pairs = [{name: own - values[baseline][seed][name] for name, own in seeds[seed].items()} for seed in shared]
        found = mean_over_pictures(_mean_over_seeds(pairs))
        if len(pairs) > 1:
            for name in pairs[0]:
                interval = mean_interval([float(pair[name].nanmean()) for pair in pairs])
                found |= {f"{name}_seeds_low": interval["low"], f"{name}_seeds_high": interval["high"]}
        metrics |= {f"{setting}-{baseline}/{name}": value for name, value in found.items()}
    return metrics


def table_markdown(metrics: Mapping[str, float], settings: Sequence[str], baseline: str) -> str:
    """The main figures of the most and the least salient object in percent, and the differences to the baseline."""
    heads = [f"{TITLES[measure]}: {role}" for measure in MAIN for role in ("most", "least")]
    lines = [f"| model | seeds | {' | '.join(heads)} |", f"|---|---|{'---|' * len(heads)}"]
    for setting in settings:
        cells = [f"{100 * metrics[f'{setting}/{_name(*pair)}']:.1f}" for pair in _pairs(("most", "least"))]
        lines.append(f"| {setting} | {metrics[f'{setting}/num_seeds']} | {' | '.join(cells)} |")
    lines += ["", f"| points against {baseline} | object | {' | '.join(TITLES.values())} |"]
    lines += [f"|---|---|{'---|' * len(MAIN)}"]
    for setting in settings:
        if f"{setting}-{baseline}/{_name('probe', 'least')}" in metrics:
            for role in ROLES:
                cells = [difference_cell(metrics, f"{setting}-{baseline}/{_name(measure, role)}") for measure in MAIN]
                lines.append(f"| {setting} | {role.replace('_', ' ')} | {' | '.join(cells)} |")
    return "\n".join(lines)


def difference_cell(metrics: Mapping[str, float], name: str) -> str:
    """ "+1.2 [+0.3, +2.1]" in points, bold where the interval leaves out 0."""
    mean, low, high = (100 * metrics[name + end] for end in ("", "_low", "_high"))
    shown = f"**{mean:+.1f}**" if low > 0 or high < 0 else f"{mean:+.1f}"
    return f"{shown} [{low:+.1f}, {high:+.1f}]"


def draw_report(
    metrics: Mapping[str, float], settings: Sequence[str], baseline: str, questions: Questions, path: Path
) -> Path:
    """Examples of the pictures, every rank's figures, and the differences to the baseline."""
    from hf_cloob.evaluation.plot_style import MUTED, SERIES, new_figure, plot_style, save_png

    colors = dict(zip(settings, SERIES, strict=False))
    with plot_style():
        figure = new_figure(12, 8.2)
        figure.set_layout_engine("constrained", w_pad=0.1, h_pad=0.1, hspace=0.06)
        figure.suptitle(
            "Explaining away: what is left of the least salient object?",
            x=0.012,
            ha="left",
            fontsize=13,
            weight="bold",
        )
        top, bottom = figure.subfigures(2, 1, height_ratios=(1, 1.9))
        _draw_examples(top.subplots(1, SHOWN), questions)
        panels = bottom.subplots(1, 3, width_ratios=(1, 1, 1.25))
        for panel, measure in zip(panels, ("probe", "retrieval"), strict=False):
            _draw_ranks(panel, metrics, colors, measure)
        panels[0].legend(loc="upper right")
        _draw_differences(panels[2], metrics, colors, baseline)
        figure.supxlabel(
            f"{metrics['num_pictures']:,} pictures of Noto, a style withheld from training. Lines: 95 % bootstrap "
            f"intervals over pictures, seeds averaged ({metrics[f'{baseline}/num_seeds']} of {baseline}).",
            x=0.012,
            ha="left",
            fontsize=8.5,
            color=MUTED,
        )
        return save_png(figure, path)


def _draw_examples(panels, questions: Questions) -> None:
    rows = [row for row, own in enumerate(questions.contained.tolist()) if own[-1] >= 0][:SHOWN]
    for panel, row in zip(panels, rows, strict=True):
        names = [questions.labels[number] for number in questions.contained[row].tolist()]
        panel.imshow(questions.images[row], interpolation="nearest")
        panel.set_xticks([])
        panel.set_yticks([])
        panel.spines[:].set_visible(True)
        panel.set_title(
            "\n".join(f"{rank}  {name}" for rank, name in enumerate(names, 1)), fontsize=8, weight="normal"
        )


def _draw_ranks(panel, metrics: Mapping[str, float], colors: Mapping[str, str], measure: str) -> None:
    for place, (setting, color) in enumerate(colors.items()):
        names = [f"{setting}/{_name(measure, f'rank_{rank}')}" for rank in range(1, RANKS + 1)]
        shift = 0.06 * (place - (len(colors) - 1) / 2)
        ranks = [rank + shift for rank in range(1, RANKS + 1)]
        panel.plot(ranks, [100 * metrics[name] for name in names], "o-", color=color, lw=1.6, ms=4.5, label=setting)
        for rank, name in zip(ranks, names, strict=True):
            panel.plot([rank] * 2, [100 * metrics[name + end] for end in ("_low", "_high")], color=color, lw=1.6)
    panel.set_title(f"{TITLES[measure]} (%)")
    panel.set_xticks(range(1, RANKS + 1), ["1: largest", "2", "3", "4: smallest"])
    panel.set_xlabel("salience rank")
    panel.set_ylim(bottom=0)


def _draw_differences(panel, metrics: Mapping[str, float], colors: Mapping[str, str], baseline: str) -> None:
    compared = [setting for setting in colors if f"{setting}-{baseline}/{_name('probe', 'least')}" in metrics]
    rows = [(measure, role) for measure in MAIN for role in ("most", "least")]
    for place, setting in enumerate(compared):
        for row, pair in enumerate(rows):
            name, height = f"{setting}-{baseline}/{_name(*pair)}", row + 0.18 * (place - (len(compared) - 1) / 2)
            panel.plot([100 * metrics[name + end] for end in ("_low", "_high")], [height] * 2, color=colors[setting])
            panel.plot(100 * metrics[name], height, "o", color=colors[setting], ms=4.5)
    panel.axvline(0, color="black", lw=0.8)
    panel.set_yticks(range(len(rows)), [f"{measure.replace('_', ' ')}: {role}" for measure, role in rows])
    panel.set_ylim(len(rows) - 0.5, -0.5)
    panel.set_title(f"Difference to {baseline} (points)")


def _mean_over_seeds(runs: Sequence[Mapping]) -> dict:
    return {name: sum(run[name] for run in runs) / len(runs) for name in runs[0]}


def _pairs(roles: Sequence[str]) -> list[tuple[str, str]]:
    return [(measure, role) for measure in MAIN for role in roles]


def _name(measure: str, role: str) -> str:
    return f"{measure}_{role}_{MAIN[measure]}"
