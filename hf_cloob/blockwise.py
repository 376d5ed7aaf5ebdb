# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Products with batch_size x batch_size matrices that never exist: the kernels under the losses.

A contrastive objective needs few things of its N x N score matrices: logarithms of sums of exponentials, and products
of a softmax (or an exponential, or a sigmoid) of the scores with the embeddings. Each kernel here forms the scores
block by block, uses each block at once, and returns vectors and (batch_size, projection_dim) matrices: exact, with
memory O(batch_size * projection_dim + block^2). Kernels are plain arithmetic without gradients; the losses put their
results together (`losses_contrastive`, `losses_regularization`).

All inputs of a call are detached, contiguous and of one dtype, float32 or float64, on one device.

Source of the leverage: the softmax denominator of a Hopfield retrieval cancels when the result is L2-normalized, so
one exponential of x y^T serves the retrievals of both cross directions; x x^T and y y^T are symmetric, so half of
their blocks are enough; and the gradient of a row-wise softmax is formed while its row of blocks is at hand.
"""

import math
from dataclasses import dataclass

import torch

# Squares of 1 MB: three of them stay in a core's cache. A GPU wants few and large products instead.
CPU_BLOCK_SIZE = 512
GPU_BLOCK_SIZE = 4096
# exp(-2 * 40) is still a normal float32: up to here all scores of unit rows can share one shift.
LARGEST_SHARED_SCALE = 40.0


@dataclass(frozen=True)
class Blocks:
    """How the score matrices are cut into square blocks, and which of the blocks this process computes.

    Attributes:
        size: rows and columns of a block; None: what suits the device.
        index: this process, in 0 … count - 1.
        count: number of processes that share the work; each calls the same functions with the same embeddings.
    """

    size: int | None = None
    index: int = 0
    count: int = 1

    def sum_(self, *tensors: torch.Tensor) -> None:
        """Add partial results over the processes, in place. One process has everything already."""

    def ranges(self, length: int, device: torch.device) -> list[slice]:
        """Consecutive ranges that cover `length` rows; small enough that every process finds some to do."""
        size = self.size or (CPU_BLOCK_SIZE if device.type == "cpu" else GPU_BLOCK_SIZE)
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
    length = len(anchors)
    positives = _positives(anchors, candidates, scale)
    ranges = blocks.ranges(length, anchors.device)
    log_sums = anchors.new_zeros(length)
    anchor_products = torch.zeros_like(anchors) if with_products else None
    candidate_products = torch.zeros_like(candidates) if with_products else None
    for rows in ranges[blocks.index :: blocks.count]:
        scaled = scale * anchors[rows]
        row_sums = scaled.new_full((len(scaled),), -math.inf)
        # With products, the blocks of one row of blocks are kept: a row's sum is known only at its end.
        row_of_blocks = []
        for columns in ranges:
            block = score_block(scaled, candidates[columns]).sub_(positives[rows].unsqueeze(1))
            if rows == columns:
                block.fill_diagonal_(-math.inf if exclude_diagonal else 0.0)
            row_sums = torch.logaddexp(row_sums, block.logsumexp(dim=1))
            if with_products:
                row_of_blocks.append(block)
        log_sums[rows] = row_sums
        for block, columns in zip(row_of_blocks, ranges, strict=False):
            block.sub_(row_sums.unsqueeze(1)).exp_()
            _add_product_(anchor_products[rows], block, candidates[columns])
            _add_product_(candidate_products[columns], block.T, anchors[rows])
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
    length, device = len(anchors), anchors.device
    positives = _positives(anchors, candidates, scale)
    pairs = blocks.pairs(length, device)
    partial_sums = anchors.new_zeros(2, blocks.count, length)
    own_sums = partial_sums[:, blocks.index].fill_(-math.inf)

    def score_blocks(rows: slice, columns: slice) -> tuple[torch.Tensor, torch.Tensor]:
        """The block's scores relative to the positives of its rows, and to those of its columns."""
        by_row = score_block(scale * anchors[rows], candidates[columns])
        by_column = by_row - positives[columns]
        by_row.sub_(positives[rows].unsqueeze(1))
        if rows == columns:
            for block in (by_row, by_column):
                block.fill_diagonal_(-math.inf if exclude_diagonal else 0.0)
        return by_row, by_column

    for rows, columns in pairs:
        by_row, by_column = score_blocks(rows, columns)
        own_sums[0, rows] = torch.logaddexp(own_sums[0, rows], by_row.logsumexp(dim=1))
        own_sums[1, columns] = torch.logaddexp(own_sums[1, columns], by_column.logsumexp(dim=0))
    blocks.sum_(partial_sums)
    row_sums, column_sums = partial_sums.logsumexp(dim=1)
    if not with_products:
        return row_sums, column_sums, None, None

    anchor_products, candidate_products = torch.zeros_like(anchors), torch.zeros_like(candidates)
    for rows, columns in pairs:
        by_row, by_column = score_blocks(rows, columns)
        both = by_row.sub_(row_sums[rows].unsqueeze(1)).exp_().add_(by_column.sub_(column_sums[columns]).exp_())
        _add_product_(anchor_products[rows], both, candidates[columns])
        _add_product_(candidate_products[columns], both.T, anchors[rows])
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
    total, slope = _accumulator(anchors), _accumulator(anchors)
    anchor_products = torch.zeros_like(anchors) if with_products else None
    candidate_products = torch.zeros_like(candidates) if with_products else None
    for rows, columns in blocks.pairs(len(anchors), anchors.device):
        logits = score_block(scale * anchors[rows], candidates[columns]).add_(bias)
        if rows == columns:
            # softplus(-l) on the diagonal, softplus(l) off it: turning the sign there lets one formula serve all.
            logits.diagonal().neg_()
        total += torch.nn.functional.softplus(logits).sum(dtype=total.dtype)
        if with_products:
            derivative = logits.sigmoid_()
            if rows == columns:
                derivative.diagonal().neg_()
            slope += derivative.sum(dtype=slope.dtype)
            _add_product_(anchor_products[rows], derivative, candidates[columns])
            _add_product_(candidate_products[columns], derivative.T, anchors[rows])
    blocks.sum_(total, slope)
    if not with_products:
        return total.to(anchors.dtype), None, None, None
    blocks.sum_(anchor_products, candidate_products)
    return total.to(anchors.dtype), anchor_products, candidate_products, slope.to(anchors.dtype)


@dataclass(frozen=True)
class Shifts:
    """What is subtracted from the scaled scores before the exponential, so that it neither overflows nor vanishes.

    Attributes:
        rows: (batch_size, 1), or (1, 1) for one shift of all scores.
        columns: (1, batch_size), or None where the rows' shift serves both.
    """

    rows: torch.Tensor
    columns: torch.Tensor | None = None

    def exponentials(self, scores: torch.Tensor, rows: slice, columns: slice) -> tuple[torch.Tensor, torch.Tensor]:
        """exp(scores - shift) for the retrievals of the rows and of the columns; overwrites `scores`."""
        by_column = None if self.columns is None else (scores - self.columns[:, columns]).exp_()
        by_row = scores.sub_(self.rows if len(self.rows) == 1 else self.rows[rows]).exp_()
        return by_row, by_row if by_column is None else by_column


def is_small(scale: float | torch.Tensor) -> bool:
    """Whether scores of unit rows times `scale` can share one shift; False where looking would wait for a device."""
    if isinstance(scale, torch.Tensor) and scale.device.type != "cpu":
        return False
    return float(scale) <= LARGEST_SHARED_SCALE


def retrieval_shifts(
    first: torch.Tensor, second: torch.Tensor, scale: torch.Tensor, small_scale: bool, blocks: Blocks
) -> Shifts:
    """Shifts for `Exponentials` whose products are L2-normalized afterwards, so that any shift is exact.

    Scores of unit rows are at most `scale`. That serves all of them if the smallest, -scale, is not too far below, or
    if the memory is its own query, when every row holds the largest possible score. Otherwise the largest score of
    each row and column is looked for, which costs one more product.
    """
    if _have_unit_rows(first, second) and (small_scale or first is second):
        return Shifts(scale.reshape(1, 1))
    row_maxima, column_maxima = _largest_scores(first, second, scale, blocks)
    return Shifts(row_maxima.unsqueeze(1), column_maxima.unsqueeze(0))


def shared_shift(
    first: torch.Tensor, second: torch.Tensor, scale: torch.Tensor, small_scale: bool, blocks: Blocks
) -> torch.Tensor:
    """One shift (0-d) for the sum of the exponentials off the diagonal: `scale`, or the largest if that is large."""
    if _have_unit_rows(first, second) and small_scale:
        return scale
    return _largest_scores(first, second, scale, blocks, exclude_diagonal=True)[0].amax()


def _have_unit_rows(first: torch.Tensor, second: torch.Tensor) -> bool:
    """Looked up on the CPU; elsewhere looking would synchronize, and the callers' promise is believed."""
    if first.device.type != "cpu":
        return True
    norms = torch.cat([first.norm(dim=1), second.norm(dim=1)])
    return bool(((norms - 1).abs() < 0.02).all())


def _largest_scores(
    first: torch.Tensor, second: torch.Tensor, scale: torch.Tensor, blocks: Blocks, exclude_diagonal: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """The largest scaled score of every row and of every column, (batch_size,) each."""
    maxima = first.new_zeros(2, blocks.count, len(first))
    own_maxima = maxima[:, blocks.index].fill_(-math.inf)
    for rows, columns in blocks.pairs(len(first), first.device):
        block = score_block(scale * first[rows], second[columns])
        if exclude_diagonal and rows == columns:
            block.fill_diagonal_(-math.inf)
        own_maxima[0, rows] = torch.maximum(own_maxima[0, rows], block.amax(dim=1))
        own_maxima[1, columns] = torch.maximum(own_maxima[1, columns], block.amax(dim=0))
    blocks.sum_(maxima)
    row_maxima, column_maxima = maxima.amax(dim=1)
    return row_maxima, column_maxima


class Exponentials:
    """E = exp(scale x y^T - shift), which exists block by block: products with both sides, and their derivatives.

    Its products are the unnormalized Hopfield retrievals of x from the memory y and of y from the memory x.

    Args:
        first: (batch_size, projection_dim) x.
        second: (batch_size, projection_dim) y; the same object as `first` for a symmetric E, of which half is formed.
        scale: 0-d factor of the scores.
        shifts: see `Shifts`.
        blocks: see `Blocks`.
        keep: keep blocks of the products for the derivatives, as many as two embedding matrices would take (one of
            a symmetric E). That is all of a batch up to 2 projection_dim; what is not kept is formed again.
    """

    def __init__(
        self,
        first: torch.Tensor,
        second: torch.Tensor,
        scale: torch.Tensor,
        shifts: Shifts,
        blocks: Blocks,
        keep: bool = False,
    ):
        self.first, self.second, self.scale, self.shifts, self.blocks = first, second, scale, shifts, blocks
        self.symmetric = first is second
        self._pairs = blocks.pairs(len(first), first.device, self.symmetric)
        self._room = (1 if self.symmetric else 2) * first.numel() if keep else 0
        self._kept: dict[tuple[int, int], tuple[torch.Tensor, torch.Tensor]] = {}

    def products(self, exclude_diagonal: bool = False) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """E y and E^T x (batch_size, projection_dim), the same tensor for a symmetric E, and the 0-d sum of E."""
        first, second = self.first, self.second
        from_second = torch.zeros_like(first)
        from_first = from_second if self.symmetric else torch.zeros_like(second)
        total = _accumulator(first)
        for rows, columns in self._pairs:
            by_row, by_column = self._form(rows, columns)
            if exclude_diagonal and rows == columns:
                by_row.fill_diagonal_(0)
                by_column.fill_diagonal_(0)
            mirrored = self.symmetric and rows != columns
            total += by_row.sum(dtype=total.dtype) * (2 if mirrored else 1)
            _add_product_(from_second[rows], by_row, second[columns])
            if mirrored or not self.symmetric:
                _add_product_(from_first[columns], by_column.T, first[rows])
        self.blocks.sum_(total, *([from_second] if self.symmetric else [from_second, from_first]))
        return from_second, from_first, total

    def add_derivatives(
        self,
        gradients: tuple[torch.Tensor, torch.Tensor],
        into: tuple[torch.Tensor, torch.Tensor],
    ) -> torch.Tensor:
        """Chain rule through `products`; this process's part of the derivatives is added to `into`.

        Args:
            gradients: derivatives of the loss by E y and by E^T x, (batch_size, projection_dim) each; twice the same
                tensor where E is symmetric.
            into: accumulators of the derivatives by x and by y; twice the same tensor where E is symmetric.

        Returns:
            0-d derivative by `scale`, this process's part. The shifts count as constants: they cancel later.
        """
        first, second = self.first, self.second
        (row_gradients, column_gradients), (into_first, into_second) = gradients, into
        by_scale = _accumulator(first)
        for rows, columns in self._pairs:
            by_row, by_column = self._kept.pop((rows.start, columns.start), None) or self._form(rows, columns)
            # The derivative by the scores: E * (g x' + x g'), as one matrix while one exponential serves both.
            slopes = score_block(row_gradients[rows], second[columns])
            if by_row is by_column:
                _add_product_(slopes, first[rows], column_gradients[columns].T).mul_(by_row)
            else:
                slopes.mul_(by_row).add_(score_block(first[rows], column_gradients[columns]).mul_(by_column))
            mirrored = self.symmetric and rows != columns
            by_first = score_block(slopes, second[columns].T)
            # A block on the diagonal of a symmetric matrix holds each of its pairs twice.
            twice = self.symmetric and not mirrored
            by_scale += torch.dot(by_first.flatten(), first[rows].flatten()) / (2 if twice else 1)
            _add_product_(into_first[rows].add_(by_first.mul_(self.scale)), by_column, column_gradients[columns])
            if mirrored or not self.symmetric:
                _add_product_(into_second[columns], slopes.T, self.scale * first[rows])
                _add_product_(into_second[columns], by_row.T, row_gradients[rows])
        return by_scale

    def _form(self, rows: slice, columns: slice) -> tuple[torch.Tensor, torch.Tensor]:
        """One block for the retrievals of its rows and of its columns, kept if there is room."""
        scores = score_block(self.scale * self.first[rows], self.second[columns])
        formed = self.shifts.exponentials(scores, rows, columns)
        elements = sum(block.numel() for block in set(formed))
        if elements <= self._room:
            self._room -= elements
            self._kept[rows.start, columns.start] = formed
        return formed


def score_block(rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """rows columns^T, a new matrix."""
    if _use_onednn(rows):
        return torch.ops.mkldnn._linear_pointwise(rows, columns, None, "none", [], "")
    return rows @ columns.T


def _add_product_(into: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """into += left right"""
    return into.add_(score_block(left, right.T)) if _use_onednn(left) else into.addmm_(left, right)


def _use_onednn(operand: torch.Tensor) -> bool:
    """Whether float32 products on the CPU go to oneDNN, which torch is built with, instead of to torch's BLAS.

    MKL takes the slow path on CPUs of other makers: on an AMD EPYC with AVX-512, oneDNN is about twice as fast. The
    choice is a property of the machine, not a measurement, so that two runs on it give the same bits. The operator is
    not public; without it, torch's products serve.
    """
    return (
        operand.dtype == torch.float32
        and operand.device.type == "cpu"
        and torch.backends.mkldnn.is_available()
        and torch.backends.mkldnn.enabled
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )


def _positives(anchors: torch.Tensor, candidates: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Scaled scores of the matched pairs, (batch_size,)."""
    return torch.linalg.vecdot(anchors, candidates).mul_(scale)


def _accumulator(like: torch.Tensor) -> torch.Tensor:
    """0-d zero for billions of terms, float64 where the device has it."""
    return torch.zeros((), dtype=torch.float32 if like.device.type == "mps" else torch.float64, device=like.device)
