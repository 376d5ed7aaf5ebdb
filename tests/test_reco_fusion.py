# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The fusion layer: the loops' values and gradients, identity at the start, order, missing neighbors, precision."""

import pytest
import reference_reco
import torch
from reference import rows
from tiny_reco import unit_rows

from hf_cloob import RecoFusion
from hf_cloob.configuration_reco import NO_NULL_ENTRY


def layer(num_heads: int = 2, stirred: bool = True, null_score: float = 0.4) -> RecoFusion:
    torch.manual_seed(3)
    fusion = RecoFusion(8, num_heads, 12, readout_null_score=null_score)
    if stirred:
        with torch.no_grad():
            for parameter in fusion.parameters():
                parameter.add_(0.3 * torch.randn_like(parameter))
    return fusion


def neighbors_of(batch_size: int, k: int, seed: int = 4) -> torch.Tensor:
    return unit_rows(batch_size * k, 8, seed).view(batch_size, k, 8)


def scores_of(batch_size: int, k: int) -> torch.Tensor:
    """Cosines, float64, the nearest first."""
    return torch.rand(batch_size, k, dtype=torch.float64).sort(dim=1, descending=True).values


@pytest.mark.parametrize("num_heads", [1, 2, 4])
@pytest.mark.parametrize("k", [0, 1, 3])
@pytest.mark.parametrize("scored", [True, False])
@pytest.mark.parametrize("null_score", [0.4, NO_NULL_ENTRY])
def test_values_and_gradients_are_those_of_the_loops(num_heads, k, scored, null_score):
    fusion = layer(num_heads, null_score=null_score).double()
    queries, neighbors = unit_rows(3, 8).double(), neighbors_of(3, k).double()
    scores = scores_of(3, k) if scored else None
    leaves = [queries.requires_grad_(), neighbors.requires_grad_(), *fusion.parameters()]
    refined = fusion(queries, neighbors, scores)
    looped = zip(rows(queries), neighbors, [None] * 3 if scores is None else scores.unbind(), strict=True)
    expected = [reference_reco.fusion(fusion, query, rows(near), alike) for query, near, alike in looped]
    expected = torch.stack(expected)
    torch.testing.assert_close(refined, expected, rtol=0, atol=1e-12)
    direction = torch.randn_like(refined)
    # Without neighbors nothing depends on them.
    ours, theirs = (
        torch.autograd.grad((out * direction).sum(), leaves, allow_unused=True, materialize_grads=True)
        for out in (refined, expected)
    )
    for first, second in zip(ours, theirs, strict=True):
        torch.testing.assert_close(first, second, rtol=0, atol=1e-12)


def test_a_new_layer_changes_nothing_and_learns():
    fusion, queries, neighbors = layer(stirred=False), unit_rows(4, 8), neighbors_of(4, 3)
    refined = fusion(queries, neighbors, scores_of(4, 3))
    torch.testing.assert_close(refined, queries, rtol=0, atol=1e-7)
    refined[:, 0].sum().backward()
    assert fusion.out_proj.weight.grad.abs().max() > 0 and fusion.fc2.weight.grad.abs().max() > 0
    assert fusion.readout_weight.grad.abs() > 0


def test_with_a_readout_a_new_layer_is_the_hopfield_readout():
    fusion, queries, neighbors, scores = (
        RecoFusion(8, 2, 12, 1.5, 7.0),
        unit_rows(4, 8),
        neighbors_of(4, 3),
        scores_of(4, 3),
    )
    mixed = torch.einsum("nk,nkd->nd", torch.softmax(7.0 * scores, dim=1).float(), neighbors)
    expected = torch.nn.functional.normalize(queries + 1.5 * mixed, dim=1)
    torch.testing.assert_close(fusion(queries, neighbors, scores), expected)
    without_neighbors = fusion(queries, torch.zeros_like(neighbors), scores)
    torch.testing.assert_close(without_neighbors, queries, rtol=0, atol=1e-7)


def readout_layer(null_score: float) -> RecoFusion:
    return RecoFusion(8, 2, 12, 1.5, 7.0, null_score).double()


def test_a_null_entry_far_below_every_cosine_is_no_null_entry():
    queries, neighbors, scores = unit_rows(4, 8).double(), neighbors_of(4, 3).double(), scores_of(4, 3)
    mixed = torch.einsum("nk,nkd->nd", torch.softmax(7.0 * scores, dim=1), neighbors)
    expected = torch.nn.functional.normalize(queries + 1.5 * mixed, dim=1)
    off, low = (readout_layer(null_score)(queries, neighbors, scores) for null_score in (NO_NULL_ENTRY, -10.0))
    torch.testing.assert_close(off, expected, rtol=0, atol=1e-7)
    assert torch.equal(off, low)


def test_a_null_entry_far_above_every_cosine_leaves_the_query():
    queries, neighbors, scores = unit_rows(4, 8).double(), neighbors_of(4, 3).double(), scores_of(4, 3)
    torch.testing.assert_close(readout_layer(10.0)(queries, neighbors, scores), queries, rtol=0, atol=1e-7)


def test_only_neighbors_above_the_null_entry_are_read():
    fusion = RecoFusion(8, 2, 12, 2.0, 200.0, 0.6)
    queries, neighbors = unit_rows(2, 8), neighbors_of(2, 2)
    refined = fusion(queries, neighbors, torch.tensor([[0.8, 0.4], [0.4, 0.3]]))
    found = torch.nn.functional.normalize(queries[0] + 2.0 * neighbors[0, 0], dim=0)
    torch.testing.assert_close(refined, torch.stack([found, queries[1]]))


def test_without_scores_the_null_entry_takes_no_part_and_stays_in_the_graph():
    fusion, queries, neighbors = RecoFusion(8, 2, 12, 2.0, 20.0, 0.6), unit_rows(4, 8), neighbors_of(4, 3)
    expected = torch.nn.functional.normalize(queries + 2.0 * neighbors.mean(dim=1), dim=1)
    refined = fusion(queries, neighbors)
    torch.testing.assert_close(refined, expected)
    refined.sum().backward()
    assert fusion.readout_null_score.grad == 0


def test_a_null_entry_that_is_off_stays_off_and_one_that_is_on_learns():
    for null_score, learns in ((NO_NULL_ENTRY, False), (0.6, True)):
        fusion = RecoFusion(8, 2, 12, 2.0, 20.0, null_score)
        fusion(unit_rows(4, 8), neighbors_of(4, 3), scores_of(4, 3))[:, 0].sum().backward()
        assert bool(fusion.readout_null_score.grad != 0) == learns
        assert fusion.readout_weight.grad != 0 and fusion.readout_log_scale.grad != 0


def test_the_matrix_of_the_readout_sees_what_was_found_and_nothing_else():
    fusion, queries, neighbors, scores = (
        readout_layer(0.6),
        unit_rows(4, 8).double(),
        neighbors_of(4, 3).double(),
        scores_of(4, 3),
    )
    before = fusion(queries, neighbors, scores)
    with torch.no_grad():
        fusion.readout_proj.weight.add_(torch.eye(8))
        fusion.readout_weight.mul_(0.5)
    # 1 + U is 2 here, and the weight half of what it was.
    torch.testing.assert_close(fusion(queries, neighbors, scores), before)
    alone = fusion(queries, torch.zeros_like(neighbors), scores)
    torch.testing.assert_close(alone, queries, rtol=0, atol=1e-7)
    fusion(queries, neighbors, scores)[:, 0].sum().backward()
    assert fusion.readout_proj.weight.grad.abs().max() > 0


def test_the_order_of_neighbors_does_not_matter():
    fusion, queries, neighbors = layer(), unit_rows(4, 8), neighbors_of(4, 5)
    scores = scores_of(4, 5)
    refined = fusion(queries, neighbors, scores)
    torch.testing.assert_close(fusion(queries, neighbors.flip(1), scores.flip(1)), refined)
    assert not torch.allclose(fusion(queries, neighbors, scores.flip(1)), refined, atol=1e-3)
    assert not torch.allclose(fusion(queries, neighbors[:, :4], scores[:, :4]), refined, atol=1e-3)


def test_missing_neighbors_take_no_part():
    fusion, queries, neighbors = layer(), unit_rows(3, 8), neighbors_of(3, 5)
    counts = [0, 2, 5]
    padded = neighbors.clone()
    for row, count in enumerate(counts):
        padded[row, count:] = 0
    scores = scores_of(3, 5)
    refined = fusion(queries, padded, scores)
    for row, count in enumerate(counts):
        alone = fusion(queries[row : row + 1], neighbors[row : row + 1, :count], scores[row : row + 1, :count])
        torch.testing.assert_close(refined[row : row + 1], alone)


def test_half_precision_weights_give_unit_rows_in_float32():
    fusion, queries, neighbors = layer(), unit_rows(4, 8), neighbors_of(4, 5)
    expected = fusion(queries, neighbors)
    refined = fusion.bfloat16()(queries, neighbors.half())
    assert refined.dtype == torch.float32
    torch.testing.assert_close(refined.norm(dim=1), torch.ones(4))
    torch.testing.assert_close(refined, expected, rtol=0, atol=0.05)


@pytest.mark.parametrize("shape", [(4, 8), (3, 2, 8), (4, 2, 6)])
def test_neighbors_that_do_not_fit_are_named(shape):
    with pytest.raises(ValueError, match=rf"got \(4, 8\) and \({', '.join(map(str, shape))}\)"):
        layer()(unit_rows(4, 8), torch.zeros(shape))


def test_scores_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match=r"a score for each of the neighbors \(4, 3\), got \(4, 2\)"):
        layer()(unit_rows(4, 8), neighbors_of(4, 3), scores_of(4, 2))
