# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Measure the memory and the time that recall@k takes on a large gallery, and check its answer on a small one.

    python examples/benchmark_recall.py
    python examples/benchmark_recall.py --num_images 1000        # tries the script in seconds

Embeddings are random, with captions just near enough to their image to be found sometimes. The peak is of the whole
process: Python, torch and the embeddings included. Writes `metrics.json` into the output folder.
"""

import math
import resource
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from command_line import UserError, parse_arguments

KS = (1, 5, 10)
# Rows made at a time: random numbers for all at once would take more memory than what is measured.
AT_ONCE = 4096
SLICE_IMAGES = 200
# So small that the slice, too, is counted block by block.
SLICE_CHUNKS = {"image_chunk_size": 64, "text_chunk_size": 256}


@dataclass
class BenchmarkArguments:
    """Flags of benchmark_recall.py."""

    output_dir: str = field(default="runs/benchmark_recall", metadata={"help": "folder of metrics.json"})
    num_images: int = field(default=50_000, metadata={"help": "images of the gallery"})
    captions_per_image: int = field(default=5, metadata={"help": "captions of each image"})
    projection_dim: int = field(default=512, metadata={"help": "width of the embeddings"})
    seed: int = field(default=0, metadata={"help": "seed of the embeddings"})


def main() -> None:
    args = parse_arguments(BenchmarkArguments, __doc__.split("\n\n")[0])
    try:
        benchmark(args)
    except UserError as error:
        raise SystemExit(f"benchmark_recall.py: {error}") from None


def benchmark(args: BenchmarkArguments) -> dict:
    """Measure recall_at_k and write metrics.json; returns what it holds."""
    for name, least in (("num_images", 2), ("captions_per_image", 1), ("projection_dim", 2)):
        if getattr(args, name) < least:
            raise UserError(f"{name} must be at least {least}, got {getattr(args, name)}")
    import torch

    from hf_cloob.evaluation.retrieval_metrics import recall_at_k
    from hf_cloob.training.run_log import write_metrics

    image_embeds, text_embeds, text_to_image = build_embeds(args)
    before = peak_resident_gib()
    started = time.perf_counter()
    recalls = recall_at_k(image_embeds, text_embeds, text_to_image, KS, show_progress=True)
    metrics = {
        "seconds": time.perf_counter() - started,
        "peak_resident_gib": peak_resident_gib(),
        "peak_resident_before_recall_gib": before,
        **recalls,
    }
    images, texts = slice(SLICE_IMAGES), slice(SLICE_IMAGES * args.captions_per_image)
    part = image_embeds[images], text_embeds[texts], text_to_image[texts]
    found, expected = recall_at_k(*part, KS, **SLICE_CHUNKS), brute_force_recall(*part)
    metrics |= {f"slice_{name}": value for name, value in found.items()}
    metrics |= {f"slice_brute_force_{name}": value for name, value in expected.items()}
    metrics |= {
        "slice_largest_difference": max(abs(found[name] - expected[name]) for name in expected),
        "num_images": len(image_embeds),
        "num_texts": len(text_embeds),
        "projection_dim": args.projection_dim,
        "threads": torch.get_num_threads(),
        "seed": args.seed,
    }
    for name, value in metrics.items():
        print(f"{name:50} {value:.6g}" if isinstance(value, float) else f"{name:50} {value}")
    output_dir = Path(args.output_dir)
    output_dir.mkdir(parents=True, exist_ok=True)
    write_metrics(output_dir / "metrics.json", metrics)
    return metrics


def build_embeds(args: BenchmarkArguments) -> tuple:
    """Random unit vectors: image_embeds, text_embeds around them, and the image of each text."""
    import torch
    from torch.nn.functional import normalize

    generator = torch.Generator().manual_seed(args.seed)
    image_embeds = torch.empty(args.num_images, args.projection_dim)
    text_embeds = torch.empty(args.num_images * args.captions_per_image, args.projection_dim)
    text_to_image = torch.arange(args.num_images).repeat_interleave(args.captions_per_image)
    for rows in image_embeds.split(AT_ONCE):
        rows.copy_(normalize(torch.randn(rows.shape, generator=generator), dim=-1))
    # A little less than the largest cosine of an image with as many random texts: some captions come first.
    cosine = min(0.9, (math.sqrt(2 * math.log(args.num_images)) - 1) / math.sqrt(args.projection_dim))
    for rows, owners in zip(text_embeds.split(AT_ONCE), text_to_image.split(AT_ONCE), strict=True):
        noise = normalize(torch.randn(rows.shape, generator=generator), dim=-1)
        rows.copy_(normalize(cosine * image_embeds[owners] + math.sqrt(1 - cosine**2) * noise, dim=-1))
    return image_embeds, text_embeds, text_to_image


def brute_force_recall(image_embeds, text_embeds, text_to_image) -> dict[str, float]:
    """The definition of recall@k: one query after the other, its whole gallery sorted."""
    images, texts, owners = image_embeds.double(), text_embeds.double(), text_to_image.tolist()
    ranks = {"image_to_text": [], "text_to_image": []}
    for image, query in enumerate(images):
        order = (texts @ query).argsort(descending=True).tolist()
        ranks["image_to_text"].append(min(order.index(text) for text, owner in enumerate(owners) if owner == image))
    for text, query in enumerate(texts):
        order = (images @ query).argsort(descending=True).tolist()
        ranks["text_to_image"].append(order.index(owners[text]))
    ways = [(way, found, k) for way, found in ranks.items() for k in KS]
    return {f"{way}_recall@{k}": sum(rank < k for rank in found) / len(found) for way, found, k in ways}


def peak_resident_gib() -> float:
    """The most memory that this process has had resident so far; on Linux at least its parent's at the start."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts KiB, macOS bytes.
    return peak / 2**30 if sys.platform == "darwin" else peak / 2**20


if __name__ == "__main__":
    main()
