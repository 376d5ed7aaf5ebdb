# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Losses between views equal the papers' formulas in value and gradient; what is a target gets no gradient."""

import math

import pytest
import reference_noncontrastive as reference
import torch
from reference import rows
from torch.nn import functional as F

from hf_cloob.losses_noncontrastive import (
    barlow_twins_loss,
    cross_correlation,
    negative_cosine_loss,
    redundancy_loss,
    rocket_loss,
    simclr_loss,
    sinkhorn_knopp,
    strong_pairs_loss,
    swalip_loss,
)

EXACT = {"rtol": 1e-10, "atol": 1e-13}
# Name: (number of matrices, ours, the reference), both of matrices and t.
LOSSES = {
    "barlow_twins": (
        2,
        lambda m, t: t * barlow_twins_loss(*m, off_diagonal_weight=0.3),
        lambda m, t: t * reference.barlow_twins(*m, off_diagonal_weight=0.3),
    ),
    "negative_cosine": (
        2,
        lambda m, t: t * negative_cosine_loss(*m),
        lambda m, t: t * reference.negative_cosine(*m),
    ),
    "swalip": (4, lambda m, t: swalip_loss(m[:2], m[2:], t), lambda m, t: reference.swalip(m[:2], m[2:], t)),
    "simclr": (2, lambda m, t: simclr_loss(*m, t), lambda m, t: reference.simclr(*m, t)),
    "strong_pairs": (
        5,
        lambda m, t: strong_pairs_loss(m[:2], m[2:], t, 0.1),
        lambda m, t: reference.strong_pairs(m[:2], m[2:], t, 0.1),
    ),
    "rocket": (
        4,
        lambda m, t: rocket_loss(m[0].sum() * t, strong_pairs_loss(m[:2], m[2:], t, 0.2), 2),
        lambda m, t: (sum(row.sum() for row in m[0]) * t + 2 * reference.strong_pairs(m[:2], m[2:], t, 0.2)) / 3,
    ),
}


def unit_rows(num_rows: int, width: int, seed: int = 0, dtype=torch.float64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(num_rows, width, generator=generator, dtype=dtype), dim=1)


@pytest.mark.parametrize("name", LOSSES)
def test_value_and_every_gradient_equal_the_loops(name):
    count, loss, slow = LOSSES[name]
    matrices = [unit_rows(5, 4, seed).requires_grad_() for seed in range(count)]
    t = torch.tensor(7.0, dtype=torch.float64, requires_grad=True)
    ours, expected = loss(matrices, t), slow([rows(matrix) for matrix in matrices], t)
    torch.testing.assert_close(ours, expected, **EXACT)
    inputs = [*matrices, t]
    options = {"allow_unused": True, "materialize_grads": True}
    for gradient, wanted in zip(
        torch.autograd.grad(ours, inputs, **options), torch.autograd.grad(expected, inputs, **options), strict=True
    ):
        torch.testing.assert_close(gradient, wanted, **EXACT)


def test_targets_of_the_negative_cosine_get_no_gradient_and_predictions_do():
    predictions, targets = (unit_rows(6, 3, seed).requires_grad_() for seed in (1, 2))
    loss = negative_cosine_loss(predictions, targets)
    by_predictions, by_targets = torch.autograd.grad(loss, [predictions, targets], allow_unused=True)
    assert by_targets is None and by_predictions.norm() > 0
    torch.testing.assert_close(loss, (predictions - targets).square().sum(dim=1).mean())


def test_assignments_are_constants_of_the_swapped_loss():
    views = [unit_rows(6, 3, seed).requires_grad_() for seed in range(4)]
    assert not sinkhorn_knopp(views[0] @ views[2].T).requires_grad
    (gradient,) = torch.autograd.grad(swalip_loss(views[:2], views[2:], 5.0), views[:1])
    # A finite difference sees the targets move, the gradient must not.
    step = torch.zeros_like(views[0])
    step[0, 0] = 1e-5
    with torch.no_grad():
        moved = [swalip_loss([views[0] + sign * step, views[1]], views[2:], 5.0) for sign in (1, -1)]
    assert abs((moved[0] - moved[1]) / 2e-5 - gradient[0, 0]) > 0.01


def test_sinkhorn_marginals_are_uniform_within_a_thousandth():
    scores = unit_rows(256, 256, 1) @ unit_rows(256, 256, 2).T
    assignments = sinkhorn_knopp(scores)
    assert (assignments.sum(dim=1) - 1).abs().max() < 1e-12
    assert (assignments.sum(dim=0) - 1).abs().max() < 1e-3
    # Twins on the diagonal, as a trained model has them, converge slower: 3 iterations leave half a percent.
    trained = sinkhorn_knopp(0.4 * scores + 0.6 * torch.eye(256, dtype=torch.float64))
    assert (trained.sum(dim=0) - 1).abs().max() < 1e-2
    assert torch.equal(trained.argmax(dim=1), torch.arange(256))


def test_more_sinkhorn_iterations_come_closer_to_uniform_columns_of_hard_scores():
    scores = unit_rows(40, 8, 1) @ unit_rows(40, 8, 2).T
    errors = [(sinkhorn_knopp(scores, n).sum(dim=0) - 1).abs().max() for n in (1, 3, 10, 300)]
    assert errors == sorted(errors, reverse=True) and errors[-1] < 1e-3 < errors[1]


def test_sinkhorn_equals_its_loop_for_more_columns_than_rows():
    scores = unit_rows(4, 5, 1) @ unit_rows(7, 5, 2).T
    expected = torch.tensor(reference.sinkhorn(scores.tolist()), dtype=torch.float64)
    torch.testing.assert_close(sinkhorn_knopp(scores), expected, **EXACT)


def test_sinkhorn_of_extreme_scores_stays_finite_in_float32():
    assignments = sinkhorn_knopp(torch.eye(8) * 2 - 1, epsilon=0.005)
    assert assignments.isfinite().all() and torch.allclose(assignments, torch.eye(8), atol=1e-6)


def test_identical_standardized_views_without_correlations_cost_nothing():
    features = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])
    assert barlow_twins_loss(features, features) == 0
    assert barlow_twins_loss(features, -features) == pytest.approx(0.025 * 2 * 4)


def test_shares_of_the_correlation_add_up_to_that_of_the_whole_batch():
    first, second = unit_rows(7, 3, 1), unit_rows(7, 3, 2)
    shares = [cross_correlation(first[rows], second[rows], 7) for rows in (slice(0, 5), slice(5, 7), slice(7, 7))]
    torch.testing.assert_close(sum(shares), cross_correlation(first, second), **EXACT)
    torch.testing.assert_close(redundancy_loss(sum(shares)), barlow_twins_loss(first, second), **EXACT)


def test_simclr_of_equal_views_is_the_logarithm_of_all_others():
    same = torch.ones(4, 1)
    assert simclr_loss(same, same, 3.0) == pytest.approx(math.log(7))


def test_simclr_never_counts_a_view_as_its_own_negative():
    # With itself as a candidate the loss of unit views could not fall below log 2 as t grows.
    twins = torch.eye(4)
    assert simclr_loss(twins, twins, 50.0) < 1e-6


def test_smoothing_is_on_strong_pairs_only_and_views_count_alike():
    weak = torch.tensor(3.0)
    assert rocket_loss(weak, torch.tensor(1.5), 2) == pytest.approx((3 + 2 * 1.5) / 3)
    images, texts = [unit_rows(5, 4, 1)], [unit_rows(5, 4, 2)]
    repeated = strong_pairs_loss(images * 3, texts * 3, 5.0)
    torch.testing.assert_close(repeated, strong_pairs_loss(images, texts, 5.0), **EXACT)
    assert strong_pairs_loss(images, texts, 5.0, 0.0) != strong_pairs_loss(images, texts, 5.0, 0.1)


@pytest.mark.parametrize("name", LOSSES)
def test_half_precision_under_autocast_is_computed_in_float32(name):
    count, loss, _ = LOSSES[name]
    halves = [unit_rows(6, 4, seed).bfloat16() for seed in range(count)]
    expected = loss([half.double() for half in halves], torch.tensor(7.0, dtype=torch.float64))
    with torch.autocast("cpu", torch.bfloat16):
        result = loss(halves, torch.tensor(7.0))
    assert result.dtype == torch.float32
    # The sum in front of the combination is the test's own.
    torch.testing.assert_close(result.double(), expected, rtol=1e-5 if name != "rocket" else 0.05, atol=1e-5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: swalip_loss([x] * 3, [x] * 2, 1.0), "swapped between two views, got 3 of images and 2 of texts"),
        (lambda x: strong_pairs_loss([x], [], 1.0), "1 image views and 0 text views"),
        (lambda x: sinkhorn_knopp(x, 0), "num_iterations must be at least 1, got 0"),
        (lambda x: sinkhorn_knopp(x, 3, 0.0), "epsilon must be above 0, got 0"),
        (lambda x: simclr_loss(x[:1], x[:1]), "at least 2 pairs in the global batch, got 1"),
        (lambda x: simclr_loss(x, x, -1.0), "inverse_temperature must be a finite number above 0, got -1"),
        (lambda x: negative_cosine_loss(x, x[:2]), "predictions and targets must both have the shape"),
        (lambda x: barlow_twins_loss(x[:1], x[:1]), "at least 2 pairs"),
        (lambda x: barlow_twins_loss(x / 0, x), "image_features holds NaN or infinite values"),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(unit_rows(4, 3))
