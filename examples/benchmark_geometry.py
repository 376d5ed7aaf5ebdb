# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Measure the time and the memory that the geometry report takes on many pairs, and check its figures on few.

    python examples/benchmark_geometry.py
    python examples/benchmark_geometry.py --num_pairs 1000        # tries the script in seconds

Embeddings are random, two modalities with a gap. The report is the whole: figures with intervals before and after
centering, views and shift curve. The peak is of the whole process: Python, torch and the embeddings included. Writes
`metrics.json` into the output folder.
"""

import math
import time
from dataclasses import dataclass, field
from pathlib import Path

from command_line import UserError, parse_arguments

# Rows made at a time: random numbers for all at once would take more memory than what is measured.
AT_ONCE = 4096
# A modality's share of noise, and the length of half the gap.
NOISE, HALF_GAP = 0.5, 0.3
SLICE_PAIRS = 100
CHECKED = (
    "alignment",
    "mismatched_cosine",
    "image_uniformity",
    "text_uniformity",
    "cross_modal_uniformity",
    "relative_modality_gap",
)


@dataclass
class BenchmarkArguments:
    """Flags of benchmark_geometry.py."""

    output_dir: str = field(default="runs/benchmark_geometry", metadata={"help": "folder of metrics.json"})
    num_pairs: int = field(default=50_000, metadata={"help": "pairs that are measured"})
    num_calibration_pairs: int = field(default=10_000, metadata={"help": "pairs that the centers are fitted to"})
    projection_dim: int = field(default=512, metadata={"help": "width of the embeddings"})
    seed: int = field(default=0, metadata={"help": "seed of the embeddings"})


def main() -> None:
    args = parse_arguments(BenchmarkArguments, __doc__.split("\n\n")[0])
    try:
        benchmark(args)
    except UserError as error:
        raise SystemExit(f"benchmark_geometry.py: {error}") from None


def benchmark(args: BenchmarkArguments) -> dict:
    """Measure measure_geometry and write metrics.json; returns what it holds."""
    for name, least in (("num_pairs", SLICE_PAIRS), ("num_calibration_pairs", 1), ("projection_dim", 4)):
        if getattr(args, name) < least:
            raise UserError(f"{name} must be at least {least}, got {getattr(args, name)}")
    import torch
    from benchmark_recall import peak_resident_gib

    from hf_cloob.evaluation.geometry_metrics import geometry_metrics
    from hf_cloob.evaluation.geometry_report import measure_geometry
    from hf_cloob.training.run_log import write_metrics

    pairs = build_pairs(args.num_pairs, args.projection_dim, args.seed)
    calibration = build_pairs(args.num_calibration_pairs, args.projection_dim, args.seed + 1)
    before = peak_resident_gib()
    started = time.perf_counter()
    report = measure_geometry("random", *pairs, *calibration, show_progress=True)
    metrics = {
        "seconds": time.perf_counter() - started,
        "peak_resident_gib": peak_resident_gib(),
        "peak_resident_before_report_gib": before,
    }
    part = [embeds[:SLICE_PAIRS] for embeds in pairs]
    found, expected = geometry_metrics(*part), looped_metrics(*part)
    metrics |= {f"slice_{name}": found[name] for name in CHECKED}
    metrics |= {f"slice_looped_{name}": expected[name] for name in CHECKED}
    metrics |= {
        "slice_largest_difference": max(abs(found[name] - expected[name]) for name in CHECKED),
        "num_pairs": args.num_pairs,
        "num_calibration_pairs": args.num_calibration_pairs,
        "projection_dim": args.projection_dim,
        "threads": torch.get_num_threads(),
        "seed": args.seed,
    }
    print(report)
    for name, value in metrics.items():
        print(f"{name:45} {value:.6g}" if isinstance(value, float) else f"{name:45} {value}")
    output_dir = Path(args.output_dir)
    output_dir.mkdir(parents=True, exist_ok=True)
    write_metrics(output_dir / "metrics.json", metrics | report.metrics)
    return metrics


def build_pairs(num_pairs: int, projection_dim: int, seed: int) -> tuple:
    """Random image_embeds and text_embeds: a common vector for each pair, noise, half the gap to either side."""
    import torch
    from torch.nn.functional import normalize

    generator = torch.Generator().manual_seed(seed)
    sides = torch.empty(2, num_pairs, projection_dim)
    # Unequal variances, as trained encoders have them.
    spread = torch.linspace(1, 0.1, projection_dim).expand(AT_ONCE, -1)
    gap = torch.full((projection_dim,), HALF_GAP / math.sqrt(projection_dim))
    for start in range(0, num_pairs, AT_ONCE):
        rows = slice(start, min(start + AT_ONCE, num_pairs))
        common = torch.randn(rows.stop - start, projection_dim, generator=generator)
        for side, sign in zip(sides, (1, -1), strict=True):
            noise = torch.randn(common.shape, generator=generator)
            mixed = normalize((common + NOISE * noise) * spread[: len(common)], dim=-1)
            side[rows] = normalize(mixed + sign * gap, dim=-1)
    return sides[0], sides[1]


def looped_metrics(image_embeds, text_embeds) -> dict[str, float]:
    """The definitions, one pair of rows after the other, in float64."""
    images, texts = image_embeds.double(), text_embeds.double()
    length = len(images)

    def mean_over_pairs(value, first, second) -> float:
        terms = (float(value(first[i], second[j])) for i in range(length) for j in range(length) if i != j)
        return math.fsum(terms) / (length * (length - 1))

    def potential(a, b):
        return (-2 * (a - b).square().sum()).exp()

    def half_distance(a, b):
        return (1 - a @ b / (a.norm() * b.norm())) / 2

    matched = math.fsum(float(half_distance(x, y)) for x, y in zip(images, texts, strict=True)) / length
    within = (mean_over_pairs(half_distance, images, images) + mean_over_pairs(half_distance, texts, texts)) / 2
    return {
        "alignment": math.fsum(float((x - y).square().sum()) for x, y in zip(images, texts, strict=True)) / length,
        "mismatched_cosine": mean_over_pairs(lambda a, b: a @ b, images, texts),
        "image_uniformity": math.log(mean_over_pairs(potential, images, images)),
        "text_uniformity": math.log(mean_over_pairs(potential, texts, texts)),
        "cross_modal_uniformity": math.log(mean_over_pairs(potential, images, texts)),
        "relative_modality_gap": matched / (matched + within),
    }


if __name__ == "__main__":
    main()
