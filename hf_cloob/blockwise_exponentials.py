# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The elementwise passes over a block of scores: scores become weights, in as few passes as torch has operators for.

On a GPU these passes take longer than the products between them. So a missing factor of the scores (see
`blockwise_products.Precision.scaled`) joins the subtraction of the shift, and a pass that ends in a half operand
writes float16 itself. All arithmetic is float32, or float64; where a function ends in `_`, it may overwrite its block.
"""

import torch

from .blockwise_products import Precision

Factor = torch.Tensor | None


def diagonal(block: torch.Tensor, rows: slice, columns: slice) -> torch.Tensor:
    """The part of the whole matrix's diagonal that runs through a block, a view; empty beside the diagonal."""
    return block.diagonal(rows.start - columns.start)


def shift_(block: torch.Tensor, shift: torch.Tensor, factor: Factor) -> torch.Tensor:
    """factor * block - shift, in place."""
    return block.sub_(shift) if factor is None else torch.addcmul(-shift, block, factor, out=block)


def shifted(block: torch.Tensor, shift: torch.Tensor, factor: Factor) -> torch.Tensor:
    """factor * block - shift, a new matrix."""
    return block - shift if factor is None else torch.addcmul(-shift, block, factor)


def maxima(block: torch.Tensor, dim: int, factor: Factor) -> torch.Tensor:
    """The largest factor * score of every row (dim=1) or column (dim=0), kept as a column or row; finite always."""
    largest = block.amax(dim=dim, keepdim=True)
    # A row of nothing but excluded scores: its exponentials must become 0, not NaN.
    largest = largest.clamp_min_(torch.finfo(block.dtype).min / 2**40)
    return largest if factor is None else largest.mul_(factor)


def log_sum(
    block: torch.Tensor, dim: int, factor: Factor, positives: torch.Tensor, overwrite: bool = False
) -> torch.Tensor:
    """log sum exp(factor * block) along `dim` less `positives`: their difference, not that of two large numbers."""
    largest = maxima(block, dim, factor)
    exponents = shift_(block, largest, factor) if overwrite else shifted(block, largest, factor)
    return exponents.exp_().sum(dim=dim).log_().add_(largest.squeeze(dim) - positives)


def weights_(exponents: torch.Tensor, precision: Precision) -> torch.Tensor:
    """exp(exponents), as an operand. The unit of weights is the caller's: its logarithm belongs into the shift."""
    return exponents.exp_() if precision.dtype is None else torch.exp(exponents, out=precision.empty_like(exponents))


def sum_of_weights_(first: torch.Tensor, second: torch.Tensor, precision: Precision) -> torch.Tensor:
    """exp(first) + exp(second), as an operand."""
    first, second = first.exp_(), second.exp_()
    return first.add_(second) if precision.dtype is None else torch.add(first, second, out=precision.empty_like(first))


def slopes_(products: torch.Tensor, weights: torch.Tensor, precision: Precision) -> torch.Tensor:
    """products * weights, as an operand in `Precision.slope_unit`."""
    if precision.dtype is None:
        return products.mul_(weights)
    zero = products.new_zeros(())
    return torch.addcmul(zero, products, weights, value=precision.slope_unit, out=precision.empty_like(products))


def sum_of_slopes_(
    first: torch.Tensor,
    by_row: torch.Tensor,
    second: torch.Tensor,
    by_column: torch.Tensor,
    precision: Precision,
) -> torch.Tensor:
    """first * by_row + second * by_column, as an operand in `Precision.slope_unit`."""
    if precision.dtype is None:
        return first.mul_(by_row).addcmul_(second, by_column)
    torch.addcmul(first.new_zeros(()), first, by_row, value=precision.slope_unit, out=first)
    return torch.addcmul(first, second, by_column, value=precision.slope_unit, out=precision.empty_like(first))


def total(block: torch.Tensor) -> torch.Tensor:
    """Sum of a block, 0-d: rows in float32 at least, of which there are billions of terms' worth, in float64."""
    rows = block.sum(dim=1, dtype=torch.promote_types(block.dtype, torch.float32))
    return rows.sum(dtype=accumulator(block).dtype)


def accumulator(like: torch.Tensor) -> torch.Tensor:
    """0-d zero for billions of terms, float64 where the device has it."""
    return torch.zeros((), dtype=torch.float32 if like.device.type == "mps" else torch.float64, device=like.device)
