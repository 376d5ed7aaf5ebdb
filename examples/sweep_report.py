# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What a sweep found, read from its folders: sweep.json, metrics.json, table.md and the plots."""

import json
import math
import re
from pathlib import Path
from typing import Any

from sweep_plan import SweepPlan, SweepRun, finished_metrics
from sweep_suites import suite_metrics

PERCENT = re.compile(r"top\d+|recall@|accuracy")
# More panels would not fit on a page.
PLOTTED_METRICS = 4


def collect_report(plan: SweepPlan) -> dict[str, Any]:
    """Read every run's figures and summarize them over seeds.

    Returns:
        `seeds`, `baseline`, `metrics` (those of the table), `may_differ` and `settings`: for each its recipe,
        overrides, `runs` (by seed: status, metrics, seconds), `summary` (by metric: n, mean, std, low, high) and
        `difference` to the baseline over the seeds that both have finished (by metric: the same and p_value).
    """
    from hf_cloob.evaluation.statistics import mean_and_std, mean_interval, paired_difference

    settings = {
        name: {"recipe": entry["recipe"].as_posix(), "overrides": entry["overrides"], "runs": {}}
        for name, entry in plan.settings.items()
    }
    for run in plan.runs:
        settings[run.setting]["runs"][str(run.seed)] = _run_record(run, plan.suites)
    figures = {
        name: {seed: run["metrics"] for seed, run in setting["runs"].items() if run["status"] == "finished"}
        for name, setting in settings.items()
    }
    for name, setting in settings.items():
        setting["summary"], setting["difference"] = {}, {}
        for metric in _measured([figures[name]]):
            values = list(by_seed(figures[name], metric).values())
            if not values:
                continue
            setting["summary"][metric] = mean_interval(values) if len(values) > 1 else mean_and_std(values)
            ours, theirs = by_seed(figures[name], metric), by_seed(figures[plan.baseline], metric)
            seeds = [seed for seed in ours if seed in theirs]
            if name != plan.baseline and len(seeds) > 1:
                pairs = [ours[seed] for seed in seeds], [theirs[seed] for seed in seeds]
                setting["difference"][metric] = paired_difference(*pairs)
    return {
        "seeds": list(plan.seeds),
        "baseline": plan.baseline,
        "metrics": _table_metrics(plan, _measured(figures.values())),
        "may_differ": list(plan.may_differ),
        "settings": settings,
    }


def by_seed(runs: dict[str, dict[str, Any]], metric: str) -> dict[str, float]:
    """One metric of the runs that have it as a finite number."""
    values = {seed: metrics.get(metric) for seed, metrics in runs.items()}
    return {seed: value for seed, value in values.items() if isinstance(value, int | float) and math.isfinite(value)}


def read_attempts(folder: Path) -> list[dict[str, Any]]:
    """Seconds and exit code of every time that a sweep started this run."""
    try:
        return json.loads((folder / "attempts.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []


def write_report(plan: SweepPlan, report: dict[str, Any]) -> None:
    """Write sweep.json, the flat metrics.json and table.md into the sweep's folder."""
    flat = {
        f"{name}/{metric}_{part}{statistic}": value
        for name, setting in report["settings"].items()
        for part, figures in (("", setting["summary"]), ("difference_", setting["difference"]))
        for metric, statistics in figures.items()
        for statistic, value in statistics.items()
    }
    _write(plan.output_dir / "sweep.json", json.dumps(report, indent=1) + "\n")
    _write(plan.output_dir / "metrics.json", json.dumps(flat, indent=2, sort_keys=True) + "\n")
    _write(plan.output_dir / "table.md", table_markdown(plan.name, report))


def table_markdown(name: str, report: dict[str, Any]) -> str:
    """The report as Markdown: mean ± std, paired differences with their intervals, and every run that is missing."""
    metrics, baseline, settings = report["metrics"], report["baseline"], report["settings"]
    seeds = ", ".join(str(seed) for seed in report["seeds"])
    lines = [f"# {name}", "", f"Mean ± standard deviation (n − 1) over the seeds {seeds}.", ""]
    if report["may_differ"]:
        lines[-1:] = [f"On purpose the settings differ in {', '.join(report['may_differ'])}.", ""]
    titles = [f"{metric} (%)" if PERCENT.search(metric) else metric for metric in metrics]
    lines += _markdown_row(["setting", "runs", *titles, "pairs seen", "seconds a run"])
    lines += _markdown_row(["---", *["---:"] * (len(metrics) + 3)])
    for setting_name, setting in settings.items():
        finished = [run for run in setting["runs"].values() if run["status"] == "finished"]
        row = [setting_name, f"{len(finished)} of {len(setting['runs'])}"]
        row += [_mean_cell(setting["summary"].get(metric), metric) for metric in metrics]
        pairs = sorted({run["metrics"]["pairs_seen"] for run in finished if "pairs_seen" in run["metrics"]})
        seconds = [run["seconds"] for run in finished if run["seconds"] is not None]
        row += [" / ".join(f"{count:,}" for count in pairs) or "–"]
        row += [f"{sum(seconds) / len(seconds):.0f} ({min(seconds):.0f}–{max(seconds):.0f})" if seconds else "–"]
        lines += _markdown_row(row)
    if len(settings) > 1:
        lines += ["", f"Difference to {baseline}, paired by seed, with its 95 % t-interval (p of the paired t-test)."]
        lines += ["Bold: the interval leaves out 0. Nothing is adjusted for the number of comparisons.", ""]
        lines += _markdown_row(["setting", "pairs", *titles])
        lines += _markdown_row(["---", *["---:"] * (len(metrics) + 1)])
        for setting_name, setting in settings.items():
            if setting_name != baseline:
                differences = [setting["difference"].get(metric) for metric in metrics]
                counts = sorted({difference["n"] for difference in differences if difference})
                cells = [_difference_cell(*pair) for pair in zip(differences, metrics, strict=True)]
                lines += _markdown_row([setting_name, " / ".join(map(str, counts)) or "–", *cells])
    missing = [
        f"- {setting_name}/seed-{seed}: {run['status']}"
        for setting_name, setting in settings.items()
        for seed, run in setting["runs"].items()
        if run["status"] != "finished"
    ]
    missing += [
        f"- {setting_name}/seed-{seed}: {metric} is {run['metrics'].get(metric, 'not measured')}"
        for setting_name, setting in settings.items()
        for seed, run in setting["runs"].items()
        for metric in metrics
        if run["status"] == "finished" and not by_seed({seed: run["metrics"]}, metric)
    ]
    if missing:
        lines += ["", f"Missing above ({len(missing)}):", "", *missing]
    return "\n".join(lines) + "\n"


def print_report(plan: SweepPlan, report: dict[str, Any], problems: list[str]) -> None:
    """Print the table, what went wrong, and where everything is."""
    print(table_markdown(plan.name, report))
    if problems:
        print(f"{len(problems)} of {len(plan.runs)} runs did not come to an end now:")
        for problem in problems:
            print(f"  {problem}")
    print(f"The report is in {plan.output_dir}: table.md, sweep.json, metrics.json, sweep.png, curves.png")


def draw_report(plan: SweepPlan, report: dict[str, Any]) -> None:
    """Draw sweep.png (every seed, mean, interval, differences) and curves.png (the runs on one axis)."""
    from hf_cloob.evaluation.run_curves import run_curves
    from hf_cloob.evaluation.sweep_plot import sweep_plot

    figures = {
        metric: {
            name: by_seed({seed: run["metrics"] for seed, run in setting["runs"].items()}, metric)
            for name, setting in report["settings"].items()
        }
        for metric in report["metrics"][:PLOTTED_METRICS]
    }
    if figures:
        sweep_plot(figures, plan.baseline, plan.output_dir / "sweep.png", plan.name)
    logs = {name: [run.folder for run in plan.runs if run.setting == name] for name in plan.settings}
    logs = {name: [folder for folder in folders if _has_log(folder)] for name, folders in logs.items()}
    if any(logs.values()):
        run_curves({name: folders for name, folders in logs.items() if folders}, plan.output_dir / "curves.png")


def _run_record(run: SweepRun, suites: tuple[str, ...]) -> dict[str, Any]:
    metrics, attempts = finished_metrics(run), read_attempts(run.folder)
    if metrics is not None:
        status = "finished"
    elif not attempts:
        status = "not started"
    else:
        code = attempts[-1]["exit_code"]
        status = f"failed with exit code {code}" if code else "unfinished"
    seconds = round(sum(attempt["seconds"] for attempt in attempts), 1) if attempts else _own_seconds(run.folder)
    metrics = metrics | suite_metrics(run.folder, suites) if metrics else {}
    return {"status": status, "seconds": seconds, "metrics": metrics}


def _own_seconds(folder: Path) -> float | None:
    """The wall-clock that pretrain.py noted itself, for a run that no sweep has started."""
    try:
        return round(json.loads((folder / "timing.json").read_text(encoding="utf-8"))["train_seconds"], 1)
    except (OSError, ValueError, KeyError):
        return None


def _has_log(folder: Path) -> bool:
    path = folder / "train_log.jsonl"
    return path.is_file() and path.stat().st_size > 0


def _measured(figures) -> list[str]:
    """The metrics of some finished run that are measurements: floats, where counts and settings are whole numbers."""
    names = {name: None for runs in figures for metrics in runs.values() for name in sorted(metrics)}
    return [
        name
        for name in names
        if any(isinstance(metrics.get(name), float) for runs in figures for metrics in runs.values())
    ]


def _table_metrics(plan: SweepPlan, measured: list[str]) -> list[str]:
    """The sweep's own list; without one the main figures on test data, or everything that is measured."""
    if plan.metrics:
        return list(plan.metrics)
    main = [name for name in measured if name.startswith("test_") and name.endswith(("top1", "recall@1"))]
    return sorted(main, key=lambda name: not name.endswith("top1")) or measured


def _mean_cell(summary: dict | None, metric: str) -> str:
    if summary is None:
        return "–"
    spread = f" ± {_number(summary['std'], metric)}" if summary["std"] is not None else ""
    return _number(summary["mean"], metric) + spread


def _difference_cell(difference: dict | None, metric: str) -> str:
    if difference is None:
        return "–"
    mean, low, high = (_number(difference[part], metric, sign=True) for part in ("mean", "low", "high"))
    mean = f"**{mean}**" if difference["low"] > 0 or difference["high"] < 0 else mean
    return f"{mean} [{low}, {high}] (p {difference['p_value']:.2g})"


def _number(value: float, metric: str, sign: bool = False) -> str:
    plus = "+" if sign else ""
    return f"{100 * value:{plus}.2f}" if PERCENT.search(metric) else f"{value:{plus}.4g}"


def _markdown_row(cells: list[str]) -> list[str]:
    return [f"| {' | '.join(cells)} |"]


def _write(path: Path, text: str) -> None:
    aside = path.with_suffix(path.suffix + ".tmp")
    aside.write_text(text, encoding="utf-8")
    aside.replace(path)
