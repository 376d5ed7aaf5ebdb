# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What every ranking metric shares: the rule for ties and the checks of its inputs."""

from collections.abc import Sequence

import torch

# Two cosines closer than this are a tie, and a tie counts against the model (the rank is the worst one the tie
# allows). A tolerance, not equality: a matrix product gives equal rows scores that differ in their last bits, by
# their place in a block, so `==` would let rounding decide, and a collapsed model would earn points by luck.
TIE_TOLERANCE = 1e-6

# Allows for rows normalized in bfloat16, and still catches embeddings that nobody normalized.
NORM_TOLERANCE = 1e-2


def check_embeds(name: str, embeds: torch.Tensor) -> torch.Tensor:
    """Returns the embeddings in float32 (float64 stays), or says what is wrong with them.

    Args:
        name: what to call them in a message.
        embeds: (num_rows, projection_dim), rows L2-normalized.

    Raises:
        ValueError: not a floating matrix, no rows, a value that is not finite, a row whose norm is not 1.
    """
    if not isinstance(embeds, torch.Tensor) or embeds.ndim != 2 or not embeds.is_floating_point():
        received = tuple(embeds.shape) if hasattr(embeds, "shape") else embeds
        raise ValueError(f"{name} must be a floating tensor of shape (rows, projection_dim); got {received!r}.")
    if embeds.shape[0] == 0:
        raise ValueError(f"{name} has no rows, shape {tuple(embeds.shape)}; nothing can be measured.")
    embeds = embeds.detach()
    if embeds.dtype != torch.float64:
        embeds = embeds.float()
    norms = torch.linalg.vector_norm(embeds, dim=-1)
    # One pass: a row with NaN or infinity has such a norm too.
    bad = (~torch.isfinite(norms)).nonzero().flatten()
    if bad.numel():
        raise ValueError(f"{name} has values that are not finite in {bad.numel()} rows, the first is row {bad[0]}.")
    bad = ((norms - 1).abs() > NORM_TOLERANCE).nonzero().flatten()
    if bad.numel():
        raise ValueError(
            f"{name} must have L2-normalized rows; {bad.numel()} rows have not, the first is row {bad[0]} "
            f"with norm {norms[bad[0]]:.4g}."
        )
    return embeds


def check_same_dim(**embeds: torch.Tensor) -> None:
    """Raises ValueError unless all embeddings, given by name, have one projection_dim."""
    if len({value.shape[1] for value in embeds.values()}) > 1:
        shapes = ", ".join(f"{name} {tuple(value.shape)}" for name, value in embeds.items())
        raise ValueError(f"embeddings must share one projection_dim; got {shapes}.")


def check_indices(name: str, values: torch.Tensor, length: int | None, upper: int, meaning: str) -> torch.Tensor:
    """Returns whole numbers 0..upper−1 as a (length,) int64 tensor, or says which value is wrong.

    Raises:
        ValueError: another shape or length, numbers that are not whole, a value outside 0..upper−1.
    """
    values = torch.as_tensor(values)
    if values.ndim != 1 or (length is not None and len(values) != length):
        wanted = "(n,)" if length is None else f"({length},)"
        raise ValueError(f"{name} must have shape {wanted}; got {tuple(values.shape)}.")
    if values.is_floating_point() or values.is_complex() or values.dtype == torch.bool:
        raise ValueError(f"{name} must hold whole numbers; got {values.dtype}.")
    bad = ((values < 0) | (values >= upper)).nonzero().flatten()
    if bad.numel():
        place = int(bad[0])
        raise ValueError(f"{name}[{place}] is {int(values[place])}; {meaning} are 0 to {upper - 1}.")
    return values.long()


def check_ks(ks: Sequence[int]) -> tuple[int, ...]:
    """Returns the cut-offs as a tuple, or raises ValueError unless all are whole numbers from 1 up."""
    ks = tuple(ks)
    if not ks or any(not isinstance(k, int) or isinstance(k, bool) or k < 1 for k in ks):
        raise ValueError(f"ks must be whole numbers from 1 up, at least one; got {ks!r}.")
    return ks


def check_positive(**sizes: int) -> None:
    """Raises ValueError unless every size, given by name, is at least 1."""
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name} must be at least 1; got {size!r}.")
