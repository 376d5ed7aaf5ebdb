# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Layers and their learning rates on real tower classes, against tables written by hand."""

import pytest
import torch
from tiny_models import WIDTH, tiny_cloob

from hf_cloob.training.frozen_towers import freeze
from hf_cloob.training.layer_rates import layer_learning_rates, parameter_layers
from hf_cloob.training.lora import add_lora
from hf_cloob.training.optimization import build_optimizer

VISION = {"image_size": 16, "patch_size": 8}
STAGES = {"hidden_sizes": [8, 8, 16], "depths": [1, 2, 1]}
TOWERS = {
    "clip": (None, None),
    "vit": (None, {"model_type": "vit", **WIDTH, **VISION}),
    "siglip": (
        {"model_type": "siglip_text_model", **WIDTH, "vocab_size": 99, "bos_token_id": 1, "eos_token_id": 2},
        {"model_type": "siglip_vision_model", **WIDTH, **VISION},
    ),
    "bert, resnet": (
        {"model_type": "bert", **WIDTH, "vocab_size": 99},
        {"model_type": "resnet", "layer_type": "bottleneck", "embedding_size": 8, **STAGES},
    ),
    "convnext": (None, {"model_type": "convnext", **STAGES, "num_stages": 3}),
    "swin": (
        None,
        {
            "model_type": "swin",
            "embed_dim": 8,
            "depths": [1, 1],
            "num_heads": [1, 2],
            "image_size": 16,
            "patch_size": 2,
        },
    ),
}
# Beginnings of names -> layer; the longest that fits holds.
CLIP_LAYERS = {"embeddings": 0, "pre_layrnorm": 0, "encoder.layers.0": 1, "encoder.layers.1": 2}
BEHIND_TWO = dict.fromkeys(("post_layernorm", "final_layer_norm", "head", "layernorm", "pooler"), 3)
STAGE_LAYERS = {f"encoder.stages.{stage}": stage + 1 for stage in range(3)}
VISION_LAYERS = {
    "clip": CLIP_LAYERS | BEHIND_TWO,
    "vit": {"embeddings": 0, "layers.0": 1, "layers.1": 2} | BEHIND_TWO,
    "siglip": CLIP_LAYERS | BEHIND_TWO,
    "bert, resnet": {"embedder": 0} | STAGE_LAYERS,
    "convnext": {"embeddings": 0, "layernorm": 4} | STAGE_LAYERS,
    "swin": {"embeddings": 0, "encoder.layers.0": 1, "encoder.layers.1": 2, "layernorm": 3},
}
TEXT_LAYERS = {
    "clip": CLIP_LAYERS | BEHIND_TWO,
    "siglip": CLIP_LAYERS | BEHIND_TWO,
    "bert, resnet": {"embeddings": 0, "encoder.layer.0": 1, "encoder.layer.1": 2} | BEHIND_TWO,
}


def build(towers: str, **fields):
    text, vision = TOWERS[towers]
    return tiny_cloob(text=text, vision=vision, **fields)


@pytest.mark.parametrize("side", ["text", "vision"])
@pytest.mark.parametrize("towers", TOWERS)
def test_every_parameter_is_in_the_layer_that_a_reader_of_the_tower_would_name(towers, side):
    expected = (TEXT_LAYERS if side == "text" else VISION_LAYERS).get(towers)
    if expected is None:
        expected = TEXT_LAYERS["clip"]
    layers = parameter_layers(getattr(build(towers), f"{side}_model"))
    for name, layer in layers.items():
        fitting = [start for start in expected if f"{name}.".startswith(f"{start}.")]
        assert fitting, name
        assert layer == expected[fitting[0]], name
    assert set(layers.values()) >= {0, 1, 2}


def test_a_tower_without_numbered_layers_is_one_layer():
    assert set(parameter_layers(torch.nn.Linear(2, 3)).values()) == {1}


@pytest.mark.parametrize("towers", TOWERS)
def test_rates_fall_from_the_top_by_the_decay(towers):
    model = build(towers, contrastive_loss="infonce")
    rates = layer_learning_rates(model, 1.0, 0.5, 0.25, layer_decay=0.1)
    trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert rates.keys() == trainable
    outside = {name: rate for name, rate in rates.items() if not name.startswith(("text_model", "vision_model"))}
    assert set(outside) == {"log_inverse_temperature", "visual_projection.weight", "text_projection.weight"}
    assert set(outside.values()) == {1.0}
    for side, peak in (("text_model", 0.5), ("vision_model", 0.25)):
        layers = parameter_layers(getattr(model, side))
        top = max(layers.values())
        for name, rate in rates.items():
            if name.startswith(side):
                steps_down = top - layers[name.removeprefix(f"{side}.")]
                assert rate == pytest.approx(peak * 10.0**-steps_down), name


def test_without_decay_and_tower_rates_every_rate_is_the_same():
    assert set(layer_learning_rates(build("clip"), 3e-4).values()) == {3e-4}


def test_adapters_have_the_rate_of_the_layer_they_are_in():
    model = build("clip")
    plain = layer_learning_rates(model, 1.0, layer_decay=0.5)
    adapted = layer_learning_rates(add_lora(model, rank=2), 1.0, layer_decay=0.5)
    name = "vision_model.encoder.layers.0.mlp.fc1"
    rate = plain[f"{name}.weight"]
    assert {rate_ for key, rate_ in adapted.items() if name in key} == {rate} == {0.25}
    assert all(".lora_" in key or "_projection" in key for key in adapted)


def test_the_optimizer_moves_each_layer_by_its_rate():
    model = build("clip")
    freeze(model.text_model)
    rates = layer_learning_rates(model, 1.0, layer_decay=0.5)
    optimizer = build_optimizer(model, 1.0, weight_decay=0.0, learning_rates=rates)
    assert [group["lr"] for group in optimizer.param_groups] == sorted(
        (group["lr"] for group in optimizer.param_groups), reverse=True
    )
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    # AdamW's first step is the learning rate, whatever the gradient's size.
    for name, parameter in model.named_parameters():
        moved = (before[name] - parameter).abs().max().item()
        assert moved == pytest.approx(rates.get(name, 0.0), rel=1e-4), name


def test_impossible_rates_and_decays_are_refused():
    for decay in (0.0, 1.5, -1.0):
        with pytest.raises(ValueError, match=f"layer_decay must be above 0 and at most 1, got {decay}"):
            layer_learning_rates(build("clip"), 1.0, layer_decay=decay)
    with pytest.raises(ValueError, match="learning rate of text_model must be at least 0, got -1.0"):
        layer_learning_rates(build("clip"), 1.0, text_learning_rate=-1.0)
