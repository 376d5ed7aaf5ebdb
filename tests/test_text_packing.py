# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Packed texts give the states and gradients of padded ones; what cannot be packed runs padded."""

import random

import pytest
import torch
from tiny_models import CLIP_TEXT, tiny_cloob, tiny_inputs
from transformers import CLIPTextModel

from hf_cloob.text_packing import best_fit, pack_texts

END = 98


def padded_texts(pairs: int = 20) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in tiny_inputs(pairs).items() if name != "pixel_values"}


def ends_of(input_ids: torch.Tensor) -> torch.Tensor:
    return (input_ids == END).int().argmax(dim=1)


def packed(texts: dict[str, torch.Tensor], row_length: int = 77):
    return pack_texts(texts["input_ids"], texts["attention_mask"], ends_of(texts["input_ids"]), row_length)


def tower(**changes):
    return tiny_cloob(text=CLIP_TEXT | changes).text_model.train()


def unpacked_forward(model, **inputs):
    """CLIPTextModel's own forward of a tower."""
    return CLIPTextModel.forward(model, **inputs)


def count_tokens(model) -> list[int]:
    """The places that the tower computes in each following call."""
    counts = []
    model.encoder.register_forward_hook(lambda module, args, output: counts.append(output[0].shape[:2].numel()))
    return counts


def gradients(model, pooled: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    (pooled * torch.arange(pooled.numel()).view_as(pooled).sin()).sum().backward()
    return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}


@pytest.mark.parametrize("old_configuration", [False, True])
def test_states_and_gradients_while_training_are_those_of_padded_texts(old_configuration):
    # Where the end token is called 2, CLIPTextModel pools at the largest id.
    model = (tower(eos_token_id=2) if old_configuration else tower()).double()
    texts = padded_texts()
    counts = count_tokens(model)
    ours, expected = model(**texts), unpacked_forward(model, **texts)
    assert counts[0] < texts["attention_mask"].sum() * 1.3 < counts[1]
    torch.testing.assert_close(ours.pooler_output, expected.pooler_output)
    is_token = texts["attention_mask"].bool()
    torch.testing.assert_close(ours.last_hidden_state[is_token], expected.last_hidden_state[is_token])
    assert (ours.last_hidden_state[~is_token] == 0).all()
    found, wanted = gradients(model, ours.pooler_output), gradients(model, expected.pooler_output)
    assert found.keys() == wanted.keys()
    for name in found:
        torch.testing.assert_close(found[name], wanted[name])


def test_a_text_does_not_see_its_neighbors():
    texts, model = padded_texts(), tower()
    first = model(**texts).pooler_output
    texts["input_ids"][3, 1] = (texts["input_ids"][3, 1] + 1) % 97
    changed = (model(**texts).pooler_output != first).any(dim=1)
    assert changed.nonzero().flatten().tolist() == [3]


@pytest.mark.parametrize("seed", range(5))
def test_no_two_texts_share_a_place_and_none_leaves_its_row(seed):
    draw = random.Random(seed)
    lengths = [draw.randint(1, 77) for _ in range(draw.randint(1, 300))]
    starts, num_rows = best_fit(lengths, 77)
    places = [place for start, length in zip(starts, lengths, strict=True) for place in range(start, start + length)]
    assert len(set(places)) == len(places) and max(places) < 77 * num_rows
    pairs = zip(starts, lengths, strict=True)
    assert all(start // 77 == (start + length - 1) // 77 for start, length in pairs)
    # First fit decreasing, and best fit too, need at most 11/9 of the fewest rows and one more.
    assert num_rows <= 11 / 9 * -(-sum(lengths) // 77) + 1 or max(lengths) > 77 // 2


def test_dozens_of_short_captions_fill_their_rows():
    lengths = [5 + index % 11 for index in range(256)]
    assert best_fit(lengths, 77)[1] == -(-sum(lengths) // 77)


def test_unpacking_turns_packing_around():
    texts = padded_texts()
    result = packed(texts, row_length=20)
    assert result.input_ids.shape[1] <= 20 and result.input_ids.numel() < texts["input_ids"].numel()
    assert torch.equal(result.unpacked(result.input_ids.unsqueeze(-1)).squeeze(-1), texts["input_ids"])
    positions = result.unpacked(result.position_ids.unsqueeze(-1)).squeeze(-1)
    assert torch.equal(positions, torch.arange(positions.shape[1]) * texts["attention_mask"])


def test_texts_without_padding_are_left_alone():
    texts = padded_texts()
    texts = {name: tensor[:, :3] for name, tensor in texts.items()}
    texts["attention_mask"] = torch.ones_like(texts["attention_mask"])
    assert packed(texts) is None


def left_padded(texts: dict[str, torch.Tensor]) -> None:
    for name in texts:
        texts[name] = texts[name].flip(1)


def with_a_hole(texts: dict[str, torch.Tensor]) -> None:
    texts["attention_mask"][5, 1] = 0


def with_a_masked_end(texts: dict[str, torch.Tensor]) -> None:
    texts["attention_mask"] *= texts["input_ids"] != END


def with_an_empty_text(texts: dict[str, torch.Tensor]) -> None:
    texts["attention_mask"][5] = 0


@pytest.mark.parametrize("spoil", [left_padded, with_a_hole, with_a_masked_end, with_an_empty_text])
def test_what_cannot_be_packed_runs_padded(spoil):
    texts, model = padded_texts(), tower()
    spoil(texts)
    assert packed(texts) is None
    assert torch.equal(model(**texts).last_hidden_state, unpacked_forward(model, **texts).last_hidden_state)


def test_a_text_beyond_the_context_is_refused_as_by_clip():
    texts, model = padded_texts(), tower(max_position_embeddings=8)
    assert packed(texts, row_length=8) is None
    with pytest.raises(ValueError, match="Sequence length must be less than max_position_embeddings"):
        model(**texts)


def test_evaluation_and_recorded_states_are_padded():
    texts, model = padded_texts(), tower()
    layers = model(**texts, output_hidden_states=True).hidden_states
    assert {tuple(layer.shape[:2]) for layer in layers} == {tuple(texts["input_ids"].shape)}
    model.eval()
    assert torch.equal(model(**texts).last_hidden_state, unpacked_forward(model, **texts).last_hidden_state)


def test_attention_that_takes_no_mask_of_its_own_runs_padded():
    texts, model = padded_texts(), tower()
    model.set_attn_implementation("eager")
    assert torch.equal(model(**texts).last_hidden_state, unpacked_forward(model, **texts).last_hidden_state)
