# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The three terms of RECO's loss: the loops' values and gradients, and what each term is for."""

import pytest
import reference_reco
import torch
from reference import rows
from tiny_reco import unit_rows

from hf_cloob import clip_loss, reco_loss


def test_values_and_gradients_are_those_of_the_loops():
    embeds = [unit_rows(5, 6, seed).double().requires_grad_() for seed in range(4)]
    loss = reco_loss(*embeds, 12.0)["loss"]
    expected = reference_reco.reco(*map(rows, embeds), 12.0)
    torch.testing.assert_close(loss, expected, rtol=0, atol=1e-12)
    ours, theirs = torch.autograd.grad(loss, embeds), torch.autograd.grad(expected, embeds)
    for first, second in zip(ours, theirs, strict=True):
        assert second.abs().max() > 1e-3
        torch.testing.assert_close(first, second, rtol=0, atol=1e-12)


def test_the_terms_are_named_after_what_is_refined():
    x, y, refined_x, refined_y = (unit_rows(5, 6, seed) for seed in range(4))
    losses = reco_loss(x, y, refined_x.requires_grad_(), refined_y, 12.0)
    torch.testing.assert_close(losses["refined_loss"], clip_loss(refined_x, refined_y, 12.0).detach())
    torch.testing.assert_close(losses["refined_image_loss"], clip_loss(refined_x, y, 12.0).detach())
    torch.testing.assert_close(losses["refined_text_loss"], clip_loss(x, refined_y, 12.0).detach())
    terms = [value for name, value in losses.items() if name != "loss"]
    torch.testing.assert_close(losses["loss"].detach(), sum(terms))
    assert losses["loss"].requires_grad and not any(term.requires_grad for term in terms)


def test_a_pair_alone_is_refused():
    with pytest.raises(ValueError, match="at least 2 pairs"):
        reco_loss(*(unit_rows(1, 6) for _ in range(4)), 12.0)
