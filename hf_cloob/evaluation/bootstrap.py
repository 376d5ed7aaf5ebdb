# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Intervals for figures of one evaluation: its rows are drawn again with replacement, many times, cheaply.

A figure that is a function of means over rows is recomputed from resampled means: one matrix product for all
resamples. A figure over all PAIRS of rows (a U-statistic) is resampled through its first-order projection: with
h_i = mean over j != i of h(i, j), a resample's value is U + 2 (mean*(h_i) - U), which needs means over rows only
(Hoeffding 1948). What it leaves out is of order 1/num_rows.
"""

from collections.abc import Callable

import torch

from .ranking import check_positive

# Rows of one product: a block of the counts becomes float64 for it.
ROWS_AT_ONCE = 4096


def resampled_counts(num_rows: int, num_resamples: int = 500, seed: int = 0) -> torch.Tensor:
    """How often each row is drawn when as many rows as there are are drawn with replacement.

    Args:
        num_rows: rows to draw from.
        num_resamples: resamples; a few hundred are enough for a 95 % interval.
        seed: of the draws.

    Returns:
        (num_resamples, num_rows) int16, every row of it sums to num_rows.

    Raises:
        ValueError: a number below 1.
    """
    check_positive(num_rows=num_rows, num_resamples=num_resamples)
    generator = torch.Generator().manual_seed(seed)
    counts = torch.empty(num_resamples, num_rows, dtype=torch.int16)
    for row in counts:
        drawn = torch.randint(num_rows, (num_rows,), generator=generator)
        row.copy_(torch.bincount(drawn, minlength=num_rows))
    return counts


def resampled_means(
    counts: torch.Tensor, values: torch.Tensor, transform: Callable[[torch.Tensor], torch.Tensor] | None = None
) -> torch.Tensor:
    """Mean of every column in every resample.

    Args:
        counts: (num_resamples, num_rows), see `resampled_counts`; rows that are left out have 0.
        values: (num_rows, num_columns).
        transform: applied to some float64 rows at a time, whose means are then taken: what it makes of all rows is
            never held.

    Returns:
        (num_resamples, num_columns) float64 on the CPU; NaN for a resample without rows.
    """
    sums = 0.0
    for start in range(0, len(values), ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        block = values[rows].double()
        sums = sums + counts[:, rows].double() @ (transform(block) if transform else block).cpu()
    return sums / counts.sum(dim=1, keepdim=True)


def resampled_interval(estimate: float, resampled: torch.Tensor, confidence: float = 0.95) -> tuple[float, float]:
    """The percentiles of the resamples, moved so that their mean is the estimate.

        low, high = estimate + quantile_{(1 -+ confidence) / 2}(resampled - mean(resampled))

    The interval shows how much other rows of the same kind would move the figure. Resampling also shifts figures
    such as norms and ranks to one side (noise lengthens a short vector, repeated rows span less); the plain
    percentiles would leave the estimate itself outside, so this shift is taken out.

    Args:
        estimate: the figure over all rows.
        resampled: (num_resamples,) the figure in every resample; NaN is left out.
        confidence: between 0 and 1.

    Raises:
        ValueError: a confidence outside 0 to 1, or no resample left.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be between 0 and 1; got {confidence}.")
    resampled = resampled[~resampled.isnan()].double()
    if not len(resampled):
        raise ValueError("no resample has a value; an interval needs some.")
    tails = torch.tensor([(1 - confidence) / 2, (1 + confidence) / 2], dtype=torch.float64)
    low, high = (estimate + torch.quantile(resampled - resampled.mean(), tails)).tolist()
    return low, high
