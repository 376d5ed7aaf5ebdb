# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What benchmark_memory.py measures of one memory: opening, edits, searches, and their share of an encoder's time."""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

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
# A CLIP's vision tower ViT-B/32.
VIT_B_32 = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
PATCH_SIZE, IMAGE_SIZE, ENCODER_BATCH = 32, 224, 16
# For each round of the searches, because the encoder's time varies by more than a few per cent.
ENCODER_ROUNDS = 2
ROWS_AT_ONCE = 50_000


def opening(folder: Path) -> dict[str, float]:
    """Bytes on disk, and seconds and resident memory of opening."""
    opened = subprocess.run([sys.executable, "-c", OPEN, folder], capture_output=True, text=True, check=True)
    disk = sum(file.stat().st_size for file in folder.iterdir()) / 1e9
    return {"disk_gb": disk, **json.loads(opened.stdout.splitlines()[-1])}


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


def searches(args, folder: Path) -> tuple[dict[str, Callable], dict[str, float]]:
    """Search functions of queries, one for each way to search, and what each one's index costs."""
    from hf_cloob import RecoMemory
    from hf_cloob.retrieval.faiss_index import FaissIndex, flat_index, hnsw_index, ivf_index

    exact = RecoMemory.from_pretrained(folder)
    k, costs = args.num_neighbors, {}

    def built(name: str, build: Callable) -> FaissIndex:
        started = time.perf_counter()
        index = build(exact.image_embeds, exact.ids)
        costs[f"{name}_build_seconds"] = time.perf_counter() - started
        index.save(folder / name)
        costs[f"{name}_gb"] = (folder / name).stat().st_size / 1e9
        (folder / name).unlink()
        return index

    flat = built("flat", flat_index)
    sizes = {"num_links": args.num_links, "ef_construction": args.ef_construction, "ef_search": args.ef_search}
    functions = {
        "exact": lambda queries: exact.retrieve_for_images(queries, k).ids,
        # FAISS alone, as it is used without this package.
        "flat": lambda queries: flat.search(queries, k),
    }
    for name, index in (
        ("hnsw", built("hnsw", lambda keys, ids: hnsw_index(keys, ids, **sizes))),
        ("ivf", built("ivf", lambda keys, ids: ivf_index(keys, ids, num_probes=args.num_probes))),
    ):
        memory = RecoMemory.from_pretrained(folder)
        memory.set_index(image_index=index)
        functions[name] = lambda queries, memory=memory: memory.retrieve_for_images(queries, k).ids
    return functions, costs


def recalls(functions: dict[str, Callable], queries) -> dict[str, float]:
    """The share of the exact neighbors that each other search finds."""
    expected = functions["exact"](queries)
    return {
        f"{name}_recall": (search(queries).unsqueeze(2) == expected.unsqueeze(1)).any(dim=2).float().mean().item()
        for name, search in functions.items()
        if name != "exact"
    }


def search_speed(functions: dict[str, Callable], queries, batch_sizes: list[int], rounds: int) -> dict[str, float]:
    """Queries a second of every search and batch size; in every round all of them, one after the other.

    FAISS's exact search is the other side of a comparison: the median of the rounds' ratios.
    """
    seconds: dict[str, list[float]] = {f"{name}_{size}": [] for size in batch_sizes for name in functions}
    batches = {size: batches_of(queries, size) for size in batch_sizes}
    for number in range(rounds):
        for size in batch_sizes:
            batch = next(batches[size])
            for name in list(functions) if number % 2 == 0 else reversed(functions):
                let_threads_sleep()
                seconds[f"{name}_{size}"].append(timed(lambda: functions[name](batch)))  # noqa: B023
    speed = {
        f"{name}_queries_per_second_batch_{size}": size / statistics.median(seconds[f"{name}_{size}"])
        for name in functions
        for size in batch_sizes
    }
    for size in batch_sizes:
        ratios = [flat / exact for exact, flat in zip(seconds[f"exact_{size}"], seconds[f"flat_{size}"], strict=True)]
        speed[f"exact_over_flat_batch_{size}"] = statistics.median(ratios)
    return speed


def encoder_shares(functions: dict[str, Callable], memory, queries, args) -> dict[str, float]:
    """What search, and search with fusion, add to the time of a ViT-B/32 image encoder: shares of its time.

    In every round, and for every search, the encoder embeds a batch, and a batch of queries is looked up. The median
    of the rounds' ratios counts.
    """
    import torch
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    from hf_cloob import RecoConfig
    from hf_cloob.reco_fusion import RecoFusion

    width = queries.shape[1]
    vision = CLIPVisionConfig(**VIT_B_32, patch_size=PATCH_SIZE, image_size=IMAGE_SIZE, projection_dim=width)
    encoder = CLIPVisionModelWithProjection(vision).eval()
    config = RecoConfig(base_config={"model_type": "clip", "projection_dim": width})
    fusion = RecoFusion(width, config.fusion_num_heads, config.fusion_hidden_dim).eval()
    pixels = torch.randn(ENCODER_BATCH, 3, IMAGE_SIZE, IMAGE_SIZE, generator=torch.Generator().manual_seed(args.seed))
    functions = functions | {"fusion": lambda batch: fusion(batch, found.embeds)}
    seconds, ratios = [], {name: [] for name in functions}
    batches = batches_of(queries, ENCODER_BATCH)
    with torch.inference_mode():
        encoder(pixels)
        for _ in range(ENCODER_ROUNDS * args.rounds):
            batch = next(batches)
            found = memory.retrieve_for_images(batch, args.num_neighbors)
            for name, function in functions.items():
                let_threads_sleep()
                seconds.append(timed(lambda: encoder(pixels)))
                # At once, as in use, when the processor's caches hold the encoder.
                ratios[name].append(timed(lambda: function(batch)) / seconds[-1])  # noqa: B023
    shares = {f"{name}_share_of_encoder": statistics.median(values) for name, values in ratios.items()}
    return {"encoder_seconds_batch_16": statistics.median(seconds), **shares}


def batches_of(queries, size: int) -> Iterator:
    """One batch of queries after the other, from the beginning again after the last."""
    import torch

    for number in count():
        yield queries[torch.arange(number * size, (number + 1) * size) % len(queries)]


def let_threads_sleep() -> None:
    """Threads wait for more work by spinning at first, and those of one library would hold up another's."""
    time.sleep(0.05)


def timed(function: Callable) -> float:
    """Seconds of one call."""
    started = time.perf_counter()
    function()
    return time.perf_counter() - started
