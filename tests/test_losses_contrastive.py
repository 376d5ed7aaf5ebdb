# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Contrastive losses against the papers' formulas, their identities and transformers' own losses."""

import math

import pytest
import reference
import torch
from torch.nn.functional import normalize
from transformers import SiglipConfig, SiglipModel
from transformers.models.clip.modeling_clip import image_text_contrastive_loss

from hf_cloob import clip_loss, cloob_loss, hopfield_retrieval, info_loob_loss, info_nce_loss, sigmoid_loss

PAIRS, WIDTH = 7, 16
LOSSES = {
    "info_nce": (info_nce_loss, reference.info_nce),
    "info_loob": (info_loob_loss, reference.info_loob),
    "clip": (clip_loss, reference.clip),
    "clip_smoothed": (
        lambda x, y, t: clip_loss(x, y, t, label_smoothing=0.1),
        lambda x, y, t: reference.clip(x, y, t, label_smoothing=0.1),
    ),
    "clip_retrieved": (
        lambda x, y, t: clip_loss(x, y, t, hopfield_scale=8.0),
        lambda x, y, t: reference.clip(x, y, t, beta=8.0),
    ),
    "loob_without_retrieval": (
        lambda x, y, t: cloob_loss(x, y, t, None),
        lambda x, y, t: reference.cloob(x, y, t, None),
    ),
    "sigmoid": (lambda x, y, t: sigmoid_loss(x, y, t, -10.0), lambda x, y, t: reference.sigmoid(x, y, t, -10.0)),
    **{
        f"cloob_{beta}": (
            lambda x, y, t, beta=beta: cloob_loss(x, y, t, beta),
            lambda x, y, t, beta=beta: reference.cloob(x, y, t, beta),
        )
        for beta in (8.0, 14.3, 30.0)
    },
}


def embeddings(pairs: int = PAIRS, width: int = WIDTH, alignment: float = 1.0, seed: int = 0):
    """Unit rows, float64; the texts lean towards their images by `alignment`."""
    generator = torch.Generator().manual_seed(seed)
    images, noise = torch.randn(2, pairs, width, dtype=torch.float64, generator=generator)
    return normalize(images), normalize(alignment * images + noise)


def assert_within(ours: torch.Tensor, wanted: torch.Tensor, tolerance: float) -> None:
    error = (ours.double() - wanted.double()).abs() / wanted.double().abs().clamp_min(1)
    assert error.max() <= tolerance, f"{error.max():.2e} > {tolerance:.0e}"


def value_and_gradients(function, images, texts, t, autocast_dtype=None):
    images, texts = images.detach().requires_grad_(), texts.detach().requires_grad_()
    scale = torch.tensor(t, dtype=images.dtype, requires_grad=True)
    with torch.autocast("cpu", dtype=autocast_dtype, enabled=autocast_dtype is not None):
        loss = function(images, texts, scale)
    return loss.detach(), torch.autograd.grad(loss, [images, texts, scale])


def reference_value_and_gradients(function, images, texts, t):
    return value_and_gradients(
        lambda x, y, scale: function(reference.rows(x), reference.rows(y), scale), images.double(), texts.double(), t
    )


@pytest.mark.parametrize("t", [1.0, 14.3, 30.0, 100.0])
@pytest.mark.parametrize("name", LOSSES)
def test_value_and_gradients_equal_the_loops(name, t):
    ours, loops = LOSSES[name]
    for alignment in (0.0, 1.0, 4.0):
        images, texts = (embeds.float() for embeds in embeddings(alignment=alignment))
        value, gradients = value_and_gradients(ours, images, texts, t)
        expected, expected_gradients = reference_value_and_gradients(loops, images, texts, t)
        assert value.dtype == torch.float32 and value.dim() == 0
        assert_within(value, expected, 1e-5)
        for gradient, wanted in zip(gradients, expected_gradients, strict=True):
            assert_within(gradient, wanted, 1e-5)


@pytest.mark.parametrize("name", ["cloob_8.0", "cloob_30.0", "clip"])
def test_value_and_gradients_equal_the_loops_at_a_realistic_width(name):
    ours, loops = LOSSES[name]
    images, texts = (embeds.float() for embeds in embeddings(24, 512))
    value, gradients = value_and_gradients(ours, images, texts, 100.0)
    expected, expected_gradients = reference_value_and_gradients(loops, images, texts, 100.0)
    assert_within(value, expected, 1e-5)
    for gradient, wanted in zip(gradients, expected_gradients, strict=True):
        assert_within(gradient, wanted, 1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_float32_equals_float64_on_a_large_batch(name):
    function = LOSSES[name][0]
    images, texts = (embeds.float() for embeds in embeddings(512, 256))
    value, gradients = value_and_gradients(function, images, texts, 100.0)
    expected, expected_gradients = value_and_gradients(function, images.double(), texts.double(), 100.0)
    assert_within(value, expected, 1e-5)
    for gradient, wanted in zip(gradients, expected_gradients, strict=True):
        assert_within(gradient, wanted, 1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_a_scale_of_1000_is_finite_and_within_a_thousandth_of_it(name):
    ours, loops = LOSSES[name]
    images, texts = (embeds.float() for embeds in embeddings())
    value, gradients = value_and_gradients(ours, images, texts, 1000.0)
    expected, expected_gradients = reference_value_and_gradients(loops, images, texts, 1000.0)
    assert abs(value.item() - expected.item()) <= 1.0
    for gradient, wanted in zip(gradients, expected_gradients, strict=True):
        assert gradient.isfinite().all()
        assert (gradient.double() - wanted).abs().max() <= 1.0


@pytest.mark.parametrize("name", LOSSES)
def test_gradcheck_in_float64(name):
    images, texts = (embeds.requires_grad_() for embeds in embeddings(4, 3))
    t = torch.tensor(9.0, dtype=torch.float64, requires_grad=True)
    assert LOSSES[name][0](images, texts, t).dtype == torch.float64
    assert torch.autograd.gradcheck(LOSSES[name][0], (images, texts, t))


def test_gradcheck_of_the_retrieval_scale_and_the_bias():
    images, texts = embeddings(4, 3)
    for function in (lambda beta: cloob_loss(images, texts, 9.0, beta), lambda b: sigmoid_loss(images, texts, 9.0, b)):
        assert torch.autograd.gradcheck(function, torch.tensor(3.0, dtype=torch.float64, requires_grad=True))


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_inputs_are_computed_and_returned_in_float32(name, dtype):
    function = LOSSES[name][0]
    images, texts = (embeds.to(dtype) for embeds in embeddings(width=64))
    loss = function(images, texts, 100.0)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, function(images.float(), texts.float(), 100.0))


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_changes_neither_value_nor_gradients(name, dtype):
    function = LOSSES[name][0]
    images, texts = (embeds.float() for embeds in embeddings(width=64))
    value, gradients = value_and_gradients(function, images, texts, 100.0)
    cast_value, cast_gradients = value_and_gradients(function, images, texts, 100.0, autocast_dtype=dtype)
    assert torch.equal(value, cast_value)
    assert all(map(torch.equal, gradients, cast_gradients))


def test_two_dtypes_are_joined_in_the_wider_one():
    images, texts = embeddings()
    exact = cloob_loss(images, texts.bfloat16().double(), 30.0, 8.0)
    assert torch.equal(cloob_loss(images, texts.bfloat16(), 30.0, 8.0), exact)


# -- identities of METHODS: the papers' algebra --


def test_info_loob_without_tau_is_info_nce_plus_the_mean_log_of_what_the_positive_leaves():
    images, texts = embeddings()
    t = 14.3
    positives = (t * images @ texts.T).softmax(dim=1).diagonal()
    expected = info_nce_loss(images, texts, t) + torch.log1p(-positives).mean()
    torch.testing.assert_close(t * info_loob_loss(images, texts, t), expected)


def test_info_loob_ignores_the_positive_in_the_denominator():
    anchors, candidates = torch.eye(4, dtype=torch.float64), embeddings(4, 4)[1].clone().requires_grad_()
    gradient = torch.autograd.grad(info_loob_loss(anchors, candidates, 30.0), candidates)[0]
    # d/d<a_i, p_i> is exactly tau * (-t / N), whatever the positive's share of a softmax would be.
    torch.testing.assert_close(gradient.diagonal(), torch.full((4,), -0.25, dtype=torch.float64))


@pytest.mark.parametrize("pairs", [2, 5, 8])
def test_orthonormal_pairs_without_retrieval_give_minus_t_plus_log_of_the_negatives(pairs):
    eye = torch.eye(pairs, dtype=torch.float64)
    t = 30.0
    assert t * info_loob_loss(eye, eye, t).item() == pytest.approx(-t + math.log(pairs - 1))
    assert t * cloob_loss(eye, eye, t, None).item() == pytest.approx(2 * (-t + math.log(pairs - 1)))


@pytest.mark.parametrize("hopfield_scale", [None, 0.5, 8.0, 30.0])
@pytest.mark.parametrize("pairs", [2, 3, 9])
def test_equal_embeddings_give_two_tau_log_of_the_negatives(pairs, hopfield_scale):
    same = normalize(torch.ones(pairs, 5, dtype=torch.float64))
    expected = 2 / 30 * math.log(pairs - 1)
    assert cloob_loss(same, same, 30.0, hopfield_scale).item() == pytest.approx(expected, abs=1e-12)


def test_two_pairs_without_retrieval_are_a_difference_of_similarities():
    images, texts = embeddings(2)
    scores = images @ texts.T
    expected = 2 * (scores[0, 1] + scores[1, 0] - scores[0, 0] - scores[1, 1]) / 2
    torch.testing.assert_close(cloob_loss(images, texts, 30.0, None), expected)


def test_large_retrieval_scale_snaps_cross_queries_and_is_not_raw_info_loob():
    images, texts = embeddings(alignment=0.3)
    from_images = images[(texts @ images.T).argmax(dim=1)]
    from_texts = texts[(images @ texts.T).argmax(dim=1)]
    expected = info_loob_loss(images, from_images, 30.0) + info_loob_loss(texts, from_texts, 30.0)
    torch.testing.assert_close(cloob_loss(images, texts, 30.0, 1e5), expected)
    assert abs(expected - cloob_loss(images, texts, 30.0, None)) > 0.01


def test_small_retrieval_scale_makes_every_row_the_mean_of_its_memory():
    images, texts = embeddings(9)
    assert cloob_loss(images, texts, 30.0, 1e-9).item() == pytest.approx(2 / 30 * math.log(8), abs=1e-6)


def test_cloob_is_the_sum_of_the_two_memories_with_the_text_query_as_anchor_of_the_text_memory():
    images, texts = embeddings()
    terms = [
        info_loob_loss(hopfield_retrieval(q, memory, 8.0), hopfield_retrieval(other, memory, 8.0), 30.0)
        for q, other, memory in ((images, texts, images), (texts, images, texts))
    ]
    torch.testing.assert_close(cloob_loss(images, texts, 30.0, 8.0), terms[0] + terms[1])
    swapped = info_loob_loss(hopfield_retrieval(images, texts, 8.0), hopfield_retrieval(texts, texts, 8.0), 30.0)
    assert abs(swapped - terms[1]) > 1e-4


def test_swapping_the_modalities_changes_nothing():
    images, texts = embeddings()
    for function in (
        clip_loss,
        lambda x, y, t: cloob_loss(x, y, t, 8.0),
        lambda x, y, t: sigmoid_loss(x, y, t, -10.0),
    ):
        torch.testing.assert_close(function(images, texts, 30.0), function(texts, images, 30.0))


def test_the_order_of_the_pairs_changes_nothing_but_a_shifted_pairing_does():
    images, texts = embeddings()
    order = torch.tensor([3, 0, 6, 2, 5, 1, 4])
    loss = cloob_loss(images, texts, 30.0, 8.0)
    torch.testing.assert_close(cloob_loss(images[order], texts[order], 30.0, 8.0), loss)
    assert cloob_loss(images, texts.roll(1, 0), 30.0, 8.0) > loss + 0.1


def test_aligned_pairs_have_a_negative_info_loob_loss():
    images, texts = embeddings(alignment=5.0)
    assert cloob_loss(images, texts, 30.0, None) < 0
    assert cloob_loss(images, texts, 30.0, 8.0) < 0


def test_a_falling_temperature_always_lowers_the_loss_of_aligned_pairs():
    images, texts = embeddings(alignment=5.0)
    losses = [cloob_loss(images, texts, t, 8.0).item() for t in (3.0, 10.0, 30.0, 100.0)]
    assert losses == sorted(losses, reverse=True)


def test_label_smoothing_mixes_the_uniform_target():
    images, texts = embeddings()
    log_probs = (14.3 * images @ texts.T).log_softmax(dim=1)
    expected = 0.9 * info_nce_loss(images, texts, 14.3) - 0.1 * log_probs.mean()
    torch.testing.assert_close(info_nce_loss(images, texts, 14.3, label_smoothing=0.1), expected)


# -- transformers' own losses --


def test_clip_loss_equals_transformers_contrastive_loss():
    images, texts = (embeds.float() for embeds in embeddings())
    torch.testing.assert_close(clip_loss(images, texts, 14.3), image_text_contrastive_loss(14.3 * texts @ images.T))


def test_sigmoid_loss_equals_the_loss_of_transformers_siglip_model():
    torch.manual_seed(0)
    tower = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = SiglipConfig(
        text_config=tower | {"vocab_size": 50, "max_position_embeddings": 8, "bos_token_id": 1, "eos_token_id": 2},
        vision_config=tower | {"image_size": 8, "patch_size": 4},
    )
    model = SiglipModel(config).eval()
    torch.nn.init.constant_(model.logit_scale, math.log(10.0))
    torch.nn.init.constant_(model.logit_bias, -10.0)
    out = model(input_ids=torch.randint(3, 50, (5, 8)), pixel_values=torch.randn(5, 3, 8, 8), return_loss=True)
    bias = model.logit_bias
    torch.testing.assert_close(
        sigmoid_loss(out.image_embeds, out.text_embeds, model.logit_scale.exp(), bias), out.loss
    )
    torch.testing.assert_close(sigmoid_loss(out.image_embeds, out.text_embeds, 10.0, -10.0), out.loss)


# -- mistakes --


@pytest.mark.parametrize("name", LOSSES)
def test_one_pair_is_an_error_that_says_what_to_do(name):
    images, texts = embeddings(1)
    with pytest.raises(ValueError, match="at least 2 pairs.*got 1.*drop_last=True"):
        LOSSES[name][0](images, texts, 30.0)


@pytest.mark.parametrize("name", LOSSES)
def test_unequal_lengths_and_widths_are_named(name):
    images, texts = embeddings()
    function = LOSSES[name][0]
    with pytest.raises(ValueError, match=r"\(7, 16\) and \(6, 16\)"):
        function(images, texts[:6], 30.0)
    with pytest.raises(ValueError, match=r"\(7, 16\) and \(7, 15\)"):
        function(images, texts[:, :15], 30.0)
    with pytest.raises(ValueError, match=r"\(16,\) and \(16,\)"):
        function(images[0], texts[0], 30.0)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", LOSSES)
def test_rows_that_are_not_finite_are_counted_and_named(name, value):
    images, texts = embeddings()
    texts[[2, 5], 1] = value
    with pytest.raises(ValueError, match=r"(text_embeds|candidates) holds NaN or infinite.*2 of 7 rows.*\[2, 5\]"):
        LOSSES[name][0](images, texts, 30.0)


@pytest.mark.parametrize("scale", [0, 0.0, -1, -1.0, float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", LOSSES)
def test_an_impossible_number_as_scale_is_named(name, scale):
    with pytest.raises(ValueError, match=f"inverse_temperature must be a finite number above 0, got {scale}"):
        LOSSES[name][0](*embeddings(), scale)


@pytest.mark.parametrize("scale", [0, -1.0, float("nan"), float("inf")])
def test_an_impossible_number_as_retrieval_scale_is_named(scale):
    for function in (lambda x, y: cloob_loss(x, y, 30.0, scale), lambda x, y: clip_loss(x, y, 30.0, 0.0, scale)):
        with pytest.raises(ValueError, match=f"hopfield_scale must be a finite number above 0, got {scale}"):
            function(*embeddings())


@pytest.mark.parametrize("name", LOSSES)
def test_a_scale_given_as_tensor_is_not_looked_at(name):
    LOSSES[name][0](*embeddings(), torch.tensor(-1.0))


def test_more_than_one_scale_or_bias_is_an_error():
    images, texts = embeddings()
    with pytest.raises(ValueError, match=r"inverse_temperature.*one element, got shape \(3,\)"):
        clip_loss(images, texts, torch.ones(3))
    with pytest.raises(ValueError, match=r"bias.*one element, got shape \(7,\)"):
        sigmoid_loss(images, texts, 10.0, torch.zeros(7))


def test_two_devices_are_named():
    images, texts = embeddings()
    with pytest.raises(ValueError, match="image_embeds is on cpu and text_embeds on meta"):
        cloob_loss(images, texts.to("meta"), 30.0, 8.0)


def test_integers_are_an_error():
    with pytest.raises(ValueError, match="floating point, got torch.int64"):
        clip_loss(torch.ones(3, 4, dtype=torch.int64), torch.ones(3, 4, dtype=torch.int64), 30.0)


@pytest.mark.parametrize("bias", [float("nan"), float("inf")])
def test_an_impossible_number_as_bias_is_named(bias):
    with pytest.raises(ValueError, match=f"bias must be a finite number, got {bias}"):
        sigmoid_loss(*embeddings(), 10.0, bias)


@pytest.mark.parametrize("label_smoothing", [-0.1, 1.0, float("nan")])
def test_impossible_label_smoothing_is_named(label_smoothing):
    with pytest.raises(ValueError, match=rf"label_smoothing must be in \[0, 1\), got {label_smoothing}"):
        clip_loss(*embeddings(), 30.0, label_smoothing=label_smoothing)
