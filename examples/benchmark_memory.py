# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Exact search in a large memory against FAISS, and what a memory costs: disk, opening, resident memory, edits.

    python examples/benchmark_memory.py                                   # a million entries: 7 GB of RAM, minutes
    python examples/benchmark_memory.py --memory_size 20000 --rounds 1    # tries the script in seconds

Every round times both searches of every batch size one after the other, and the median of the rounds' ratios counts.
Needs faiss-cpu. Writes `metrics.json` and, while it runs, the memory into the output folder.
"""

import json
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from command_line import parse_arguments

WORDS = (
    "a the of on in with and red green blue small large old young two three man woman child dog cat horse bird tree "
    "house street car boat table chair window field sea mountain river sky sun snow rain city park garden road bridge"
).split()
WORDS_IN_A_CAPTION = 10
ROWS_AT_ONCE = 50_000
# In a process of its own: what other parts of the benchmark hold must not count.
OPEN = """
import json, sys, time
import psutil, torch
from hf_cloob import RecoMemory
process = psutil.Process()
before = process.memory_info().rss
started = time.perf_counter()
memory = RecoMemory.from_pretrained(sys.argv[1])
seconds = time.perf_counter() - started
opened = process.memory_info().rss
print(json.dumps({"open_seconds": seconds, "open_resident_mb": (opened - before) / 1e6, "entries": len(memory)}))
"""


@dataclass
class BenchmarkArguments:
    """Flags of benchmark_memory.py."""

    output_dir: str = field(default="runs/benchmark_memory", metadata={"help": "folder of metrics.json"})
    memory_size: int = field(default=1_000_000, metadata={"help": "entries"})
    projection_dim: int = field(default=512, metadata={"help": "dimensions of the embeddings"})
    num_neighbors: int = field(default=16, metadata={"help": "neighbors of each query"})
    batch_sizes: str = field(default="1,16,256", metadata={"help": "queries of one search, separated by commas"})
    rounds: int = field(default=5, metadata={"help": "rounds, of which medians are taken"})
    threads: int = field(default=2, metadata={"help": "CPU threads of both searches"})
    seed: int = field(default=0, metadata={"help": "seed of the embeddings"})


def main() -> None:
    args = parse_arguments(BenchmarkArguments, __doc__.split("\n\n")[0])
    for name in ("memory_size", "projection_dim", "num_neighbors", "rounds", "threads"):
        if getattr(args, name) < 1:
            raise SystemExit(f"benchmark_memory.py: {name} must be at least 1, got {getattr(args, name)}")
    sizes = args.batch_sizes.split(",")
    if not all(size.strip().isdigit() and int(size) > 0 for size in sizes):
        raise SystemExit(f"benchmark_memory.py: batch_sizes must be numbers from 1 up, got {args.batch_sizes!r}")
    if find_spec("faiss") is None:
        raise SystemExit("benchmark_memory.py: FAISS is what is compared with: pip install 'hf_cloob[faiss]'")
    benchmark(args, [int(size) for size in sizes])


def benchmark(args: BenchmarkArguments, batch_sizes: list[int]) -> dict:
    """Measure everything and write metrics.json; returns what it holds."""
    import faiss
    import torch
    from tqdm.auto import tqdm

    from hf_cloob import RecoMemory
    from hf_cloob.training.run_log import write_metrics

    torch.set_num_threads(args.threads)
    faiss.omp_set_num_threads(args.threads)
    folder = Path(args.output_dir) / "memory"
    write_memory(args, folder)
    metrics: dict = {"disk_gb": sum(file.stat().st_size for file in folder.iterdir()) / 1e9}
    opened = subprocess.run([sys.executable, "-c", OPEN, folder], capture_output=True, text=True, check=True)
    metrics |= json.loads(opened.stdout.splitlines()[-1])
    memory = RecoMemory.from_pretrained(folder)
    metrics |= edit_seconds(memory)
    index = faiss.IndexFlatIP(args.projection_dim)
    for keys in memory.image_embeds.split(ROWS_AT_ONCE):
        index.add(keys.float().numpy())

    cases = {size: unit_rows(size, args.projection_dim, args.seed + 1 + size) for size in batch_sizes}
    seconds: dict[str, list[float]] = {f"{name}_{size}": [] for size in batch_sizes for name in ("exact", "faiss")}
    with tqdm(total=args.rounds * len(cases), unit="case") as progress:
        for number in range(args.rounds):
            for size, queries in cases.items():
                searches: list[tuple[str, Callable]] = [
                    (f"exact_{size}", lambda q=queries: memory.retrieve_for_images(q, args.num_neighbors)),
                    (f"faiss_{size}", lambda q=queries: index.search(q.numpy(), args.num_neighbors)),
                ]
                for name, search in searches if number % 2 == 0 else reversed(searches):
                    seconds[name].append(timed(search))
                progress.update()

    for size, queries in cases.items():
        ratios = [f / e for e, f in zip(seconds[f"exact_{size}"], seconds[f"faiss_{size}"], strict=True)]
        metrics[f"speed_over_faiss_{size}"] = statistics.median(ratios)
        for name in ("exact", "faiss"):
            metrics[f"{name}_queries_per_second_{size}"] = size / statistics.median(seconds[f"{name}_{size}"])
        found = memory.retrieve_for_images(queries, args.num_neighbors).ids
        expected = torch.from_numpy(index.search(queries.numpy(), args.num_neighbors)[1])
        metrics[f"agreement_with_faiss_{size}"] = (found == expected).float().mean().item()
    metrics |= {name: getattr(args, name) for name in ("memory_size", "projection_dim", "num_neighbors", "rounds")}
    metrics["threads"] = args.threads
    for name, value in metrics.items():
        print(f"{name:32} {value:.6g}" if isinstance(value, float) else f"{name:32} {value}")
    write_metrics(Path(args.output_dir) / "metrics.json", metrics)
    shutil.rmtree(folder)
    return metrics


def write_memory(args: BenchmarkArguments, folder: Path) -> None:
    """Save a memory of random unit vectors and captions of ten words."""
    import random

    import torch

    from hf_cloob import RecoMemory

    words = random.Random(args.seed)
    captions = [" ".join(words.choices(WORDS, k=WORDS_IN_A_CAPTION)) for _ in range(args.memory_size)]
    sides = [
        torch.cat(
            [
                unit_rows(min(ROWS_AT_ONCE, args.memory_size - start), args.projection_dim, seed + start).half()
                for start in range(0, args.memory_size, ROWS_AT_ONCE)
            ]
        )
        for seed in (args.seed, args.seed + 10**9)
    ]
    RecoMemory(*sides, captions=captions).save_pretrained(folder)


def unit_rows(rows: int, projection_dim: int, seed: int):
    """Random unit vectors (rows, projection_dim)."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(rows, projection_dim, generator=generator), dim=1)


def edit_seconds(memory) -> dict[str, float]:
    """Seconds of adding an entry and of removing it again; neither may change what is found."""
    import torch

    row = memory.image_embeds[:1].clone()
    query = row.float()
    before = memory.retrieve_for_images(query, 3)
    ids = []
    added = timed(lambda: ids.append(memory.add(-row, row, captions=["the last one"])))
    removed = timed(lambda: memory.remove(ids[0]))
    after = memory.retrieve_for_images(query, 3)
    if not all(torch.equal(first, second) for first, second in zip(before, after, strict=True)):
        raise RuntimeError("Adding and removing an entry changed what a query finds.")
    return {"add_seconds": added, "remove_seconds": removed}


def timed(function: Callable) -> float:
    """Seconds of one call."""
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
