# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Exponentials of all scores, block by block: the unnormalized Hopfield retrievals and the sums of potentials.

What `blockwise` says of its kernels holds here too. Exponentials need a shift that keeps them in range, and whoever
divides them by something of their own kind may choose any.
"""

import math
from dataclasses import dataclass

import torch

from .blockwise import Blocks
from .blockwise_exponentials import accumulator, maxima, shift_, shifted, slopes_, sum_of_slopes_, total, weights_
from .blockwise_products import FULL, Operand, add_product_, score_block

# Exponentials are kept for the derivatives where that saves forming at least this share of them again.
LEAST_KEPT_SHARE = 0.1


@dataclass(frozen=True)
class Shifts:
    """What is subtracted from the scaled scores before the exponential, so that it neither overflows nor vanishes.

    Attributes:
        rows: (batch_size, 1), or (1, 1) for one shift of all scores.
        columns: (1, batch_size), or None where the rows' shift serves both.
    """

    rows: torch.Tensor
    columns: torch.Tensor | None = None


def is_small(scale: float | torch.Tensor, largest: float = FULL.largest_shared_scale) -> bool:
    """Whether scores of unit rows times `scale` can share one shift; False where looking would wait for a device."""
    if isinstance(scale, torch.Tensor):
        return scale.device.type == "cpu" and bool(scale.detach() <= largest)
    return scale <= largest


def retrieval_shifts(
    first: torch.Tensor, second: torch.Tensor, scale: torch.Tensor, small_scale: bool, blocks: Blocks
) -> Shifts:
    """Shifts for `Exponentials` whose products are L2-normalized afterwards, so that any shift is exact.

    Scores of unit rows are at most `scale`. That serves all of them if the smallest, -scale, is not too far below, or
    if the memory is its own query, when every row holds the largest possible score. Otherwise the largest score of
    each row and column is looked for, which costs one more product.
    """
    longest, have_unit_rows = _row_lengths(first, second)
    if have_unit_rows and (small_scale or first is second):
        return Shifts((scale * longest).reshape(1, 1))
    row_maxima, column_maxima = _largest_scores(first, second, scale, blocks)
    return Shifts(row_maxima.unsqueeze(1), column_maxima.unsqueeze(0))


def shared_shift(
    first: torch.Tensor, second: torch.Tensor, scale: torch.Tensor, small_scale: bool, blocks: Blocks
) -> torch.Tensor:
    """One shift (0-d) for the sum of the exponentials off the diagonal: about `scale`, or the largest score."""
    longest, have_unit_rows = _row_lengths(first, second)
    if have_unit_rows and small_scale:
        return scale * longest
    return _largest_scores(first, second, scale, blocks, exclude_diagonal=True)[0].amax()


def _row_lengths(first: torch.Tensor, second: torch.Tensor) -> tuple[torch.Tensor, bool]:
    """The largest possible product of two rows, 0-d, and whether all have unit length.

    Rows that were normalized in half precision are a little longer than 1, for which float16 has no room. The second
    is looked up on the CPU; elsewhere looking would synchronize, and the callers' promise is believed.
    """
    first_lengths, second_lengths = first.norm(dim=1), second.norm(dim=1)
    longest = first_lengths.amax() * second_lengths.amax()
    if first.device.type != "cpu":
        return longest, True
    return longest, all(bool(((lengths - 1).abs() < 0.02).all()) for lengths in (first_lengths, second_lengths))


def _largest_scores(
    first: torch.Tensor, second: torch.Tensor, scale: torch.Tensor, blocks: Blocks, exclude_diagonal: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """The largest scaled score of every row and of every column, (batch_size,) each."""
    precision = blocks.precision
    left, right = precision.operand(first), precision.operand(second)
    largest = first.new_zeros(2, blocks.count, len(first))
    own_largest = largest[:, blocks.index].fill_(-math.inf)
    for rows, columns in blocks.pairs(len(first), first.device):
        scaled, factor = precision.scaled(left, rows, scale)
        block = score_block(scaled, right.values[columns])
        if exclude_diagonal and rows == columns:
            block.fill_diagonal_(-math.inf)
        own_largest[0, rows] = torch.maximum(own_largest[0, rows], maxima(block, 1, factor).squeeze(1))
        own_largest[1, columns] = torch.maximum(own_largest[1, columns], maxima(block, 0, factor).squeeze(0))
    blocks.sum_(largest)
    row_maxima, column_maxima = largest.amax(dim=1)
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
            a symmetric E). That is all of a batch up to 2 projection_dim, and nothing where it is less than a tenth;
            what is not kept is formed again.
    """

    def __init__(
        self,
        first: Operand,
        second: Operand,
        scale: torch.Tensor,
        shifts: Shifts,
        blocks: Blocks,
        keep: bool = False,
    ):
        self.first, self.second, self.scale, self.shifts, self.blocks = first, second, scale, shifts, blocks
        self.symmetric, self.precision = first is second, blocks.precision
        length, width = first.rows.shape
        self._pairs = blocks.pairs(length, first.rows.device, self.symmetric)
        keep = keep and 2 * width >= LEAST_KEPT_SHARE * length
        self._room = (1 if self.symmetric else 2) * length * width if keep else 0
        self._kept: dict[tuple[int, int], tuple[torch.Tensor, torch.Tensor]] = {}

    def products(self) -> tuple[torch.Tensor, torch.Tensor]:
        """E y and E^T x (batch_size, projection_dim), the same tensor for a symmetric E."""
        return self._products(exclude_diagonal=False)[:2]

    def products_off_diagonal(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The same with E's diagonal replaced by zeros, and the 0-d sum of all that is left of E."""
        return self._products(exclude_diagonal=True)

    def _products(self, exclude_diagonal: bool) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        first, second = self.first, self.second
        from_second = torch.zeros_like(first.rows)
        from_first = from_second if self.symmetric else torch.zeros_like(second.rows)
        sum_ = accumulator(first.rows)
        factor = 1 / (self.precision.weight_unit * self.precision.row_unit)
        for rows, columns in self._pairs:
            by_row, by_column = self._form(rows, columns)
            mirrored = self.symmetric and rows != columns
            if exclude_diagonal:
                if rows == columns:
                    by_row.fill_diagonal_(0)
                    by_column.fill_diagonal_(0)
                sum_ += total(by_row) * ((2 if mirrored else 1) / self.precision.weight_unit)
            add_product_(from_second[rows], by_row, second.values[columns], factor)
            if mirrored or not self.symmetric:
                add_product_(from_first[columns], by_column.T, first.values[rows], factor)
        self.blocks.sum_(sum_, *([from_second] if self.symmetric else [from_second, from_first]))
        return from_second, from_first, sum_

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
        first, second, precision = self.first, self.second, self.precision
        into_first, into_second = into
        by_scale = accumulator(first.rows)
        unit = precision.gradient_unit(*gradients)
        by_row_gradients = precision.cast(gradients[0], unit)
        by_column_gradients = by_row_gradients if self.symmetric else precision.cast(gradients[1], unit)
        # What the products below are to be multiplied with.
        of_weights = 1 / (precision.weight_unit * unit)
        of_slopes = 1 / (precision.slope_unit * precision.weight_unit * precision.row_unit**2 * unit)
        for rows, columns in self._pairs:
            by_row, by_column = self._kept.pop((rows.start, columns.start), None) or self._form(rows, columns)
            slopes = self._slopes(rows, columns, by_row_gradients, by_column_gradients, by_row, by_column)
            mirrored = self.symmetric and rows != columns
            by_first = score_block(slopes, second.values[columns].T)
            # A block on the diagonal of a symmetric matrix holds each of its pairs twice.
            share = of_slopes / 2 if self.symmetric and not mirrored else of_slopes
            by_scale += torch.dot(by_first.flatten(), first.rows[rows].flatten()) * share
            into_first[rows].addcmul_(by_first, self.scale * of_slopes)
            add_product_(into_first[rows], by_column, by_column_gradients[columns], of_weights)
            if mirrored or not self.symmetric:
                add_product_(into_second[columns], slopes.T, first.values[rows], self.scale * of_slopes)
                add_product_(into_second[columns], by_row.T, by_row_gradients[rows], of_weights)
        return by_scale

    def _slopes(
        self,
        rows: slice,
        columns: slice,
        by_row_gradients: torch.Tensor,
        by_column_gradients: torch.Tensor,
        by_row: torch.Tensor,
        by_column: torch.Tensor,
    ) -> torch.Tensor:
        """A block of the derivative by the scores, E * (g x' + x g'), as an operand."""
        left = by_row_gradients[rows], self.first.values[rows]
        right = self.second.values[columns], by_column_gradients[columns]
        if by_row is by_column:
            # One matrix while one exponential serves both, and one product of twice the width.
            return slopes_(score_block(torch.cat(left, dim=1), torch.cat(right, dim=1)), by_row, self.precision)
        of_rows, of_columns = map(score_block, left, right)
        return sum_of_slopes_(of_rows, by_row, of_columns, by_column, self.precision)

    def _form(self, rows: slice, columns: slice) -> tuple[torch.Tensor, torch.Tensor]:
        """One block for the retrievals of its rows and of its columns, kept if there is room."""
        left, factor = self.precision.scaled(self.first, rows, self.scale)
        scores = score_block(left, self.second.values[columns])
        lowered = math.log(self.precision.weight_unit)
        by_column = None
        if self.shifts.columns is not None:
            by_column = shifted(scores, self.shifts.columns[:, columns] - lowered, factor)
            by_column = weights_(by_column, self.precision)
        row_shifts = self.shifts.rows if len(self.shifts.rows) == 1 else self.shifts.rows[rows]
        by_row = weights_(shift_(scores, row_shifts - lowered, factor), self.precision)
        formed = (by_row, by_row if by_column is None else by_column)
        elements = sum(block.numel() for block in set(formed))
        if elements <= self._room:
            self._room -= elements
            self._kept[rows.start, columns.start] = formed
        return formed
