# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The global batch: the one file that touches torch.distributed."""

import torch
import torch.distributed as dist
from torch.nn import functional as F


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
    """
    if world_size() == 1:
        return tensors
    local = torch.tensor([tensors[0].shape[0]], device=tensors[0].device)
    sizes = [torch.empty_like(local) for _ in range(world_size())]
    dist.all_gather(sizes, local)
    rows = torch.cat(sizes).tolist()
    return tuple(_AllGatherRows.apply(tensor, rows) for tensor in tensors)


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


def _pad_rows(tensor: torch.Tensor, rows: int) -> torch.Tensor:
    return F.pad(tensor, [0, 0] * (tensor.dim() - 1) + [0, rows - tensor.shape[0]])
