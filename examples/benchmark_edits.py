# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""How often one added picture with a name is enough to recognize a flag, and how long an edit of the memory takes.

    python examples/benchmark_edits.py runs/emoji_clip          # a base: the training-free readout; four minutes
    python examples/benchmark_edits.py runs/reco_flags          # a trained RECO; its own memory is left aside

The memory holds the icons that name nothing withheld and the emoji of the training families, no flag. For each of 100
flags (half "test", drawn unambiguously, not recognized before) its drawing in a query family is asked for among all
labels, "flag: Germany" ...: then one picture of the added family is embedded and added under another wording
("ensign flown by Germany"), the query is asked again, and the entry is removed. Codes of one flag count as right.

Beside it: the same flags with all pictures added at once, where they compete; and how many other flags are mistaken
for the only one that the memory knows. Removing must restore the logits bit for bit. For a base, weight and scale of
the readout are chosen on flags of half "selection", all added at once. Writes `metrics.json` and `edits.png`, four
flags before and after, into the output folder. Needs matplotlib.
"""

import itertools
import math
import statistics
from dataclasses import dataclass, field
from pathlib import Path

from benchmark_edits_data import EditData, load_data, load_model
from benchmark_edits_measures import add_embedded, edit_seconds, measure, recognized
from benchmark_edits_sheet import draw, examples
from command_line import UserError, parse_arguments, user_errors


@dataclass
class BenchmarkArguments:
    """Flags of benchmark_edits.py."""

    model_name_or_path: str = field(
        default="runs/emoji_clip", metadata={"help": "a dual encoder or a RECO checkpoint"}
    )
    output_dir: str = field(default="runs/benchmark_edits", metadata={"help": "folder of the results"})
    num_flags: int = field(default=100, metadata={"help": "flags to add, one by one and all at once"})
    query_families: list[str] = field(
        default_factory=lambda: ["twemoji", "openmoji", "circle-flags"],
        metadata={"help": "drawings that are asked for"},
    )
    added_family: str = field(default="flag", metadata={"help": "drawings that are added to the memory"})
    num_neighbors: int | None = field(
        default=None, metadata={"help": "neighbors of each query; the checkpoint's own number, or 10, without it"}
    )
    readout_weights: list[float] = field(
        default_factory=lambda: [0.5, 1.0, 2.0, 4.0], metadata={"help": "of a base's readout, to choose from"}
    )
    readout_scales: list[float] = field(
        default_factory=lambda: [10.0, 20.0, 50.0], metadata={"help": "its inverse temperatures, to choose from"}
    )
    threads: int = field(default=2, metadata={"help": "CPU threads"})
    icon_collections: list[str] = field(default_factory=list, metadata={"help": "only these collections of icons"})
    cache_dir: str = field(default="", metadata={"help": "drawings and embeddings; ~/.cache/hf_cloob without it"})
    seed: int = field(default=0, metadata={"help": "seed of flags and wordings"})


def main() -> None:
    args = parse_arguments(BenchmarkArguments, __doc__.split("\n\n")[0], positional="model_name_or_path")
    try:
        check(args)
        benchmark(args)
    except UserError as error:
        raise SystemExit(f"benchmark_edits.py: {error}") from None


def check(args: BenchmarkArguments) -> None:
    """Raise UserError for what cannot be measured."""
    if args.num_flags < 2:
        raise UserError(f"num_flags must be at least 2, got {args.num_flags}")
    if not args.query_families or args.added_family in args.query_families:
        raise UserError(
            f"query_families must be others than the added family {args.added_family!r}, got {args.query_families}"
        )
    if not args.readout_weights or not all(math.isfinite(weight) for weight in args.readout_weights):
        raise UserError(f"readout_weights must be finite numbers, got {args.readout_weights}")
    if not args.readout_scales or not all(0 < scale < math.inf for scale in args.readout_scales):
        raise UserError(f"readout_scales must be finite numbers above 0, got {args.readout_scales}")
    for name in ("threads", "num_neighbors"):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            raise UserError(f"{name} must be at least 1, got {getattr(args, name)}")


def benchmark(args: BenchmarkArguments) -> dict:
    """Measure every query family and write metrics.json and edits.png; returns what metrics.json holds."""
    import torch

    from hf_cloob.training.run_log import write_metrics

    torch.set_num_threads(args.threads)
    output_dir = Path(args.output_dir)
    output_dir.mkdir(parents=True, exist_ok=True)
    readout = args.readout_weights[0], args.readout_scales[0]
    model, processor, is_trained = load_model(args.model_name_or_path, args.num_neighbors, readout)
    with user_errors():
        data = load_data(args, model, processor)
    model.set_memory(data.memory)
    metrics: dict = {
        "is_trained": is_trained,
        "num_icons": data.num_icons,
        "num_emoji": len(data.memory) - data.num_icons,
        "num_labels": len(data.labels),
        "num_neighbors": model.config.num_neighbors,
        "added_family": args.added_family,
        "seed": args.seed,
    }
    if not is_trained:
        metrics |= choose_readout(args, model, data)
    every, shown = [], []
    for family in args.query_families:
        figures, edits = measure(args, model, processor, data, family)
        metrics |= {f"{name}_{family}": value for name, value in figures.items()}
        every += edits
        shown = shown or examples(edits)
    metrics |= edit_seconds(every)
    write_metrics(output_dir / "metrics.json", metrics)
    draw(model, processor, data, shown, output_dir / "edits.png")
    for line in report(args, metrics):
        print(line)
    return metrics


def choose_readout(args: BenchmarkArguments, model, data: EditData) -> dict[str, float]:
    """Set weight and scale of the readout to those that recognize most flags of half "selection"."""
    pairs = {family: data.candidates(family, args.added_family, "selection") for family in args.query_families}
    added = sorted({added for family in pairs.values() for _, added in family})
    ids = add_embedded(data, added)
    best = (-1.0, 0.0, 0.0)
    for weight, scale in itertools.product(args.readout_weights, args.readout_scales):
        set_readout(model, weight, scale)
        shares = [statistics.mean(recognized(model, data, rows)) for rows in pairs.values()]
        best = max(best, (statistics.mean(shares), weight, scale), key=lambda one: one[0])
    data.memory.remove(ids)
    share, weight, scale = best
    set_readout(model, weight, scale)
    return {"readout_weight": weight, "readout_scale": scale, "selection_recognized_share": share}


def set_readout(model, weight: float, scale: float) -> None:
    """Give both fusion layers this readout."""
    import torch

    with torch.no_grad():
        for fusion in (model.image_fusion, model.text_fusion):
            fusion.readout_weight.fill_(weight)
            fusion.readout_log_scale.fill_(math.log(scale))


def report(args: BenchmarkArguments, metrics: dict) -> list[str]:
    """The figures as a table."""
    columns = {
        "recognized_before": "before",
        "num_flags": "flags",
        "recognized": "one added",
        "mistaken": "mistaken",
        "recognized_at_once": "all added",
        "restored": "restored",
    }
    readout = (
        f"readout: weight {metrics['readout_weight']:g}, scale {metrics['readout_scale']:g}"
        if "readout_weight" in metrics
        else "trained fusion layers"
    )
    lines = [
        "",
        f"{metrics['num_icons']:,} icons and {metrics['num_emoji']:,} emoji; {metrics['num_labels']} labels; "
        f"{metrics['num_neighbors']} neighbors; {readout}",
        f"{'recognized':16}" + "".join(f"{title:>14}" for title in columns.values()),
    ]
    for family in args.query_families:
        cells = [f"{metrics[f'{name}_{family}']}" for name in columns]
        cells[0] += f" of {metrics[f'num_candidates_{family}']}"
        lines.append(f"{family:16}" + "".join(f"{cell:>14}" for cell in cells))
    times = (
        f"{name} {metrics[f'{name}_seconds']:.3f} (at most {metrics[f'{name}_seconds_max']:.3f})"
        for name in ("add", "remove")
    )
    lines.append(f"seconds of an edit: {', '.join(times)}")
    return lines


if __name__ == "__main__":
    main()
