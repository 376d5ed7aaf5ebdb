# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What reco_study.py found over its seeds: study.json, metrics.json, table.md, timing.json and the plot."""

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from reco_study_plot import plot_study
from reco_study_tasks import NOTO

from hf_cloob.evaluation.statistics import mean_and_std, mean_interval, paired_difference

CONDITIONS = ("in_memory", "removed")
# The control that the selection half prefers, for each style and seed its own.
BEST = "best_control"
# From which training starts.
READOUT = "hopfield_both"
COMPARED = (
    ("reco", BEST),
    ("whitened_readout", BEST),
    ("reco", "class_name_lookup"),
    ("reco", READOUT),
    ("reco", "base"),
    ("reco_from_zero", BEST),
    (BEST, "base"),
)
BY_SEED = dict[str, dict[int, float]]


def write_report(results: list[dict], args, output_dir: Path) -> dict:
    """Summarize all tasks and write every file; returns what `metrics.json` holds.

    Args:
        results: of the tasks, as `run_task` returns them, with their `settings`.
        args: the command's.
        output_dir: folder of the files.
    """
    groups = figures_by_group(results)
    effects = effects_by_seed(results)
    summary = {
        "figures": {
            group: {method: summarized(by_seed.values()) for method, by_seed in methods.items()}
            for group, methods in groups.items()
        },
        "differences": {
            group: {f"{ours}_minus_{theirs}": difference(methods, ours, theirs) for ours, theirs in COMPARED}
            for group, methods in groups.items()
        },
        "effects": {
            effect: {
                value: {method: summarized(by_seed.values()) for method, by_seed in methods.items()}
                for value, methods in values.items()
            }
            for effect, values in effects.items()
        },
        "readout_share_of_trained_gain": {
            group: readout_share(methods) for group, methods in groups.items() if group.endswith("in_memory")
        },
        "best_controls": {f"{task_name(result)}": result["best_control"] for result in results},
    }
    metrics = flat_metrics(summary, results)
    timing = {
        f"{task_name(result)}/entries={entries}/batch_ms": costs["batch_ms"]
        for result in results
        for entries, costs in result["costs"].items()
    }
    write_json(output_dir / "study.json", {"arguments": asdict(args), "summary": summary, "tasks": results})
    write_json(output_dir / "metrics.json", metrics)
    # Apart from metrics.json, which two runs of one command must write alike.
    write_json(output_dir / "timing.json", timing)
    table = table_markdown(summary, results, args)
    (output_dir / "table.md").write_text(table, encoding="utf-8")
    plot_study(groups, effects, output_dir / "study.png")
    print(table)
    print(f"The results are in {output_dir}")
    return metrics


def task_name(result: dict) -> str:
    """Style and seed."""
    return f"{result['settings']['style']}/seed={result['settings']['seed']}"


def figures_by_group(results: list[dict]) -> dict[str, BY_SEED]:
    """Group -> method -> seed -> accuracy; a group is some queries in one condition of the memory.

    "flags" is the mean over the styles, "noto" all its groups pooled.
    """
    groups: dict[str, BY_SEED] = {}
    for condition in CONDITIONS:
        flags = [result for result in results if result["settings"]["style"] != NOTO]
        if flags:
            groups[f"flags/{condition}"] = mean_over_styles([accuracies(result, condition, "all") for result in flags])
        for style in dict.fromkeys(result["settings"]["style"] for result in results):
            of_style = [result for result in results if result["settings"]["style"] == style]
            parts = of_style[0]["methods"]["base"][condition]
            for part in parts:
                name = f"{style}/{condition}" if part == "all" else f"{style}/{part}/{condition}"
                groups[name] = mean_over_styles([accuracies(result, condition, part) for result in of_style])
    return groups


def accuracies(result: dict, condition: str, part: str) -> tuple[int, dict[str, float]]:
    """Seed, and method -> accuracy of one task, with the control that the selection half chose under its own name."""
    found = {method: figures[condition][part] for method, figures in result["methods"].items()}
    return result["settings"]["seed"], found | {BEST: found[result["best_control"]]}


def mean_over_styles(tasks: list[tuple[int, dict[str, float]]]) -> BY_SEED:
    """Method -> seed -> mean over the tasks of that seed."""
    by_seed: BY_SEED = {}
    for seed in dict.fromkeys(seed for seed, _ in tasks):
        of_seed = [figures for number, figures in tasks if number == seed]
        for method in of_seed[0]:
            by_seed.setdefault(method, {})[seed] = sum(figures[method] for figures in of_seed) / len(of_seed)
    return by_seed


def effects_by_seed(results: list[dict]) -> dict[str, dict[str, BY_SEED]]:
    """Effect -> value -> method -> seed -> mean accuracy over the styles of flags.

    Memories of one study differ a little in size, by the flags that a style lacks; all are "all".
    """
    tasks: dict[str, dict[str, list]] = {}
    for result in results:
        for effect, values in result["effects"].items():
            for value, figures in values.items():
                name = "all" if value == str(result["memory_entries"]) else value
                tasks.setdefault(effect, {}).setdefault(name, []).append((result["settings"]["seed"], figures))
    return {
        effect: {value: mean_over_styles(found) for value, found in values.items()} for effect, values in tasks.items()
    }


def summarized(values: Iterable[float]) -> dict:
    """Mean and, over several seeds, its 95 % interval."""
    values = list(values)
    return mean_interval(values) if len(values) > 1 else mean_and_std(values)


def difference(methods: BY_SEED, ours: str, theirs: str) -> dict:
    """The paired difference of two methods over the seeds."""
    ours, theirs = list(methods[ours].values()), list(methods[theirs].values())
    if len(ours) > 1:
        return paired_difference(ours, theirs)
    return mean_and_std([ours[0] - theirs[0]])


def readout_share(methods: BY_SEED) -> float | None:
    """(readout - base) / (reco - base) of the means, the readout that training started from; None without a gain.

    Above 1 the readout is better than what training made of it.
    """
    means = {name: sum(methods[name].values()) / len(methods[name]) for name in ("base", READOUT, "reco")}
    gain = means["reco"] - means["base"]
    return (means[READOUT] - means["base"]) / gain if gain > 0 else None


def flat_metrics(summary: dict, results: list[dict]) -> dict[str, float | int | None]:
    """Everything under one flat name each."""
    flat = {}
    for kind in ("figures", "differences", "effects"):
        for group, entries in summary[kind].items():
            for name, statistics in entries.items():
                nested = statistics if kind == "effects" else {None: statistics}
                for method, numbers in nested.items():
                    prefix = f"{group}={name}/{method}" if kind == "effects" else f"{group}/{name}"
                    for statistic in ("mean", "std", "low", "high", "p_value"):
                        if statistic in numbers:
                            flat[f"{prefix}_{statistic}"] = numbers[statistic]
    for group, share in summary["readout_share_of_trained_gain"].items():
        flat[f"{group}/readout_share_of_trained_gain"] = share
    flat |= {"tasks": len(results), "seeds": len({result["settings"]["seed"] for result in results})}
    for entries, costs in results[0]["costs"].items():
        flat[f"entries={entries}/bytes_on_disk"] = costs["bytes_on_disk"]
    return flat


def table_markdown(summary: dict, results: list[dict], args) -> str:
    """The study as Markdown."""
    seeds = ", ".join(str(seed) for seed in args.seeds)
    lines = ["# RECO and its controls", ""]
    lines += ["Top-1 accuracy on the test half in percent, mean over the seeds and its 95 % t-interval.", ""]
    lines += [f"Seeds {seeds}; {results[0]['memory_entries']:,} entries; {args.steps} steps of {args.batch_size}.", ""]
    wide = [group for group in summary["figures"] if group.startswith(("flags/", "noto/in", "noto/rem"))]
    lines += figures_table(summary["figures"], wide)
    lines += ["", "## By style, entities in the memory", ""]
    narrow = [group for group in summary["figures"] if group.endswith("/in_memory") and group not in wide]
    lines += figures_table(summary["figures"], narrow)
    lines += [
        "",
        "## Differences",
        "",
        "Paired by seed, in points. Nothing is adjusted for the number of comparisons.",
    ]
    lines += ["", "| queries | " + " | ".join(summary["differences"][wide[0]]) + " |"]
    lines += ["|---|" + "---:|" * len(COMPARED)]
    for group, entries in summary["differences"].items():
        lines += [f"| {group} | " + " | ".join(percent(entry, sign="+") for entry in entries.values()) + " |"]
    lines += ["", "## Share of the trained gain over the base that the untrained readout reaches", ""]
    lines += [
        f"- {group}: {'no gain' if share is None else format(share, '.0%')}"
        for group, share in summary["readout_share_of_trained_gain"].items()
    ]
    for effect, values in summary["effects"].items():
        methods = list(next(iter(values.values())))
        lines += ["", f"## Effect of {effect} (flags)", "", f"| {effect} | " + " | ".join(methods) + " |"]
        lines += ["|---|" + "---:|" * len(methods)]
        lines += [
            f"| {value} | " + " | ".join(percent(figures[method]) for method in methods) + " |"
            for value, figures in values.items()
        ]
    lines += ["", "## What a query costs", "", "| entries | MB on disk | ms a batch | images a batch |"]
    lines += ["|---:|---:|---:|---:|"]
    for entries, costs in results[0]["costs"].items():
        size, batch = f"{costs['bytes_on_disk'] / 1e6:.1f}", f"{costs['batch_ms']:.1f}"
        lines += [f"| {int(entries):,} | {size} | {batch} | {costs['queries_a_batch']} |"]
    lines += ["", "## The best control of each task, by its selection half", ""]
    chosen = list(summary["best_controls"].values())
    lines += [f"- {name}: {chosen.count(name)} of {len(chosen)} tasks" for name in dict.fromkeys(chosen)]
    return "\n".join(lines) + "\n"


def figures_table(figures: dict, groups: list[str]) -> list[str]:
    """Methods by groups."""
    if not groups:
        return []
    lines = ["| method | " + " | ".join(groups) + " |", "|---|" + "---:|" * len(groups)]
    for method in figures[groups[0]]:
        lines += [f"| {method} | " + " | ".join(percent(figures[group][method]) for group in groups) + " |"]
    return lines


def percent(statistics: dict, sign: str = "") -> str:
    """Mean and interval in percent."""
    cell = f"{100 * statistics['mean']:{sign}.1f}"
    if "low" in statistics:
        cell += f" [{100 * statistics['low']:{sign}.1f}, {100 * statistics['high']:{sign}.1f}]"
    return cell


def write_json(path: Path, content: dict) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
