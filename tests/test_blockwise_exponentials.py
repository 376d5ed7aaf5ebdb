# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The passes over a block: the same numbers with a factor outside as inside, and in range as half operands."""

import math

import pytest
import torch

from hf_cloob import blockwise_exponentials as passes
from hf_cloob.blockwise_products import FULL, HALF


def block(seed: int = 0) -> torch.Tensor:
    return 5 * torch.randn(6, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_a_factor_outside_of_the_scores_is_as_good_as_inside():
    scores, factor, shift = block(), torch.tensor(0.25, dtype=torch.float64), torch.arange(6.0).double().unsqueeze(1)
    torch.testing.assert_close(passes.shifted(scores, shift, factor), scores / 4 - shift)
    torch.testing.assert_close(passes.shifted(scores / 4, shift, None), scores / 4 - shift)
    for dim in (0, 1):
        torch.testing.assert_close(passes.maxima(scores, dim, factor), (scores / 4).amax(dim, keepdim=True))
    overwritten = scores.clone()
    assert passes.shift_(overwritten, shift, factor) is overwritten
    torch.testing.assert_close(overwritten, scores / 4 - shift)


@pytest.mark.parametrize("overwrite", [False, True])
def test_log_sums_are_relative_to_the_positives(overwrite):
    scores, positives = 100 + block(), 100 + torch.arange(9.0).double()
    expected = scores.logsumexp(dim=0) - positives
    torch.testing.assert_close(passes.log_sum(scores, 0, None, positives, overwrite), expected)


def test_a_row_of_excluded_scores_sums_to_nothing_instead_of_nan():
    scores = torch.full((2, 3), -math.inf)
    scores[1, 2] = 4.0
    assert passes.maxima(scores, 1, None).isfinite().all()
    assert passes.log_sum(scores, 1, None, torch.zeros(2)).tolist() == [-math.inf, 4.0]


def test_weights_become_halves_in_their_unit():
    exponents = -block().abs().float()
    lowered = exponents + math.log(HALF.weight_unit)
    for found, unit in (
        (passes.weights_(lowered.clone(), HALF), HALF.weight_unit),
        (passes.sum_of_weights_(lowered.clone(), lowered.clone(), HALF), 2 * HALF.weight_unit),
    ):
        assert found.dtype == torch.float16
        torch.testing.assert_close(found.float() / unit, exponents.exp(), rtol=2**-10, atol=1e-9)
    assert torch.equal(passes.weights_(exponents.clone(), FULL), exponents.exp())


def test_slopes_stay_in_range_at_both_limits():
    products = torch.full((2, 2), HALF.row_unit * HALF.gradient_limit)
    weights = torch.full((2, 2), HALF.weight_unit, dtype=torch.float16)
    slopes = passes.slopes_(products, weights, HALF)
    assert slopes.dtype == torch.float16 and (slopes == HALF.weight_unit).all()
    both = passes.sum_of_slopes_(products.clone(), weights, products.clone(), weights, HALF)
    assert both.dtype == torch.float16 and (both == 2 * HALF.weight_unit).all()


def test_the_diagonal_of_the_whole_matrix_is_found_in_every_block():
    whole = torch.zeros(7, 7)
    for rows in (slice(0, 2), slice(2, 5), slice(5, 7)):
        for columns in (slice(0, 3), slice(3, 7)):
            passes.diagonal(whole[rows, columns], rows, columns).add_(1)
    assert torch.equal(whole, torch.eye(7))


def test_a_total_of_halves_does_not_overflow():
    ones = torch.full((300, 400), 1000.0, dtype=torch.float16)
    assert passes.total(ones).item() == 300 * 400 * 1000
    assert passes.total(ones).dtype == torch.float64
