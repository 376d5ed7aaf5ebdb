# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Dropout for some passes of a text tower: in every layer, in training mode, and gone when it is closed."""

import pytest
import torch
from tiny_models import WIDTH, tiny_cloob, tiny_inputs
from torch import nn

from hf_cloob.training.text_dropout import dropped_layer_inputs, transformer_layers

BERT = {"model_type": "bert", **WIDTH, "vocab_size": 99, "hidden_dropout_prob": 0.0}
BERT |= {"attention_probs_dropout_prob": 0.0}
SIGLIP = {"model_type": "siglip_text_model", **WIDTH, "vocab_size": 99, "max_position_embeddings": 16}


@pytest.mark.parametrize("text", [None, BERT, SIGLIP], ids=["clip", "bert", "siglip"])
def test_every_layer_drops_its_share_of_its_input_while_it_is_open(text):
    model = tiny_cloob(text=text, text_pooling="mean" if text is BERT else "auto").train()
    inputs = {name: value for name, value in tiny_inputs(40).items() if name != "pixel_values"}
    shares = []

    def count(layer, args, kwargs):
        states = args[0] if args else kwargs["hidden_states"]
        shares.append((states == 0).float().mean().item())

    layers = transformer_layers(model.text_model)
    assert len(layers) == WIDTH["num_hidden_layers"]
    with dropped_layer_inputs(model.text_model, 0.25):
        handles = [layer.register_forward_pre_hook(count, with_kwargs=True) for layer in layers]
        model.pooled_text_states(**inputs)
    assert shares == pytest.approx([0.25] * len(layers), abs=0.03)
    shares.clear()
    plain = [model.pooled_text_states(**inputs).pooler_output for _ in range(2)]
    assert max(shares) < 0.01 and torch.equal(*plain)
    for handle in handles:
        handle.remove()


def test_evaluation_drops_nothing():
    model = tiny_cloob().eval()
    inputs = {name: value for name, value in tiny_inputs(4).items() if name != "pixel_values"}
    with dropped_layer_inputs(model.text_model, 0.5):
        dropped = model.pooled_text_states(**inputs).pooler_output
    assert torch.equal(dropped, model.pooled_text_states(**inputs).pooler_output)


def test_an_error_inside_leaves_no_hook():
    model = tiny_cloob()
    with pytest.raises(KeyError), dropped_layer_inputs(model.text_model, 0.5):
        raise KeyError
    assert not any(layer._forward_pre_hooks for layer in transformer_layers(model.text_model))


def test_a_tower_without_known_layers_is_named():
    with pytest.raises(ValueError, match="Linear has no layers that transformers marks as such"):
        transformer_layers(nn.Linear(2, 2))
