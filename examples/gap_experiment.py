# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Ask whether the contrastive loss itself makes or keeps a gap: two encoders of one modality on identical pictures.

    python examples/gap_experiment.py
    python examples/gap_experiment.py --steps 20 --seeds 0 1 --temperatures 0.07        # tries the script in seconds

Both encoders are perceptrons and see the same few emoji, so no pair is mismatched and nothing tells the modalities
apart but the weights. They are trained to overfit them, from four starts:

    equal      the same weights: gap 0. A symmetric loss then gives both the same gradient, whatever else it does.
    zero_gap   different weights, the second encoder moved until the centers coincide: gap 0 without that symmetry.
    unequal    different weights as they come.
    offset     the same weights, the centers moved apart to a gap of --offset_gap.

An encoder is moved by the bias of its last layer, which is trained on like any other weight. The seed decides
pictures, weights and batches. All figures are measured on all pictures; the loss is the contrastive part alone.
OUTPUT_DIR holds gap_experiment.json (all curves), metrics.json (first and last value of every figure of each cell:
means over the seeds, with 95 % t-intervals from two seeds on) and gap_experiment.png.

Source: Fahim, Murphy, Fyshe 2024 (arXiv 2405.18570), "It's Not a Modality Gap"; perceptrons and emoji are ours.
"""

import itertools
import json
import time
from dataclasses import dataclass, field
from pathlib import Path

from command_line import UserError, parse_arguments, user_errors

STARTS = ("equal", "zero_gap", "unequal", "offset")
# What is added to the contrastive loss, each with the weight 1.
OBJECTIVES = {
    "clip": (),
    "clip_alignment": ("alignment",),
    "clip_uniformity": ("uniformity",),
    "clip_cross_uniformity": ("cross_modal_uniformity",),
    "cua": ("uniformity", "alignment"),
    "cuaxu": ("uniformity", "alignment", "cross_modal_uniformity"),
}
LEARNED = "learned"
FIGURES = ("gap", "loss", "accuracy", "separability", "current_temperature")
CELL = ("start", "temperature", "objective")


@dataclass
class GapArguments:
    """Flags of gap_experiment.py."""

    output_dir: str = field(default="runs/gap_experiment", metadata={"help": "folder of the results"})
    steps: int = field(default=600, metadata={"help": "optimizer steps"})
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2, 3, 4], metadata={"help": "seeds; 2 give an interval"})
    temperatures: list[str] = field(
        default_factory=lambda: ["0.01", "0.07", "0.5", LEARNED],
        metadata={"help": "fixed temperatures, or learned: from 0.07, at least 0.01"},
    )
    starts: list[str] = field(default_factory=lambda: list(STARTS), metadata={"help": f"of {', '.join(STARTS)}"})
    objectives: list[str] = field(
        default_factory=lambda: ["clip", "cua", "cuaxu"], metadata={"help": f"of {', '.join(OBJECTIVES)}"}
    )
    offset_gap: float = field(default=1.5, metadata={"help": "gap of the start offset, below 2"})
    projection_dim: int = field(default=32, metadata={"help": "width of the embeddings"})
    hidden_dim: int = field(default=128, metadata={"help": "width of the two hidden layers"})
    num_images: int = field(default=500, metadata={"help": "pictures"})
    family: str = field(default="twemoji", metadata={"help": "family of the pictures"})
    image_size: int = field(default=32, metadata={"help": "side of the pictures in pixels"})
    batch_size: int = field(default=128, metadata={"help": "pictures in a batch"})
    learning_rate: float = field(default=1e-3, metadata={"help": "Adam's rate, which falls to 0 linearly"})
    processes: int = field(default=2, metadata={"help": "runs at a time, a core each"})


def main() -> None:
    args = parse_arguments(GapArguments, __doc__.split("\n\n")[0])
    try:
        experiment(args)
    except UserError as error:
        raise SystemExit(f"gap_experiment.py: {error}") from None


def experiment(args: GapArguments) -> dict:
    """Train every cell under every seed and write all results; returns what `metrics.json` holds."""
    from gap_experiment_plot import plot_gaps

    from hf_cloob.training.run_log import write_metrics

    check_arguments(args)
    output_dir = Path(args.output_dir)
    output_dir.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    with user_errors():
        runs = train_all(args, load_pixels(args.family, args.image_size, args.num_images))
    (output_dir / "gap_experiment.json").write_text(json.dumps(runs) + "\n", encoding="utf-8")
    metrics = summarize(runs)
    print(table(metrics, args))
    metrics |= {name: getattr(args, name) for name in ("steps", "num_images", "projection_dim", "offset_gap")}
    metrics |= {"num_seeds": len(args.seeds), "seconds": time.perf_counter() - began}
    write_metrics(output_dir / "metrics.json", metrics)
    print(f"{metrics['seconds']:.0f} s, {plot_gaps(runs, output_dir / 'gap_experiment.png')}")
    return metrics


def check_arguments(args: GapArguments) -> None:
    """Refuse values that could only fail later."""
    for name, known in (("starts", STARTS), ("objectives", OBJECTIVES)):
        unknown = [value for value in getattr(args, name) if value not in known]
        if unknown:
            raise UserError(f"{name} must be some of {', '.join(known)}, got {', '.join(unknown)}")
    for value in args.temperatures:
        if value != LEARNED and not (value.replace(".", "", 1).isdecimal() and 0.001 <= float(value) <= 10):
            raise UserError(f"temperatures must be numbers from 0.001 to 10 or {LEARNED!r}, got {value}")
    for name in ("seeds", "temperatures", "starts", "objectives"):
        values = getattr(args, name)
        if not values or len(set(values)) != len(values):
            raise UserError(f"{name} must be different values, at least one, got {values}")
    # The probe of the separability needs both modalities in each part of its split.
    for name, least in (("steps", 1), ("num_images", 5), ("projection_dim", 2), ("hidden_dim", 1), ("processes", 1)):
        if getattr(args, name) < least:
            raise UserError(f"{name} must be at least {least}, got {getattr(args, name)}")
    if not 2 <= args.batch_size <= args.num_images:
        raise UserError(f"batch_size must be from 2 to num_images = {args.num_images}, got {args.batch_size}")
    if not 0 <= args.offset_gap < 2:
        raise UserError(f"offset_gap must be at least 0 and below 2, got {args.offset_gap}")


def load_pixels(family: str, image_size: int, num_images: int):
    """A family's drawings, equal ones once: (num_drawings, 3 * image_size^2), at least `num_images`, in [0, 1]."""
    import numpy as np
    import torch

    from hf_cloob.data.emoji import load_emoji

    train = load_emoji()["train"]
    families = train["family"]
    if family not in families:
        raise ValueError(f"family must be one of {', '.join(sorted(set(families)))}, got {family}")
    images = train.select([row for row, name in enumerate(families) if name == family])["image"]
    # Nothing could tell equal drawings apart, and the best accuracy would be below 1.
    pixels = np.unique(
        [np.asarray(image.convert("RGB").resize((image_size,) * 2)).ravel() for image in images], axis=0
    )
    if len(pixels) < num_images:
        raise ValueError(f"num_images must be at most {len(pixels)}, all of {family}'s, got {num_images}")
    return torch.from_numpy(pixels).float() / 255


def train_all(args: GapArguments, pixels) -> list[dict]:
    """`gap_experiment_training.train` for every cell and seed, `args.processes` at a time."""
    from functools import partial

    from gap_experiment_training import Cell, train
    from torch.multiprocessing import get_context
    from tqdm.auto import tqdm

    cells = [
        Cell(*values) for values in itertools.product(args.starts, args.temperatures, args.objectives, args.seeds)
    ]
    run = partial(train, pixels=pixels, regularizers=OBJECTIVES, args=args)
    if args.processes == 1:
        return [run(cell) for cell in tqdm(cells, unit="run")]
    # A forked process would inherit torch's threads in an unknown state.
    with get_context("spawn").Pool(args.processes) as pool:
        return list(tqdm(pool.imap(run, cells, chunksize=4), total=len(cells), unit="run"))


def summarize(runs: list[dict]) -> dict[str, float]:
    """Flat figures: START/TEMPERATURE/OBJECTIVE/FIGURE_first and _last, with _low and _high from two seeds on."""
    from hf_cloob.evaluation.statistics import mean_interval

    cells = {}
    for run in runs:
        cells.setdefault("/".join(run[name] for name in CELL), []).append(run)
    metrics = {}
    for cell, seeds in cells.items():
        for figure, (end, place) in itertools.product(FIGURES, (("first", 0), ("last", -1))):
            values = [run[figure][place] for run in seeds]
            name = f"{cell}/{figure}_{end}"
            metrics[name] = sum(values) / len(values)
            if len(values) > 1:
                interval = mean_interval(values)
                metrics |= {f"{name}_low": interval["low"], f"{name}_high": interval["high"]}
    return metrics


def table(metrics: dict, args: GapArguments) -> str:
    """One line a cell: the gap at the start and, with half its interval's width, at the end, and what came of it."""
    heads = ("first gap", "last gap", "separable", "loss", "top-1")
    lines = [f"{'start':9} {'tau':8} {'objective':22} {'{:>10} {:>13} {:>10} {:>9} {:>7}'.format(*heads)}"]
    for names in itertools.product(args.starts, args.temperatures, args.objectives):
        cell = "/".join(names)
        at = {figure: metrics[f"{cell}/{figure}_last"] for figure in FIGURES}
        high = metrics.get(f"{cell}/gap_last_high")
        reach = "" if high is None else f"±{high - at['gap']:.3f}"
        lines.append(
            f"{names[0]:9} {names[1]:8} {names[2]:22} {metrics[f'{cell}/gap_first']:10.3f} {at['gap']:6.3f} {reach:6} "
            f"{at['separability']:10.3f} {at['loss']:9.4f} {at['accuracy']:7.3f}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
