# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""FAISS indexes for a memory: exact (flat), a graph (HNSW), or compressed lists (IVF), re-ranked by the memory.

index = hnsw_index(memory.image_embeds, memory.ids)
memory.set_index(image_index=index)
index.save("images.faiss")      # later: memory.set_index(FaissIndex.load("images.faiss"))
"""

import os
from pathlib import Path

import torch

ROWS_AT_ONCE = 65_536
# FAISS asks for at least 39 keys for each list and samples no more than 256.
KEYS_OF_A_LIST = 64


class FaissIndex:
    """A FAISS index under the memory's ids; see [`RecoIndex`] for what its methods are for.

    Removed entries stay in the index, without an id and never proposed, until it is built again.

    Args:
        index: a `faiss.IndexIDMap` of ids >= 0 over an index in which larger inner products are nearer.
    """

    def __init__(self, index):
        self._index = index
        self._some_removed = bool((self._id_map() < 0).any())

    @property
    def projection_dim(self) -> int:
        return self._index.d

    def __len__(self) -> int:
        return int((self._id_map() >= 0).sum())

    def has(self, ids: torch.Tensor) -> torch.Tensor:
        return torch.isin(ids, torch.from_numpy(self._id_map()))

    def keys(self, ids: torch.Tensor) -> torch.Tensor:
        held, order = torch.from_numpy(self._id_map()).sort()
        return torch.from_numpy(self._index.index.reconstruct_batch(order[torch.searchsorted(held, ids)].numpy()))

    def search(self, queries: torch.Tensor, k: int) -> torch.Tensor:
        _, ids = self._index.search(queries.numpy(), k, params=self._search_parameters())
        return torch.from_numpy(ids)

    def add(self, keys: torch.Tensor, ids: torch.Tensor) -> None:
        for first in range(0, len(keys), ROWS_AT_ONCE):
            rows = slice(first, first + ROWS_AT_ONCE)
            self._index.add_with_ids(keys[rows].float().numpy(), ids[rows].numpy())

    def remove(self, ids: torch.Tensor) -> None:
        held = self._id_map()
        held[torch.isin(torch.from_numpy(held), ids).numpy()] = -1
        self._some_removed = True

    def save(self, path: str | os.PathLike) -> None:
        """Write one file in FAISS's own format, which replaces an older one when it is complete."""
        aside = Path(f"{os.fspath(path)}.unfinished")
        _faiss().write_index(self._index, str(aside))
        aside.replace(path)

    @classmethod
    def load(cls, path: str | os.PathLike) -> "FaissIndex":
        """Read an index that `save` wrote.

        Raises:
            ValueError: for a file that is missing, damaged or no such index.
        """
        faiss = _faiss()
        try:
            index = faiss.read_index(os.fspath(path))
        except RuntimeError as error:
            raise ValueError(f"{os.fspath(path)!r} is missing, damaged or no FAISS index: {error}") from error
        if not isinstance(index, faiss.IndexIDMap):
            raise ValueError(f"{os.fspath(path)!r} holds a {type(index).__name__} without ids: it was not saved here.")
        return cls(index)

    def _id_map(self):
        """The ids by row, (rows,): FAISS's own array, -1 for removed entries."""
        return _faiss().rev_swig_ptr(self._index.id_map.data(), self._index.id_map.size())

    def _search_parameters(self):
        """The index's own settings, and that removed entries are left out, where there are any."""
        if not self._some_removed:
            return None
        faiss = _faiss()
        kept = faiss.IDSelectorNot(faiss.IDSelectorRange(-1, 0))
        inner = faiss.downcast_index(self._index.index)
        if isinstance(inner, faiss.IndexHNSW):
            return faiss.SearchParametersHNSW(sel=kept, efSearch=inner.hnsw.efSearch)
        if isinstance(inner, faiss.IndexIVF):
            return faiss.SearchParametersIVF(sel=kept, nprobe=inner.nprobe)
        return faiss.SearchParameters(sel=kept)


def flat_index(keys: torch.Tensor, ids: torch.Tensor) -> FaissIndex:
    """All keys in float32, all compared: exact, and twice the size of the memory's own.

    Args:
        keys: (memory_size, projection_dim), the memory's `image_embeds` or `text_embeds`.
        ids: (memory_size,), its `ids`.
    """
    return _filled(_faiss().IndexFlatIP(keys.shape[1]), keys, ids)


def hnsw_index(
    keys: torch.Tensor, ids: torch.Tensor, num_links: int = 32, ef_construction: int = 80, ef_search: int = 256
) -> FaissIndex:
    """A graph of neighbors over keys in float16, as the memory keeps them: the fastest, and the slowest to build.

    Source: Malkov and Yashunin 2018 (arXiv 1603.09320).

    Args:
        keys: (memory_size, projection_dim), the memory's `image_embeds` or `text_embeds`.
        ids: (memory_size,), its `ids`.
        num_links: neighbors of each key in the graph, twice as many in its lowest layer (M).
        ef_construction: candidates that are looked at while a key is linked.
        ef_search: candidates that are looked at by a search; more find more and take longer.
    """
    faiss = _faiss()
    half = faiss.ScalarQuantizer.QT_fp16
    index = faiss.IndexHNSWSQ(keys.shape[1], half, num_links, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction, index.hnsw.efSearch = ef_construction, ef_search
    return _filled(index, keys, ids)


def ivf_index(keys: torch.Tensor, ids: torch.Tensor, num_lists: int | None = None, num_probes: int = 32) -> FaissIndex:
    """Keys in 8 bits a dimension, in lists around k-means centroids: the smallest; the memory re-ranks.

    Args:
        keys: (memory_size, projection_dim), the memory's `image_embeds` or `text_embeds`; centroids are fitted to a
            sample, with FAISS's fixed seed.
        ids: (memory_size,), its `ids`.
        num_lists: lists; by default the square root of memory_size.
        num_probes: nearest lists that a search reads; more find more and take longer.
    """
    faiss = _faiss()
    num_lists = num_lists or max(1, min(int(len(keys) ** 0.5), len(keys) // KEYS_OF_A_LIST))
    bytes_ = faiss.ScalarQuantizer.QT_8bit
    centroids = faiss.IndexFlatIP(keys.shape[1])
    index = faiss.IndexIVFScalarQuantizer(centroids, keys.shape[1], num_lists, bytes_, faiss.METRIC_INNER_PRODUCT)
    index.nprobe = num_probes
    # Without it the index could not say which key it keeps for an entry.
    index.set_direct_map_type(faiss.DirectMap.Array)
    index.train(keys[:: max(1, len(keys) // (num_lists * KEYS_OF_A_LIST))].float().numpy())
    return _filled(index, keys, ids)


def _filled(index, keys: torch.Tensor, ids: torch.Tensor) -> FaissIndex:
    filled = FaissIndex(_faiss().IndexIDMap(index))
    filled.add(keys.cpu(), ids.cpu())
    return filled


def _faiss():
    try:
        import faiss
    except ImportError as error:
        raise ImportError("FAISS indexes need faiss: pip install 'hf_cloob[faiss]'") from error
    return faiss
