# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Products with batch_size x batch_size matrices that never exist: the kernels under the losses.

A contrastive objective needs few things of its N x N score matrices: logarithms of sums of exponentials, and products
of a softmax (or an exponential, or a sigmoid) of the scores with the embeddings. Each kernel here forms the scores
block by block, uses each block at once, and returns vectors and (batch_size, projection_dim) matrices: exact, with
memory O(batch_size * projection_dim + block^2). Kernels are plain arithmetic without gradients; the losses put their
results together (`blockwise_objectives`). Here is the way through the blocks, and in `blockwise_retrieval` that of the
unnormalized retrievals; what happens to one block is in `blockwise_products` and `blockwise_exponentials`.

All inputs of a call are detached, contiguous and of one dtype, float32 or float64, on one device. `Blocks.precision`
says what their products are made of.

Source of the leverage: the softmax denominator of a Hopfield retrieval cancels when the result is L2-normalized, so
one exponential of x y^T serves the retrievals of both cross directions; x x^T and y y^T are symmetric, so half of
their blocks are enough; and the gradient of a row-wise softmax is formed while its row of blocks is at hand, from the
exponentials that its sum was made of.
"""

import math
from dataclasses import dataclass, replace
from functools import cached_property

import torch

from .blockwise_exponentials import (
    accumulator,
    diagonal,
    log_sum,
    maxima,
    shift_,
    shifted,
    sum_of_weights_,
    total,
    weights_,
)
from .blockwise_products import FULL, HALF, Operand, Precision, add_product_, score_block, wants_half_operands

# Squares of 1 MB: three of them stay in a core's cache. A GPU wants few and large products instead.
CPU_BLOCK_SIZE = 512
GPU_BLOCK_SIZE = 4096
# Of a row of blocks that is kept whole there are fewer rows.
GPU_KEPT_ROWS = 2048


@dataclass(frozen=True)
class Blocks:
    """How the score matrices are cut into square blocks, and which of the blocks this process computes.

    Attributes:
        size: rows and columns of a block; None: what suits the device.
        index: this process, in 0 … count - 1.
        count: number of processes that share the work; each calls the same functions with the same embeddings.
        half_operands: whether the products of float32 embeddings have float16 operands (sums stay float32); None:
            what `blockwise_products.wants_half_operands` says of the inputs.
    """

    size: int | None = None
    index: int = 0
    count: int = 1
    half_operands: bool | None = None

    def sum_(self, *tensors: torch.Tensor) -> None:
        """Add partial results over the processes, in place. One process has everything already."""

    def for_inputs(self, *inputs: torch.Tensor) -> "Blocks":
        """The same blocks, with the precision decided that suits inputs of any floating-point dtype."""
        if any(tensor.dtype == torch.float64 for tensor in inputs):
            return replace(self, half_operands=False)
        return self if self.half_operands is not None else replace(self, half_operands=wants_half_operands(*inputs))

    @property
    def precision(self) -> Precision:
        """What the operands of products are."""
        return HALF if self.half_operands else FULL

    def ranges(self, length: int, device: torch.device, kept: bool = False) -> list[slice]:
        """Consecutive ranges that cover `length` rows; small enough that every process finds some to do.

        Args:
            length: number of rows.
            device: of the rows.
            kept: the rows' blocks are kept until the last column.
        """
        on_gpu = GPU_KEPT_ROWS if kept else GPU_BLOCK_SIZE
        size = self.size or (CPU_BLOCK_SIZE if device.type == "cpu" else on_gpu)
        size = max(1, min(size, math.ceil(length / self.count)))
        return [slice(start, min(start + size, length)) for start in range(0, length, size)]

    def pairs(self, length: int, device: torch.device, symmetric: bool = False) -> list[tuple[slice, slice]]:
        """This process's blocks as (rows, columns); of a symmetric matrix those on and above the diagonal."""
        ranges = self.ranges(length, device)
        pairs = [(rows, columns) for i, rows in enumerate(ranges) for columns in ranges[i if symmetric else 0 :]]
        return pairs[self.index :: self.count]


ALL_BLOCKS = Blocks()


def softmax_products(
    anchors: torch.Tensor,
    candidates: torch.Tensor,
    scale: torch.Tensor,
    exclude_diagonal: bool,
    blocks: Blocks,
    with_products: bool,
) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
    """Row-wise softmax W = softmax_j(scale <a_i, p_j>) and its products with both sides.

    Args:
        anchors: (batch_size, projection_dim) a.
        candidates: (batch_size, projection_dim) p.
        scale: 0-d factor of the scores.
        exclude_diagonal: leave j = i out of every row.
        blocks: see `Blocks`.
        with_products: False if only the sums are wanted.

    Returns:
        log sum_j exp(scale (<a_i, p_j> - <a_i, p_i>)) (batch_size,), W p and W^T a (batch_size, projection_dim) or
        None. Sums are taken relative to the positive: the loss is their difference, which two large numbers would
        lose to rounding.
    """
    length, precision = len(anchors), blocks.precision
    first, second = precision.operand(anchors), precision.operand(candidates)
    scores = _Scores(first, second, scale, precision, exclude_diagonal)
    log_sums = anchors.new_zeros(length)
    anchor_products = torch.zeros_like(anchors) if with_products else None
    candidate_products = torch.zeros_like(candidates) if with_products else None
    unit = precision.weight_unit
    for rows in blocks.ranges(length, anchors.device, kept=True)[blocks.index :: blocks.count]:
        row_sums = anchors.new_full((rows.stop - rows.start,), -math.inf)
        # With products, the exponentials of one row of blocks are kept, relative to each block's largest: a row's
        # sum is known only at its end.
        row_of_blocks = []
        for columns in blocks.ranges(length, anchors.device):
            block, factor = scores.block(rows, columns)
            largest = maxima(block, 1, factor)
            weights = weights_(shift_(block, largest - math.log(unit), factor), precision)
            sums = weights.sum(dim=1, dtype=row_sums.dtype).div_(unit).log_()
            relative = largest.squeeze(1) - scores.positives[rows]
            row_sums = torch.logaddexp(row_sums, sums.add_(relative))
            if with_products:
                row_of_blocks.append((columns, weights, relative))
        log_sums[rows] = row_sums
        for columns, weights, relative in row_of_blocks:
            share = relative.sub_(row_sums).exp_().unsqueeze(1)
            add_product_(anchor_products[rows], weights, second.values[columns], share / (unit * precision.row_unit))
            shared = precision.cast(share * anchors[rows], precision.share_unit)
            add_product_(candidate_products[columns], weights.T, shared, 1 / (unit * precision.share_unit))
    blocks.sum_(log_sums)
    if with_products:
        blocks.sum_(anchor_products, candidate_products)
    return log_sums, anchor_products, candidate_products


def two_way_softmax_products(
    anchors: torch.Tensor,
    candidates: torch.Tensor,
    scale: torch.Tensor,
    exclude_diagonal: bool,
    blocks: Blocks,
    with_products: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
    """The sum S of the row-wise and the column-wise softmax of the scores, and its products with both sides.

    Arguments as in `softmax_products`. Every score is formed twice, because a column's sum is known only at the end.

    Returns:
        log-sums of the rows and of the columns (batch_size,), relative to the positives as in `softmax_products`;
        S p and S^T a (batch_size, projection_dim) or None.
    """
    length, precision = len(anchors), blocks.precision
    first, second = precision.operand(anchors), precision.operand(candidates)
    scores = _Scores(first, second, scale, precision, exclude_diagonal)
    positives = scores.positives
    pairs = blocks.pairs(length, anchors.device)
    partial_sums = anchors.new_zeros(2, blocks.count, length)
    own_sums = partial_sums[:, blocks.index].fill_(-math.inf)
    for rows, columns in pairs:
        block, factor = scores.block(rows, columns)
        by_column = log_sum(block, 0, factor, positives[columns])
        by_row = log_sum(block, 1, factor, positives[rows], overwrite=True)
        own_sums[0, rows] = torch.logaddexp(own_sums[0, rows], by_row)
        own_sums[1, columns] = torch.logaddexp(own_sums[1, columns], by_column)
    blocks.sum_(partial_sums)
    row_sums, column_sums = partial_sums.logsumexp(dim=1)
    if not with_products:
        return row_sums, column_sums, None, None

    anchor_products, candidate_products = torch.zeros_like(anchors), torch.zeros_like(candidates)
    unit = precision.weight_unit
    row_shifts, column_shifts = (positives + sums - math.log(unit) for sums in (row_sums, column_sums))
    for rows, columns in pairs:
        block, factor = scores.block(rows, columns)
        by_column = shifted(block, column_shifts[columns], factor)
        by_row = shift_(block, row_shifts[rows].unsqueeze(1), factor)
        if rows == columns and not exclude_diagonal:
            # A positive's weight is nearly 1, and the gradient what is missing from it: without the rounding above.
            for exponents, sums in ((by_row, row_sums), (by_column, column_sums)):
                exponents.diagonal().copy_(math.log(unit) - sums[rows])
        both = sum_of_weights_(by_row, by_column, precision)
        factor = 1 / (unit * precision.row_unit)
        add_product_(anchor_products[rows], both, second.values[columns], factor)
        add_product_(candidate_products[columns], both.T, first.values[rows], factor)
    blocks.sum_(anchor_products, candidate_products)
    return row_sums, column_sums, anchor_products, candidate_products


def sigmoid_products(
    anchors: torch.Tensor,
    candidates: torch.Tensor,
    scale: torch.Tensor,
    bias: torch.Tensor,
    blocks: Blocks,
    with_products: bool,
) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None, torch.Tensor | None]:
    """Sum of softplus(-z l) over all scores l = scale <a_i, p_j> + bias, z = 1 on the diagonal and -1 elsewhere.

    Returns:
        0-d sum; with G its derivative by the scores l: G p and G^T a (batch_size, projection_dim), 0-d sum of G.
    """
    precision = blocks.precision
    first, second = precision.operand(anchors), precision.operand(candidates)
    value, slope = accumulator(anchors), accumulator(anchors)
    anchor_products = torch.zeros_like(anchors) if with_products else None
    candidate_products = torch.zeros_like(candidates) if with_products else None
    for rows, columns in blocks.pairs(len(anchors), anchors.device):
        left, factor = precision.scaled(first, rows, scale)
        logits = shift_(score_block(left, second.values[columns]), -bias, factor)
        if rows == columns:
            # softplus(-l) on the diagonal, softplus(l) off it: turning the sign there lets one formula serve all.
            logits.diagonal().neg_()
        value += total(torch.nn.functional.softplus(logits))
        if with_products:
            derivative = logits.sigmoid_()
            if rows == columns:
                derivative.diagonal().neg_()
            slope += total(derivative)
            derivative = precision.cast(derivative, precision.weight_unit)
            factor = 1 / (precision.weight_unit * precision.row_unit)
            add_product_(anchor_products[rows], derivative, second.values[columns], factor)
            add_product_(candidate_products[columns], derivative.T, first.values[rows], factor)
    blocks.sum_(value, slope)
    if not with_products:
        return value.to(anchors.dtype), None, None, None
    blocks.sum_(anchor_products, candidate_products)
    return value.to(anchors.dtype), anchor_products, candidate_products, slope.to(anchors.dtype)


@dataclass(frozen=True)
class _Scores:
    """Blocks of a contrast's scores, whose diagonal holds the positives, or -inf where they are excluded."""

    first: Operand
    second: Operand
    scale: torch.Tensor
    precision: Precision
    exclude_diagonal: bool

    @cached_property
    def positives(self) -> torch.Tensor:
        """Scaled scores of the matched pairs, (batch_size,)."""
        return torch.linalg.vecdot(self.first.rows, self.second.rows).mul_(self.scale)

    def block(self, rows: slice, columns: slice) -> tuple[torch.Tensor, torch.Tensor | None]:
        """A new block, and the factor that is missing in it."""
        left, factor = self.precision.scaled(self.first, rows, self.scale)
        block = score_block(left, self.second.values[columns])
        matched = slice(max(rows.start, columns.start), min(rows.stop, columns.stop))
        if matched.start < matched.stop:
            # The same numbers as the positives, not the product's last bits.
            own = self.positives[matched] if factor is None else self.positives[matched] / factor
            diagonal(block, rows, columns).copy_(torch.full_like(own, -math.inf) if self.exclude_diagonal else own)
        return block, factor
