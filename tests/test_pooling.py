# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Pooling is exact whatever the side and the amount of padding."""

import pytest
import torch
from transformers.modeling_outputs import BaseModelOutput, BaseModelOutputWithPooling

from hf_cloob.pooling import pool_image, pool_text

SENTENCES = [torch.randn(length, 3, generator=torch.Generator().manual_seed(length)) for length in (2, 5, 1)]


def padded(side: str, width: int) -> tuple[BaseModelOutput, torch.Tensor]:
    """Token states with garbage in the padding, and the mask."""
    states, mask = torch.full((len(SENTENCES), width, 3), 1e3), torch.zeros(len(SENTENCES), width, dtype=torch.int64)
    for index, sentence in enumerate(SENTENCES):
        place = slice(0, len(sentence)) if side == "right" else slice(width - len(sentence), width)
        states[index, place], mask[index, place] = sentence, 1
    return BaseModelOutput(last_hidden_state=states), mask


@pytest.mark.parametrize("mask_dtype", [torch.int64, torch.bool, torch.float32])
@pytest.mark.parametrize("width", [5, 9])
@pytest.mark.parametrize("side", ["left", "right"])
def test_mean_first_and_last_are_those_of_the_unpadded_sentence(side, width, mask_dtype):
    outputs, mask = padded(side, width)
    mask = mask.to(mask_dtype)
    expected = {
        "mean": torch.stack([sentence.mean(dim=0) for sentence in SENTENCES]),
        "first": torch.stack([sentence[0] for sentence in SENTENCES]),
        "last": torch.stack([sentence[-1] for sentence in SENTENCES]),
    }
    for pooling, wanted in expected.items():
        torch.testing.assert_close(pool_text(outputs, mask, pooling), wanted)
    torch.testing.assert_close(pool_text(outputs, mask, "auto"), expected["mean"])


def test_without_a_mask_every_token_counts():
    outputs = BaseModelOutput(last_hidden_state=torch.randn(2, 4, 3))
    states = outputs.last_hidden_state
    assert torch.equal(pool_text(outputs, None, "mean"), states.mean(dim=1))
    assert torch.equal(pool_text(outputs, None, "first"), states[:, 0])
    assert torch.equal(pool_text(outputs, None, "last"), states[:, -1])


def test_half_precision_mean_of_many_tokens_stays_close():
    outputs = BaseModelOutput(last_hidden_state=torch.full((1, 600, 2), 1.5, dtype=torch.bfloat16))
    pooled = pool_text(outputs, torch.ones(1, 600, dtype=torch.int64), "mean")
    torch.testing.assert_close(pooled, torch.full((1, 2), 1.5, dtype=torch.bfloat16))


def test_auto_and_pooler_take_the_towers_own_pooled_output():
    outputs = BaseModelOutputWithPooling(last_hidden_state=torch.randn(2, 4, 3), pooler_output=torch.randn(2, 3))
    for pooling in ("auto", "pooler"):
        assert torch.equal(pool_text(outputs, torch.ones(2, 4), pooling), outputs.pooler_output)
        assert torch.equal(pool_image(outputs, pooling), outputs.pooler_output)


def test_pooler_without_a_pooled_output_is_an_error():
    outputs = BaseModelOutput(last_hidden_state=torch.randn(2, 4, 3))
    for pool in (lambda: pool_text(outputs, None, "pooler"), lambda: pool_image(outputs, "pooler")):
        with pytest.raises(ValueError, match="this one has none: use 'mean'"):
            pool()


def test_feature_maps_and_patch_tokens_are_pooled_over_their_places():
    tokens, maps = torch.randn(2, 9, 5), torch.randn(2, 5, 3, 4)
    assert torch.equal(pool_image(BaseModelOutput(last_hidden_state=tokens), "mean"), tokens.mean(dim=1))
    assert torch.equal(pool_image(BaseModelOutput(last_hidden_state=tokens), "first"), tokens[:, 0])
    for pooling in ("mean", "auto"):
        torch.testing.assert_close(pool_image(BaseModelOutput(last_hidden_state=maps), pooling), maps.mean(dim=(2, 3)))
    with pytest.raises(ValueError, match="feature map"):
        pool_image(BaseModelOutput(last_hidden_state=maps), "first")


def test_a_pooled_map_of_one_place_is_flattened():
    outputs = BaseModelOutputWithPooling(
        last_hidden_state=torch.randn(2, 5, 3, 3), pooler_output=torch.randn(2, 5, 1, 1)
    )
    assert torch.equal(pool_image(outputs, "auto"), outputs.pooler_output[:, :, 0, 0])
