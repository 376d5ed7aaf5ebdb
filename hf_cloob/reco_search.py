# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Exact nearest neighbors by cosine, in pure torch and bounded memory, over half-precision keys on disk or in RAM."""

import math
from collections.abc import Iterator, Sequence

import torch
from torch.nn import functional as F

# Keys are converted to float32 a chunk at a time, in one buffer of at most this many elements and rows, and scored for
# this many queries at once. On a CPU both the keys and the scores (8 MB each) stay in its cache; GPUs want more.
CHUNK_LIMITS = {"cpu": (2**21, 2**13), "other": (2**26, 2**17)}
QUERIES_AT_ONCE = 256
# Of every 16 neighboring rows only the best score is kept at first. A whole matrix of scores would be gigabytes, and
# selecting the best k of a chunk's takes as long as the scores themselves.
GROUP = 16
# The best groups are selected after so many rows: 32 MB of best scores for 256 queries.
SEGMENT = 2**19
# The rows of a few more groups than needed are scored again: their best scores may tie in float32.
SPARE_GROUPS = 2
# Elements of the selected rows that are scored at once.
RESCORED_ELEMENTS = 2**20
# oneDNN's threshold, see _products.
IMAGES = 16


@torch.no_grad()
def exact_search(
    queries: torch.Tensor, key_blocks: Sequence[torch.Tensor], k: int, removed: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Find every query's k keys of largest inner product.

    A score depends on its query and its key alone, neither on the other queries nor on the rest of the memory.

    Args:
        queries: (n, projection_dim), floating point.
        key_blocks: the memory's rows in pieces (rows, projection_dim) on the device of the queries; memory-mapped
            tensors are read once for every 256 queries.
        k: neighbors wanted.
        removed: sorted int64 rows, counted over all blocks, that must not be found.

    Returns:
        scores (n, k) in at least float32, best first, and rows (n, k), counted over all blocks; equal scores in the
        order of their rows (of more equal keys than there is room for, any may be found). Where there are fewer than
        k keys: -inf and -1.

    Raises:
        ValueError: if a key is not finite.
    """
    scores, rows = [], []
    for part in queries.split(QUERIES_AT_ONCE):
        # Autocast would score in half precision, and neighbors would be wrong.
        with torch.autocast(queries.device.type, enabled=False):
            groups = _best_groups(part.float(), key_blocks, k + SPARE_GROUPS, removed)
            part_scores, part_rows = score_rows(part, key_blocks, _rows_of_groups(groups, key_blocks, removed), k)
        scores.append(part_scores)
        rows.append(part_rows)
    return torch.cat(scores), torch.cat(rows)


def score_rows(
    queries: torch.Tensor, key_blocks: Sequence[torch.Tensor], candidates: torch.Tensor, k: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Score every query's candidates by one fixed sum each and take the best k; see `exact_search`.

    Args:
        queries: (n, projection_dim), floating point.
        key_blocks: the memory's rows in pieces (rows, projection_dim) on the device of the queries.
        candidates: (n, c) different rows, ascending, counted over all blocks; -1 anywhere for none.
        k: neighbors wanted.

    Returns:
        scores (n, k) and rows (n, k), as `exact_search`.

    Raises:
        ValueError: if the key of a candidate is not finite.
    """
    width, absent = queries.shape[1], candidates < 0
    queries = queries.to(torch.promote_types(queries.dtype, torch.float32))
    scores = queries.new_empty(candidates.shape)
    at_once = max(1, RESCORED_ELEMENTS // (candidates.shape[1] * width))
    for first in range(0, len(queries), at_once):
        rows = candidates[first : first + at_once].clamp_min(0)
        keys = gather_rows(key_blocks, rows.flatten()).to(queries.dtype).view(*rows.shape, width)
        scores[first : first + at_once] = (keys * queries[first : first + at_once, None]).sum(dim=-1)
    scores[absent] = float("-inf")
    if not (torch.isfinite(scores) | absent).all():
        row = candidates[~(torch.isfinite(scores) | absent)][0].item()
        raise ValueError(f"The memory is damaged: the key in row {row} holds NaN or infinite values.")
    # Candidates ascend, so a stable sort leaves equal scores in the order of their rows.
    scores, order = scores.sort(dim=1, descending=True, stable=True)
    rows = candidates.gather(1, order).masked_fill(scores == float("-inf"), -1)
    missing = max(0, k - rows.shape[1])
    return (
        F.pad(scores[:, :k], (0, missing), value=float("-inf")),
        F.pad(rows[:, :k], (0, missing), value=-1),
    )


def gather_rows(blocks: Sequence[torch.Tensor], rows: torch.Tensor) -> torch.Tensor:
    """Rows, counted over all blocks, as one tensor: rows (n,) -> (n, projection_dim)."""
    if len(blocks) == 1:
        return blocks[0][rows]
    gathered = blocks[0].new_empty((len(rows), *blocks[0].shape[1:]))
    first = 0
    for block in blocks:
        inside = ((rows >= first) & (rows < first + len(block))).nonzero().flatten()
        if len(inside):
            gathered[inside] = block[rows[inside] - first]
        first += len(block)
    return gathered


def _best_groups(
    queries: torch.Tensor, key_blocks: Sequence[torch.Tensor], count: int, removed: torch.Tensor | None
) -> torch.Tensor:
    """The groups that hold the best scores, in ascending order, (n, at most count)."""
    best = queries.new_empty(len(queries), 0)
    groups = torch.empty(len(queries), 0, dtype=torch.int64, device=queries.device)
    first = 0
    for maxima in _group_maxima(queries, key_blocks, removed):
        numbers = torch.arange(first, first + len(maxima), device=groups.device).expand(len(queries), -1)
        best, groups = torch.cat([best, maxima.T], dim=1), torch.cat([groups, numbers], dim=1)
        # topk takes NaN for the largest, so a key that is not a number is among what is looked at again.
        best, order = best.topk(min(count, best.shape[1]), dim=1, sorted=False)
        groups = groups.gather(1, order)
        first += len(maxima)
    return groups.sort(dim=1).values


def _group_maxima(
    queries: torch.Tensor, key_blocks: Sequence[torch.Tensor], removed: torch.Tensor | None
) -> Iterator[torch.Tensor]:
    """Best score of every GROUP rows, (num_groups, n) for one segment after the other; removed rows do not count."""
    width = queries.shape[1]
    max_elements, max_rows = CHUNK_LIMITS["cpu" if queries.device.type == "cpu" else "other"]
    # A power of two, as the segment is, and no less than what _products and the groups ask for.
    chunk = max(GROUP * IMAGES, 2 ** int(math.log2(min(max_rows, max(1, max_elements // width)))))
    maxima, start = [], 0
    for keys, filled in _float_chunks(key_blocks, chunk, width, queries.device):
        scores = _products(keys, queries)
        scores[filled:] = float("-inf")
        if removed is not None:
            first, last = torch.searchsorted(removed, torch.tensor([start, start + chunk], device=removed.device))
            scores[removed[first:last] - start] = float("-inf")
        maxima.append(scores.view(chunk // GROUP, GROUP, -1).amax(dim=1))
        start += chunk
        if start % SEGMENT == 0:
            yield torch.cat(maxima)
            maxima = []
    if maxima:
        yield torch.cat(maxima)


def _float_chunks(
    blocks: Sequence[torch.Tensor], chunk: int, width: int, device: torch.device
) -> Iterator[tuple[torch.Tensor, int]]:
    """The blocks' rows in float32, `chunk` at a time in one buffer that is used again, and how many of them count.

    The last chunk is as large as the others, so that rows added behind a row never change how its score is computed.
    """
    buffer = torch.zeros(chunk, width, device=device)
    filled = 0
    for block in blocks:
        while len(block):
            part = block[: chunk - filled]
            buffer[filled : filled + len(part)] = part
            block, filled = block[len(part) :], filled + len(part)
            if filled == chunk:
                yield buffer, filled
                filled = 0
    if filled:
        buffer[filled:] = 0
        yield buffer, filled


def _products(keys: torch.Tensor, queries: torch.Tensor) -> torch.Tensor:
    """keys @ queries.T, (rows, n).

    As a 1x1 convolution on the CPU: oneDNN, which computes it, uses AVX-512 on every processor that has it, MKL, which
    multiplies matrices, on Intel's only (measured on an AMD EPYC: 210 against 95 GFLOP/s a core). In 16 images,
    because below that number torch does not always leave a convolution to oneDNN. With one query reading the keys
    is what takes time, and on a GPU the matrix product is exact where convolutions may use TF32.
    """
    if queries.device.type != "cpu" or len(queries) < 2:
        return (queries @ keys.T).T.contiguous()
    images = keys.view(IMAGES, len(keys) // IMAGES, 1, -1).permute(0, 3, 1, 2)
    return F.conv2d(images, queries[:, :, None, None]).permute(0, 2, 3, 1).reshape(len(keys), -1)


def _rows_of_groups(
    groups: torch.Tensor, key_blocks: Sequence[torch.Tensor], removed: torch.Tensor | None
) -> torch.Tensor:
    """All rows of the selected groups, -1 for those that are not there, (n, num_groups * GROUP)."""
    candidates = (groups.unsqueeze(2) * GROUP + torch.arange(GROUP, device=groups.device)).flatten(1)
    absent = candidates >= sum(len(block) for block in key_blocks)
    if removed is not None:
        absent |= torch.isin(candidates, removed)
    return candidates.masked_fill(absent, -1)


__all__ = ["exact_search", "gather_rows", "score_rows"]
