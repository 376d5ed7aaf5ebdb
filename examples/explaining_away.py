# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Measure explaining away: how well is the least salient object of a picture decoded and retrieved?

    python examples/sweep.py examples/sweeps/explaining_away.yaml
    python examples/explaining_away.py runs/sweeps/explaining_away --output_dir runs/explaining_away

The pictures hold two to four emoji whose ink and contrast fall from rank to rank, the captions name all of them in
random order (`hf_cloob.data.emoji_compositions`). For every model of the sweep and every rank: a linear probe of the
frozen image embedding, retrieval of the object's name, and the true caption against one with this name exchanged. The
most salient object is the control for quality in general, the object alone in its place for what can be seen at all.
Each model is compared with the baseline picture by picture: values are averaged over the seeds both have, the interval
is a paired bootstrap over pictures; a paired t-interval over seeds stands beside it (`…_seeds_low`, `…_seeds_high`).
OUTPUT_DIR holds metrics.json, table.md and explaining_away.png; the values of every picture stay in each model's
folder, explaining_away.safetensors, so that a model is measured once.
"""

from dataclasses import dataclass, field
from pathlib import Path

from command_line import UserError, parse_arguments, user_errors


@dataclass
class ExplainingAwayArguments:
    """Flags of explaining_away.py."""

    sweep_dir: str = field(
        default="runs/sweeps/explaining_away", metadata={"help": "folder of a sweep: SETTING/seed-S are models"}
    )
    output_dir: str = field(default="runs/explaining_away", metadata={"help": "folder of the results"})
    baseline: str = field(default="clip", metadata={"help": "the setting that others are compared with"})


def main() -> None:
    args = parse_arguments(ExplainingAwayArguments, __doc__.split("\n\n")[0], positional="sweep_dir")
    try:
        explain(args)
    except UserError as error:
        raise SystemExit(f"explaining_away.py: {error}") from None


def explain(args: ExplainingAwayArguments) -> dict:
    """Measure every model, compare, and write all results; returns what `metrics.json` holds."""
    runs = find_runs(Path(args.sweep_dir), args.baseline)
    from explaining_away_data import load_questions, measured_values
    from explaining_away_report import draw_report, summarize, table_markdown
    from tqdm.auto import tqdm

    from hf_cloob.training.run_log import write_metrics

    with user_errors():
        questions = load_questions()
        folders = [(setting, seed, folder) for setting, seeds in runs.items() for seed, folder in seeds.items()]
        values: dict[str, dict[str, dict]] = {}
        for setting, seed, folder in tqdm(folders, desc="Measuring", unit="model"):
            values.setdefault(setting, {})[seed] = measured_values(folder, questions)
        metrics = summarize(values, args.baseline) | {"num_pictures": len(questions.images)}
    output_dir = Path(args.output_dir)
    output_dir.mkdir(parents=True, exist_ok=True)
    write_metrics(output_dir / "metrics.json", metrics)
    table = table_markdown(metrics, list(values), args.baseline)
    (output_dir / "table.md").write_text(table + "\n", encoding="utf-8")
    print(table)
    with user_errors():
        print(draw_report(metrics, list(values), args.baseline, questions, output_dir / "explaining_away.png"))
    return metrics


def find_runs(sweep_dir: Path, baseline: str) -> dict[str, dict[str, Path]]:
    """Setting -> seed -> folder, of the finished models of a sweep, the baseline first."""
    runs: dict[str, dict[str, Path]] = {}
    for path in sorted(sweep_dir.glob("*/seed-*/metrics.json")):
        if (path.parent / "model.safetensors").is_file():
            runs.setdefault(path.parent.parent.name, {})[path.parent.name] = path.parent
    if baseline not in runs:
        there = ", ".join(runs) or "no finished model"
        raise UserError(f"baseline {baseline!r} must be a setting of {sweep_dir}, which holds {there}")
    return {baseline: runs.pop(baseline), **runs}


if __name__ == "__main__":
    main()
