# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Derivatives that come with their value: what autograd makes of them."""

import torch
from test_blockwise import embeddings

from hf_cloob.blockwise import ALL_BLOCKS
from hf_cloob.blockwise_objectives import Contrast, contrast, differentiable


def squares(x: torch.Tensor, y: torch.Tensor, with_derivatives: bool) -> Contrast:
    value = (x * y).sum()
    return Contrast(value, y.clone(), x.clone()) if with_derivatives else Contrast(value)


def test_the_given_derivatives_are_scaled_by_what_follows_and_may_be_used_twice():
    x, y = torch.randn(2, 3, 4, requires_grad=True)
    loss = 3 * differentiable(squares, x, y) ** 2
    for _ in range(2):
        by_x, by_y = torch.autograd.grad(loss, [x, y], retain_graph=True)
        torch.testing.assert_close(by_x, 6 * (x * y).sum() * y)
        torch.testing.assert_close(by_y, 6 * (x * y).sum() * x)


def test_inputs_without_gradient_get_none_and_no_graph_is_made_where_none_is_wanted():
    x, y = torch.randn(3, 4, requires_grad=True), torch.randn(3, 4)
    differentiable(squares, x, y).backward()
    assert torch.equal(x.grad, y) and y.grad is None
    assert not differentiable(squares, x.detach(), y).requires_grad
    with torch.no_grad():
        assert not differentiable(squares, x, y).requires_grad


def test_both_directions_are_the_sum_of_each():
    x, y = embeddings(9)
    t = torch.tensor(14.3, dtype=torch.float64)
    for exclude in (False, True):
        both = contrast(x, y, t, ALL_BLOCKS, True, exclude_positive=exclude, both_directions=True)
        there, back = (contrast(*pair, t, ALL_BLOCKS, True, exclude_positive=exclude) for pair in ((x, y), (y, x)))
        torch.testing.assert_close(both.value, there.value + back.value)
        torch.testing.assert_close(both.first, there.first + back.second)
        torch.testing.assert_close(both.second, there.second + back.first)
        torch.testing.assert_close(both.scale, there.scale + back.scale)
