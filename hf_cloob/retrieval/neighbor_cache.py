# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Training's neighbors on disk: searched by all processes, on from where a killed search stopped, never for others."""

import hashlib
import json
import os
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers.utils import logging

from ..reco_memory import RecoMemory
from ..reco_memory_checks import NO_ENTRY, check_same_encoder
from .near_duplicates import DEFAULT_THRESHOLD
from .training_neighbors import TrainingNeighbors, find_training_neighbors

PLAN_FILE = "neighbors_plan.json"
ROWS_AT_ONCE = 65_536


def cached_training_neighbors(
    memory: RecoMemory,
    pairs: RecoMemory,
    folder: str | Path,
    k: int,
    near_duplicate_threshold: float = DEFAULT_THRESHOLD,
    chunk_size: int = 8192,
    show_progress: bool = True,
) -> TrainingNeighbors:
    """`find_training_neighbors` for pairs in the form of a memory, kept in a folder; all processes take part.

    Each process searches for every n-th chunk of pairs and writes it whole or not at all, so a killed search goes on,
    and a later call with the same memory and pairs only reads. Where the pairs are the memory itself, entries of the
    same id are their own.

    Args:
        memory: what is searched, on the device where the search is to run.
        pairs: what is searched for.
        folder: where neighbors are kept.
        k: neighbors.
        near_duplicate_threshold: least cosine of two pictures that count as the same.
        chunk_size: pairs that are lost at most when the search is killed.
        show_progress: show a progress bar, on the main process.

    Returns:
        the neighbors of all pairs, the same in all processes.

    Raises:
        ValueError: if the folder holds neighbors of other pairs, of another memory or of other settings, or a damaged
            file; for pairs of another encoder, and as `find_training_neighbors`.
    """
    from accelerate import PartialState

    state, folder = PartialState(cpu=not torch.accelerator.is_available()), Path(folder)
    if chunk_size < 1:
        raise ValueError(f"chunk_size must be at least 1, got {chunk_size}.")
    check_same_encoder(memory.fingerprint, pairs.fingerprint, "the training pairs")
    searched = memory_checksum(memory)
    plan = {
        "memory": searched,
        "pairs": searched if pairs is memory else memory_checksum(pairs),
        "num_neighbors": k,
        "near_duplicate_threshold": near_duplicate_threshold,
        "chunk_size": chunk_size,
    }
    with state.main_process_first():
        _settle_plan(folder, plan)
    own_ids = pairs.ids if plan["memory"] == plan["pairs"] else torch.full((len(pairs),), NO_ENTRY)
    image_embeds, text_embeds = pairs.image_embeds, pairs.text_embeds
    chunks = [slice(start, min(start + chunk_size, len(pairs))) for start in range(0, len(pairs), chunk_size)]
    paths = [folder / f"{number:06d}.safetensors" for number in range(len(chunks))]
    own = range(state.process_index, len(chunks), state.num_processes)
    missing = [(paths[number], chunks[number]) for number in own if not paths[number].exists()]
    shown = show_progress and state.is_main_process and bool(missing)
    for path, chunk in logging.tqdm(missing, desc="Searching neighbors", unit="chunk", disable=not shown):
        found = find_training_neighbors(
            memory, image_embeds[chunk], text_embeds[chunk], k, own_ids[chunk], near_duplicate_threshold
        )
        aside = path.with_suffix(".unfinished")
        save_file(found._asdict(), aside)
        os.replace(aside, path)
    state.wait_for_everyone()
    parts = [_read_chunk(path, chunk.stop - chunk.start) for path, chunk in zip(paths, chunks, strict=True)]
    return TrainingNeighbors(*(torch.cat(columns) for columns in zip(*parts, strict=True)))


def memory_checksum(memory: RecoMemory) -> str:
    """SHA-256 of a memory's ids and embeddings in their order, in 32 hexadecimal digits; about a second a gigabyte."""
    digest = hashlib.sha256()
    for rows in (memory.ids, memory.image_embeds, memory.text_embeds):
        digest.update(f"{tuple(rows.shape)} {rows.dtype}".encode())
        for part in rows.split(ROWS_AT_ONCE):
            digest.update(memoryview(part.cpu().contiguous().numpy()).cast("B"))
    return digest.hexdigest()[:32]


def _settle_plan(folder: Path, plan: dict) -> None:
    """Write what is being searched for, or check that it is what was searched for here before."""
    path = folder / PLAN_FILE
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        aside = path.with_suffix(".unfinished")
        aside.write_text(json.dumps(plan, indent=2) + "\n", encoding="utf-8")
        os.replace(aside, path)
        return
    before = json.loads(path.read_text(encoding="utf-8"))
    differing = [name for name in plan if before.get(name) != plan[name]]
    if differing:
        raise ValueError(
            f"{folder} holds other neighbors: {differing[0]} was {before.get(differing[0])!r} and is "
            f"{plan[differing[0]]!r} now. Delete that folder, or choose another one."
        )


def _read_chunk(path: Path, rows: int) -> TrainingNeighbors:
    try:
        found = TrainingNeighbors(**load_file(path))
    except (SafetensorError, TypeError) as error:
        raise ValueError(f"{path} is damaged: delete it, and its pairs are searched for again ({error}).") from error
    if any(len(part) != rows for part in found):
        raise ValueError(
            f"{path} is damaged: it should hold {rows} pairs. Delete it, and they are searched for again."
        )
    return found
