# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Hopfield retrieval against the paper's formula and its limits."""

import pytest
import reference
import torch
from torch.nn.functional import normalize

from hf_cloob import hopfield_retrieval


def unit_rows(count: int, width: int = 8, seed: int = 0, dtype=torch.float32) -> torch.Tensor:
    return normalize(torch.randn(count, width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))).to(
        dtype
    )


@pytest.mark.parametrize("scale", [0.5, 8.0, 14.3, 30.0, 100.0])
def test_value_and_gradient_equal_the_loops(scale):
    states, stored = unit_rows(5).requires_grad_(), unit_rows(7, seed=1).requires_grad_()
    probe = torch.randn(5, 8, generator=torch.Generator().manual_seed(2))
    beta = torch.tensor(scale, requires_grad=True)
    ours = hopfield_retrieval(states, stored, beta)
    gradients = torch.autograd.grad((ours * probe).sum(), [states, stored, beta])
    beta64 = torch.tensor(scale, dtype=torch.float64, requires_grad=True)
    theirs = torch.stack(reference.hopfield_retrieval(reference.rows(states), reference.rows(stored), beta64))
    expected = torch.autograd.grad((theirs * probe).sum(), [states, stored, beta64])
    torch.testing.assert_close(ours.double(), theirs, rtol=1e-5, atol=1e-5)
    for gradient, wanted in zip(gradients, expected, strict=True):
        torch.testing.assert_close(gradient.double(), wanted.double(), rtol=1e-5, atol=1e-5)


def test_gradcheck_in_float64():
    states, stored = (unit_rows(n, 3, n, torch.float64).requires_grad_() for n in (3, 4))
    beta = torch.tensor(5.0, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(hopfield_retrieval, (states, stored, beta))


def test_rows_have_unit_norm_whatever_the_norm_of_the_inputs():
    retrieved = hopfield_retrieval(3 * unit_rows(5), 0.1 * unit_rows(6, seed=1), 8.0)
    torch.testing.assert_close(retrieved.norm(dim=1), torch.ones(5))


def test_inputs_are_not_normalized():
    states, stored = unit_rows(5), unit_rows(6, seed=1)
    torch.testing.assert_close(hopfield_retrieval(2 * states, stored, 4.0), hopfield_retrieval(states, stored, 8.0))
    assert not torch.allclose(hopfield_retrieval(2 * states, stored, 8.0), hopfield_retrieval(states, stored, 8.0))


def test_large_scale_returns_the_own_pattern_and_snaps_queries_to_the_nearest():
    states, stored = unit_rows(5), unit_rows(6, seed=1)
    torch.testing.assert_close(hopfield_retrieval(stored, stored, 1e4), stored)
    torch.testing.assert_close(hopfield_retrieval(states, stored, 1e4), stored[(states @ stored.T).argmax(dim=1)])


def test_small_scale_returns_the_direction_of_the_mean():
    stored = unit_rows(6, seed=1)
    expected = normalize(stored.mean(dim=0, keepdim=True)).expand(5, -1)
    torch.testing.assert_close(hopfield_retrieval(unit_rows(5), stored, 1e-7), expected, rtol=1e-5, atol=1e-5)


def test_order_of_the_memory_does_not_matter_and_order_of_the_queries_is_kept():
    states, stored = unit_rows(5), unit_rows(6, seed=1)
    whole = hopfield_retrieval(states, stored, 8.0)
    torch.testing.assert_close(hopfield_retrieval(states, stored[torch.randperm(6)], 8.0), whole)
    order = torch.tensor([3, 1, 4, 0, 2])
    torch.testing.assert_close(hopfield_retrieval(states[order], stored, 8.0), whole[order])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32_and_returned_in_the_state_dtype(dtype):
    states, stored = unit_rows(5).to(dtype), unit_rows(6, seed=1).to(dtype)
    exact = hopfield_retrieval(states.float(), stored.float(), 30.0)
    assert hopfield_retrieval(states, stored, 30.0).dtype == dtype
    assert torch.equal(hopfield_retrieval(states, stored, 30.0), exact.to(dtype))
    assert hopfield_retrieval(states, stored.float(), 30.0).dtype == dtype
    assert torch.equal(hopfield_retrieval(states.float(), stored, 30.0), exact)


def test_float64_stays_float64():
    assert hopfield_retrieval(unit_rows(3, dtype=torch.float64), unit_rows(4), 8.0).dtype == torch.float64


def test_autocast_changes_nothing():
    states, stored = unit_rows(5, 64), unit_rows(6, 64, 1)
    plain = hopfield_retrieval(states, stored, 30.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(hopfield_retrieval(states, stored, 30.0), plain)


@pytest.mark.parametrize("scale", [0, -1, 0.0, -8.0, float("nan"), float("inf")])
def test_an_impossible_number_as_scale_is_named(scale):
    with pytest.raises(ValueError, match=f"hopfield_scale.*above 0, got {scale}"):
        hopfield_retrieval(unit_rows(3), unit_rows(3), scale)


def test_a_scale_given_as_tensor_is_not_looked_at():
    assert hopfield_retrieval(unit_rows(3), unit_rows(3), torch.tensor([-1.0])).isfinite().all()
    with pytest.raises(ValueError, match=r"one element, got shape \(2,\)"):
        hopfield_retrieval(unit_rows(3), unit_rows(3), torch.ones(2))


def test_wrong_shapes_devices_and_values_are_named():
    with pytest.raises(ValueError, match=r"\(3, 8\) and \(4, 9\)"):
        hopfield_retrieval(unit_rows(3), unit_rows(4, 9), 8.0)
    with pytest.raises(ValueError, match=r"\(8,\)"):
        hopfield_retrieval(unit_rows(3)[0], unit_rows(4), 8.0)
    with pytest.raises(ValueError, match="empty"):
        hopfield_retrieval(unit_rows(3), unit_rows(3)[:0], 8.0)
    with pytest.raises(ValueError, match="on cpu and stored_patterns on meta"):
        hopfield_retrieval(unit_rows(3), unit_rows(3).to("meta"), 8.0)
    broken = unit_rows(4)
    broken[2, 0] = float("nan")
    with pytest.raises(ValueError, match=r"stored_patterns.*1 of 4 rows.*\[2\]"):
        hopfield_retrieval(unit_rows(3), broken, 8.0)
    with pytest.raises(ValueError, match="floating point, got torch.int64"):
        hopfield_retrieval(unit_rows(3), torch.ones(3, 8, dtype=torch.int64), 8.0)


def test_no_query_gives_no_row():
    assert hopfield_retrieval(unit_rows(3)[:0], unit_rows(4), 8.0).shape == (0, 8)
