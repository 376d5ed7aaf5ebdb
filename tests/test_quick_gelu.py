# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The numbers of transformers' QuickGELU, with less kept for the backward."""

import pytest
import torch
from tiny_models import CLIP_TEXT, CLIP_VISION, tiny_cloob
from torch.autograd.graph import saved_tensors_hooks
from transformers.activations import QuickGELUActivation

from hf_cloob.quick_gelu import QuickGELU


def states(dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return (3 * torch.randn(7, 33)).to(dtype).requires_grad_()


def kept_for_backward(activation: torch.nn.Module) -> int:
    kept = set()
    with saved_tensors_hooks(lambda tensor: kept.add(tensor.data_ptr()) or tensor, lambda tensor: tensor):
        result = activation(states())
    assert result.requires_grad
    return len(kept)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_values_are_those_of_transformers_to_the_last_bit(dtype):
    hidden_states = states(dtype)
    expected = QuickGELUActivation()(hidden_states)
    assert torch.equal(QuickGELU()(hidden_states), expected)
    with torch.no_grad():
        assert torch.equal(QuickGELU()(hidden_states), expected)


def test_the_gradient_is_autograds():
    hidden_states = states(torch.float64)
    gradient = torch.randn(7, 33, dtype=torch.float64)
    results = [
        torch.autograd.grad(activation(hidden_states), hidden_states, gradient)[0]
        for activation in (QuickGELU(), QuickGELUActivation())
    ]
    torch.testing.assert_close(*results, rtol=1e-12, atol=1e-12)


def test_there_is_a_second_derivative():
    hidden_states = torch.randn(9, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(QuickGELU(), hidden_states)
    assert torch.autograd.gradgradcheck(QuickGELU(), hidden_states)


def test_only_the_input_is_kept_for_the_backward():
    assert kept_for_backward(QuickGELU()) == 1
    assert kept_for_backward(QuickGELUActivation()) == 2


def test_it_can_be_differentiated_sample_by_sample():
    hidden_states = states(torch.float64).detach()
    of_each = torch.func.vmap(torch.func.grad(lambda row: QuickGELU()(row).sum()))(hidden_states)
    hidden_states.requires_grad_()
    QuickGELUActivation()(hidden_states).sum().backward()
    torch.testing.assert_close(of_each, hidden_states.grad)


def test_clip_towers_have_it_unless_they_are_made_with_another_activation():
    def activations(text: dict) -> set[type]:
        model = tiny_cloob(text=text, vision=CLIP_VISION)
        return {type(layer.mlp.activation_fn) for layer in model.text_model.encoder.layers}

    assert activations(CLIP_TEXT) == {QuickGELU}
    assert QuickGELU not in activations(CLIP_TEXT | {"hidden_act": "gelu"})
