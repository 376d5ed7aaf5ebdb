# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Searching training's neighbors in other processes: importable, so that spawned processes find it."""

from pathlib import Path

from tiny_reco import random_memory

from hf_cloob.retrieval.neighbor_cache import cached_training_neighbors
from hf_cloob.retrieval.training_neighbors import TrainingNeighbors


def search(folder: Path, memory=None, pairs=None, k: int = 3, **arguments) -> TrainingNeighbors:
    memory = memory or random_memory(50)
    arguments = {"chunk_size": 8, "show_progress": False} | arguments
    return cached_training_neighbors(memory, pairs or memory, folder, k, **arguments)


def search_in_process(rank: int, folder: str) -> tuple:
    return tuple(search(Path(folder)))
