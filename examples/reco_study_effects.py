# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What reco_study.py changes about a memory, all choices kept: k, its size, wrong captions; and what a query costs."""

import statistics
import tempfile
import time
from pathlib import Path

import torch
from reco_study_fusion import side_scores
from reco_study_methods import MOST_NEIGHBORS, READOUT, Compared, View, test_accuracies, view_of
from reco_study_tasks import Task, part_of_memory, with_wrong_captions

from hf_cloob import RecoForZeroShot, RecoMemory
from hf_cloob.retrieval.controls import hopfield_scores

KS = (0, 1, 5, 10, 20, MOST_NEIGHBORS)
MEMORY_SIZES = (1000, 5000)
WRONG_SHARES = (0.1, 0.3, 0.5)
# As the latency figure of an image encoder is taken: a small batch, the median of some passes.
QUERIES_TIMED, PASSES_TIMED = 16, 20


def measure_effects(compared: Compared, view: View) -> dict[str, dict[str, dict[str, float]]]:
    """Effect -> value -> method -> accuracy on the test half, of the base, the fitted readout and the trained layers.

    Args:
        compared: the methods with their settings, which stay as they were chosen.
        view: of the task's whole memory.
    """
    task = compared.task
    changed = {"memory_size": {}, "wrong_captions": {}}
    for size in memory_sizes(task):
        changed["memory_size"][str(size)] = part_of_memory(task, sample_rows(task, size))
    for share in WRONG_SHARES:
        changed["wrong_captions"][str(share)] = with_wrong_captions(task, share)
    whole = {"memory_size": str(len(task.memory)), "wrong_captions": "0"}
    effects = {"k": {str(k): accuracies_at(compared, view, k) for k in KS}}
    for effect, memories in changed.items():
        views = {value: view_of(task, memory) for value, memory in memories.items()} | {whole[effect]: view}
        effects[effect] = {value: accuracies_at(compared, views[value]) for value in sorted(views, key=float)}
    return effects


def accuracies_at(compared: Compared, view: View, k: int | None = None) -> dict[str, float]:
    """Accuracies on the test half in one state of the memory, with another k if it is given."""
    task, readout, reco = compared.task, compared.fitted[READOUT].settings, compared.fitted["reco"].settings
    scores = {
        "base": compared.scores("base", view),
        "readout": hopfield_scores(view.found, **(readout if k is None else readout | {"k": k})),
        "reco": side_scores(compared.models["reco"], view.found, reco["k"] if k is None else k)[reco["side"]],
    }
    return {method: test_accuracies(task, found)["all"] for method, found in scores.items()}


def memory_sizes(task: Task) -> list[int]:
    """Sizes below the whole memory's."""
    return [size for size in MEMORY_SIZES if size < len(task.memory)]


def sample_rows(task: Task, size: int) -> torch.Tensor:
    """A random part of the memory's rows, a larger one holding a smaller one: fewer entries know fewer entities."""
    generator = torch.Generator().manual_seed(task.seed)
    return torch.randperm(len(task.memory), generator=generator)[:size].sort().values


def measure_costs(model: RecoForZeroShot, task: Task) -> dict[str, dict[str, float]]:
    """Memory size -> bytes on disk, and milliseconds that a batch of queries waits for search and fusion.

    Args:
        model: with its number of neighbors.
        task: whose memory is searched, whole and in parts.
    """
    queries = task.image_embeds[:QUERIES_TIMED]
    memories = [part_of_memory(task, sample_rows(task, size)) for size in memory_sizes(task)]
    return {
        str(len(memory)): {
            "bytes_on_disk": bytes_on_disk(memory),
            "batch_ms": batch_milliseconds(model, queries, memory),
            "queries_a_batch": len(queries),
        }
        for memory in [*memories, task.memory]
    }


def bytes_on_disk(memory: RecoMemory) -> int:
    """Size of a saved memory, captions included."""
    with tempfile.TemporaryDirectory() as folder:
        memory.save_pretrained(folder)
        return sum(path.stat().st_size for path in Path(folder).iterdir())


@torch.no_grad()
def batch_milliseconds(model: RecoForZeroShot, queries: torch.Tensor, memory: RecoMemory) -> float:
    """Median time of exact search and fusion for one batch of image embeddings, on one thread or as torch is set."""
    seconds = []
    for _ in range(PASSES_TIMED):
        started = time.perf_counter()
        found = memory.retrieve_for_images(queries, model.config.num_neighbors)
        model.image_fusion(queries, found.embeds, found.scores)
        seconds.append(time.perf_counter() - started)
    return 1000 * statistics.median(seconds)
