# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Exact search against slow loops, over blocks, chunks and segments; its bits depend on query and key alone."""

import pytest
import torch
from reference import rows as float64_rows
from reference_reco import nearest
from tiny_reco import unit_rows

from hf_cloob import reco_search
from hf_cloob.reco_search import exact_search, gather_rows


def keys_of(size: int, width: int = 16, seed: int = 1) -> torch.Tensor:
    return unit_rows(size, width, seed).half()


def blocks_of(keys: torch.Tensor, *ends: int) -> list[torch.Tensor]:
    edges = [0, *ends, len(keys)]
    return [keys[first:last].clone() for first, last in zip(edges, edges[1:], strict=False)]


@pytest.mark.parametrize("num_queries", [1, 7, 8, 33])
def test_neighbors_and_scores_are_those_of_the_loops(num_queries):
    keys, queries = keys_of(300, 8), unit_rows(num_queries, 8)
    scores, rows = exact_search(queries, blocks_of(keys, 5, 6, 200), 4)
    for row, query in enumerate(float64_rows(queries)):
        expected = nearest(query, float64_rows(keys), 4)
        assert rows[row].tolist() == expected
        products = torch.stack([query @ keys[key].double() for key in expected])
        torch.testing.assert_close(scores[row].double(), products, rtol=0, atol=2e-7)


@pytest.mark.parametrize("size", [20_000, 8_192, 8_193])
def test_chunks_and_segments_change_nothing(size, monkeypatch):
    monkeypatch.setattr(reco_search, "SEGMENT", 8_192)
    keys, queries = keys_of(size), unit_rows(300, 16)
    removed = torch.randperm(size)[: size // 3].sort().values
    scores, rows = exact_search(queries, blocks_of(keys, 100, 9_000 if size > 9_000 else 200), 10, removed)
    every_score = queries.double() @ keys.double().T
    every_score[:, removed] = float("-inf")
    expected = every_score.topk(10)
    torch.testing.assert_close(scores.double(), expected.values, rtol=0, atol=2e-7)
    # Different rows only where float64 tells them apart and float32 does not.
    torch.testing.assert_close(every_score.gather(1, rows), expected.values, rtol=0, atol=2e-7)
    assert (rows == expected.indices).float().mean() > 0.999


def test_a_score_does_not_depend_on_other_queries_or_other_rows():
    keys, queries = keys_of(3_000, 24), unit_rows(64, 24)
    scores, rows = exact_search(queries, [keys], 5)
    for row in (0, 13, 63):
        alone = exact_search(queries[row : row + 1], [keys], 5)
        assert torch.equal(alone[0][0], scores[row]) and torch.equal(alone[1][0], rows[row])
    far = -unit_rows(50, 24, 9).half()
    more_scores, more_rows = exact_search(queries, [keys, far], 5)
    kept = more_rows < len(keys)
    places = (more_rows.unsqueeze(2) == rows.unsqueeze(1)) & kept.unsqueeze(2)
    found, same = places.any(dim=2), places.int().argmax(dim=2)
    assert torch.equal(more_scores[found], scores.gather(1, same)[found]) and found.float().mean() > 0.8


def test_equal_scores_come_in_the_order_of_their_rows():
    keys = keys_of(100, 8)[torch.zeros(100, dtype=torch.long)]
    _, rows = exact_search(unit_rows(3, 8), blocks_of(keys, 40), 100)
    assert torch.equal(rows, torch.arange(100).expand(3, -1))


def test_fewer_keys_than_neighbors_are_all_found_and_the_rest_is_marked():
    keys = keys_of(6, 8)
    scores, rows = exact_search(unit_rows(2, 8), [keys], 9, torch.tensor([0, 4]))
    assert [sorted(row) for row in rows.tolist()] == [[-1] * 5 + [1, 2, 3, 5]] * 2
    assert torch.equal(rows == -1, scores == float("-inf"))
    scores, rows = exact_search(unit_rows(2, 8), [keys], 0)
    assert scores.shape == rows.shape == (2, 0)


def test_float64_queries_are_scored_in_float64():
    keys, queries = keys_of(50, 8), unit_rows(3, 8).double()
    scores, rows = exact_search(queries, [keys], 2)
    torch.testing.assert_close(scores, (queries @ keys.double().T).gather(1, rows), rtol=0, atol=1e-15)


@pytest.mark.parametrize("num_queries", [2, 20])
def test_autocast_does_not_make_scores_coarse(num_queries):
    keys, queries = keys_of(4_000, 32), unit_rows(num_queries, 32)
    expected = exact_search(queries, [keys], 10)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = exact_search(queries, [keys], 10)
    assert all(torch.equal(first, second) for first, second in zip(found, expected, strict=True))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("row", [0, 150, 299])
def test_a_key_that_is_no_number_is_an_error_and_not_a_neighbor(value, row):
    keys = keys_of(300, 8)
    keys[row, 3] = value
    with pytest.raises(ValueError, match=f"damaged: the key in row {row} "):
        exact_search(unit_rows(9, 8).abs(), [keys], 2)


def test_rows_are_gathered_over_blocks():
    keys = keys_of(30, 4)
    rows = torch.tensor([29, 0, 7, 7, 12])
    assert torch.equal(gather_rows(blocks_of(keys, 3, 8), rows), keys[rows])
    assert torch.equal(gather_rows([keys], rows), keys[rows])
