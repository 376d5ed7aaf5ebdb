# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Alignment and the two uniformities against the paper's formulas, their limits and mistakes."""

import pytest
import reference
import torch
from torch.nn.functional import normalize

from hf_cloob import alignment_loss, cross_modal_uniformity_loss, uniformity_loss

PAIRWISE = {
    "alignment": (alignment_loss, reference.alignment),
    "cross_modal_uniformity": (cross_modal_uniformity_loss, reference.cross_modal_uniformity),
    "uniformity": (
        lambda x, y: (uniformity_loss(x) + uniformity_loss(y)) / 2,
        lambda x, y: (reference.uniformity(x) + reference.uniformity(y)) / 2,
    ),
}


def embeddings(pairs: int = 7, width: int = 16, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    images, noise = torch.randn(2, pairs, width, dtype=torch.float64, generator=generator)
    return normalize(images), normalize(images + noise)


@pytest.mark.parametrize("name", PAIRWISE)
def test_value_and_gradients_equal_the_loops(name):
    ours, loops = PAIRWISE[name]
    images, texts = (embeds.float().requires_grad_() for embeds in embeddings())
    loss = ours(images, texts)
    expected = loops(reference.rows(images), reference.rows(texts))
    assert loss.dtype == torch.float32 and loss.dim() == 0
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=1e-5)
    wanted = [x.detach().double().requires_grad_() for x in (images, texts)]
    # The stable form has the printed formula's gradient along the sphere; off the sphere they differ by a multiple of
    # the row, which normalization removes: compare after projecting on the tangent.
    expected_gradients = torch.autograd.grad(loops(reference.rows(wanted[0]), reference.rows(wanted[1])), wanted)
    for row, gradient, target in zip(
        wanted, torch.autograd.grad(loss, [images, texts]), expected_gradients, strict=True
    ):
        torch.testing.assert_close(tangent(gradient.double(), row), tangent(target, row), rtol=1e-5, atol=1e-5)


def tangent(gradient: torch.Tensor, embeds: torch.Tensor) -> torch.Tensor:
    embeds = embeds.detach()
    return gradient - (gradient * embeds).sum(dim=1, keepdim=True) * embeds


@pytest.mark.parametrize("t", [0.5, 2.0, 5.0])
def test_other_widths_of_the_potential_equal_the_loops(t):
    images, texts = embeddings()
    torch.testing.assert_close(uniformity_loss(images, t), reference.uniformity(list(images), t))
    expected = reference.cross_modal_uniformity(list(images), list(texts), t)
    torch.testing.assert_close(cross_modal_uniformity_loss(images, texts, t), expected)


@pytest.mark.parametrize("name", PAIRWISE)
def test_gradcheck_in_float64(name):
    images, texts = (embeds.requires_grad_() for embeds in embeddings(4, 3))
    assert torch.autograd.gradcheck(PAIRWISE[name][0], (images, texts))


def test_collapsed_embeddings_have_uniformity_zero():
    same = normalize(torch.ones(5, 8))
    assert uniformity_loss(same).item() == pytest.approx(0, abs=1e-6)
    assert cross_modal_uniformity_loss(same, same).item() == pytest.approx(0, abs=1e-6)


def test_spread_embeddings_come_near_the_floor():
    for width in (32, 128):
        spread = normalize(torch.randn(2000, width, generator=torch.Generator().manual_seed(0)))
        assert uniformity_loss(spread).item() == pytest.approx(-4 + 8 / width, abs=0.02)


def test_cross_modal_uniformity_does_not_see_matched_pairs():
    images, texts = embeddings(2, 4)
    # With two pairs only x_0~y_1 and x_1~y_0 count: the gradient of x_0 has no part along y_0 - y_1's own partner.
    images = images.requires_grad_()
    gradient = torch.autograd.grad(cross_modal_uniformity_loss(images, texts), images)[0]
    torch.testing.assert_close(normalize(gradient[0], dim=0), texts[1])


def test_alignment_is_zero_for_equal_and_four_for_opposite_pairs_and_takes_one_pair():
    images, _ = embeddings(1)
    assert alignment_loss(images, images).item() == 0
    assert alignment_loss(images, -images).item() == pytest.approx(4)


def test_a_log_of_a_mean_does_not_add_up_over_parts_of_the_batch():
    images, _ = embeddings(8)
    halves = (uniformity_loss(images[:4]) + uniformity_loss(images[4:])) / 2
    assert abs(halves - uniformity_loss(images)) > 0.01


@pytest.mark.parametrize("name", PAIRWISE)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_and_autocast_are_computed_in_float32(name, dtype):
    function = PAIRWISE[name][0]
    images, texts = (embeds.to(dtype) for embeds in embeddings(width=64))
    exact = function(images.float(), texts.float())
    assert function(images, texts).dtype == torch.float32
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(function(images, texts), exact)


@pytest.mark.parametrize("name", PAIRWISE)
def test_mistakes_are_named(name):
    function = PAIRWISE[name][0]
    images, texts = embeddings()
    texts[3, 0] = float("inf")
    with pytest.raises(ValueError, match=r"1 of 7 rows.*\[3\]"):
        function(images, texts)
    if name != "uniformity":
        with pytest.raises(ValueError, match=r"\(7, 16\) and \(6, 16\)"):
            function(images, texts[:6])
        with pytest.raises(ValueError, match="cpu.*meta"):
            function(images, texts.to("meta"))
    if name != "alignment":
        with pytest.raises(ValueError, match=r"at least 2 pairs.*got 1|at least two rows, got \(1, 16\)"):
            function(images[:1], images[:1])
    with pytest.raises(ValueError, match="at least 1 pairs.*got 0|got 0|two rows"):
        function(images[:0], images[:0])


@pytest.mark.parametrize("t", [0, -1.0, float("nan"), float("inf")])
def test_an_impossible_width_of_the_potential_is_named(t):
    images, texts = embeddings()
    for call in (lambda: uniformity_loss(images, t), lambda: cross_modal_uniformity_loss(images, texts, t)):
        with pytest.raises(ValueError, match=f"above 0, got {t}"):
            call()
