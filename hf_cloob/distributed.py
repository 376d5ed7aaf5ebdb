# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The global batch: the one file that touches torch.distributed."""

import time

import torch
import torch.distributed as dist
from torch.nn import functional as F

from .blockwise import ALL_BLOCKS, Blocks

# How long a process waits after a failed exchange for the others to say that they wait too.
GRACE_SECONDS = 5.0


def world_size() -> int:
    """Number of processes that train together, 1 without an initialized process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def all_gather_with_grad(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Join the rows of every process, in the order of their ranks, keeping the gradient.

    The backward pass sums each row's gradient over all processes. So when every process computes the same loss L from
    the result, a row receives world_size * dL/drow, and after DistributedDataParallel's averaging every parameter has
    exactly the gradient of one process on the joined batch. (A gather without gradient gives 1/world_size of it.)

    Args:
        tensors: matrices (local_batch_size, ...) with the same local_batch_size; it may differ between processes.
            All processes must call with as many tensors.

    Returns:
        For each input (global_batch_size, ...), identical on all processes; the inputs themselves with one process.

    Raises:
        RuntimeError: if a process does not take part before the process group's time-out; names the missing ranks.
    """
    if world_size() == 1:
        return tensors
    local = torch.tensor([tensors[0].shape[0]], device=tensors[0].device)
    sizes = [torch.empty_like(local) for _ in range(world_size())]
    try:
        dist.all_gather(sizes, local)
    except RuntimeError as error:
        raise RuntimeError(
            f"Rank {dist.get_rank()} waits for the embeddings of all {world_size()} processes, {_missing_ranks()} did "
            "not send theirs: every process has to compute the loss of every step (has one of them failed, or run out "
            f"of batches earlier?). {error}"
        ) from error
    rows = torch.cat(sizes).tolist()
    return tuple(_AllGatherRows.apply(tensor, rows) for tensor in tensors)


def all_reduce_with_grad(tensor: torch.Tensor) -> torch.Tensor:
    """Add up a tensor over all processes, keeping the gradient.

    The backward pass adds up the gradients, so after DistributedDataParallel's averaging a loss that every process
    computes from the sum has exactly the gradient of one process, as with `all_gather_with_grad`. It also is exact for
    what only a process's own rows go on from, such as the mean that a normalization subtracts.

    Args:
        tensor: the same shape on every process; all processes must call.

    Returns:
        The sum, identical on all processes; the input itself with one process.
    """
    return tensor if world_size() == 1 else _AllReduceSum.apply(tensor)


def shared_blocks() -> Blocks:
    """The loss functions' `blocks` with which the processes share the work on a joined batch.

    Every process then calls the loss with the same embeddings (those of `all_gather_with_grad`), computes its part of
    the blocks, and gets the whole value and gradient: work batch_size^2 / world_size, memory
    O(batch_size * projection_dim).
    """
    return ALL_BLOCKS if world_size() == 1 else _SharedBlocks(index=dist.get_rank(), count=world_size())


class _SharedBlocks(Blocks):
    """Blocks whose partial results are added over the processes."""

    def sum_(self, *tensors: torch.Tensor) -> None:
        # All are on their way before the first is waited for.
        for work in [dist.all_reduce(tensor, async_op=True) for tensor in tensors]:
            work.wait()


def _missing_ranks() -> str:
    """After a failed exchange: the ranks that do not report within a few seconds that they failed as well."""
    # Only the store is left for this: the failed process group cannot be used any more.
    store = dist.distributed_c10d._get_default_store()
    store.set(f"hf_cloob/waiting/{dist.get_rank()}", "")
    end = time.monotonic() + GRACE_SECONDS
    missing = list(range(world_size()))
    while missing and time.monotonic() < end:
        missing = [rank for rank in missing if not store.check([f"hf_cloob/waiting/{rank}"])]
        time.sleep(0.1)
    return f"rank(s) {', '.join(map(str, missing))}" if missing else "one of them for a moment"


class _AllGatherRows(torch.autograd.Function):
    """Gather matrices of unequal length, padded to the longest because collectives want equal shapes."""

    @staticmethod
    def forward(ctx, tensor: torch.Tensor, rows: list[int]) -> torch.Tensor:
        ctx.rows = rows
        padded = _pad_rows(tensor.contiguous(), max(rows))
        parts = [torch.empty_like(padded) for _ in rows]
        dist.all_gather(parts, padded)
        return torch.cat([part[:count] for part, count in zip(parts, rows, strict=True)])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        longest = max(ctx.rows)
        padded = torch.cat([_pad_rows(part, longest) for part in gradient.split(ctx.rows)])
        own = padded.new_empty((longest, *padded.shape[1:]))
        dist.reduce_scatter_tensor(own, padded)
        return own[: ctx.rows[dist.get_rank()]], None


class _AllReduceSum(torch.autograd.Function):
    """A sum over processes; its transpose is the same sum."""

    @staticmethod
    def forward(ctx, tensor: torch.Tensor) -> torch.Tensor:
        total = tensor.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient: torch.Tensor) -> torch.Tensor:
        total = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total


def _pad_rows(tensor: torch.Tensor, rows: int) -> torch.Tensor:
    return F.pad(tensor, [0, 0] * (tensor.dim() - 1) + [0, rows - tensor.shape[0]])
