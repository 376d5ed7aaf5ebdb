# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What decays on the parameters of real towers, and the schedules against their closed forms."""

import math

import pytest
import torch
from tiny_models import WIDTH, tiny_cloob
from torch import nn

from hf_cloob.training.frozen_towers import freeze
from hf_cloob.training.optimization import SCHEDULES, build_optimizer, build_schedule, parameter_groups

RESNET = {
    "model_type": "resnet",
    "layer_type": "basic",
    "embedding_size": 8,
    "hidden_sizes": [8, 16],
    "depths": [1, 1],
}
VIT = {"model_type": "vit", **WIDTH, "image_size": 16, "patch_size": 8}
SWIN = {"model_type": "swin", "embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2], "image_size": 16, "patch_size": 2}
BERT = {"model_type": "bert", **WIDTH, "vocab_size": 99}
TOWERS = {"clip": (None, None), "resnet and bert": (BERT, RESNET), "vit": (None, VIT), "swin": (None, SWIN)}


def group_names(model: nn.Module) -> tuple[set[str], set[str]]:
    decayed, kept = parameter_groups(model, 0.1)
    return set(decayed["names"]), set(kept["names"])


@pytest.mark.parametrize("towers", TOWERS.values(), ids=TOWERS)
@pytest.mark.parametrize("contrastive_loss", ["infonce", "sigmoid"])
def test_norms_biases_scales_and_class_embeddings_do_not_decay(towers, contrastive_loss):
    text, vision = towers
    model = tiny_cloob(text=text, vision=vision, contrastive_loss=contrastive_loss)
    decayed, kept = group_names(model)
    norms = (nn.LayerNorm, nn.BatchNorm2d, nn.GroupNorm)
    of_norms = {
        f"{name}.{own}"
        for name, module in model.named_modules()
        if isinstance(module, norms)
        for own, _ in module.named_parameters()
    }
    biases = {name for name, _ in model.named_parameters() if "bias" in name}
    single = {name for name, _ in model.named_parameters() if name.endswith(("class_embedding", "cls_token"))}
    scales = {"log_inverse_temperature"} | ({"sigmoid_bias"} if contrastive_loss == "sigmoid" else set())
    assert of_norms and biases and scales <= kept
    # A ViT keeps its class token as (1, 1, width): its number of dimensions alone would have it decay.
    assert bool(single) == (vision is None or vision is VIT)
    trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert (of_norms | biases | single) & trainable <= kept
    # The rest are matrices, kernels and tables of embeddings.
    assert kept == (of_norms | biases | single | scales) & trainable
    assert decayed


def test_every_trainable_parameter_is_in_exactly_one_group_and_frozen_ones_in_none():
    model = tiny_cloob()
    freeze(model.text_model)
    groups = parameter_groups(model, 0.1)
    names = [name for group in groups for name in group["names"]]
    assert sorted(names) == sorted(name for name, parameter in model.named_parameters() if parameter.requires_grad)
    assert not any(name.startswith("text_model.") for name in names)
    by_name = dict(model.named_parameters())
    for group in groups:
        assert [id(parameter) for parameter in group["params"]] == [id(by_name[name]) for name in group["names"]]


def test_a_group_without_parameters_is_left_out_and_a_frozen_model_refused():
    assert [group["weight_decay"] for group in parameter_groups(nn.Linear(3, 4, bias=False), 0.1)] == [0.1]
    assert [group["weight_decay"] for group in parameter_groups(nn.LayerNorm(3), 0.1)] == [0.0]
    model = nn.Linear(3, 4)
    freeze(model)
    with pytest.raises(ValueError, match="No parameter requires a gradient"):
        parameter_groups(model, 0.1)


def test_a_step_without_gradient_shrinks_matrices_only():
    model = tiny_cloob(contrastive_loss="infonce")
    optimizer = build_optimizer(model, learning_rate=0.5, weight_decay=0.1, betas=(0.8, 0.9), epsilon=1e-7)
    assert (optimizer.defaults["betas"], optimizer.defaults["eps"]) == ((0.8, 0.9), 1e-7)
    decayed, _ = group_names(model)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, parameter in model.named_parameters():
        expected = before[name] * (1 - 0.5 * 0.1) if name in decayed else before[name]
        assert torch.equal(parameter, expected), name


def learning_rates(name: str, num_steps: int, warmup_steps: int, num_cycles: int = 1) -> list[float]:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=2.0)
    schedule = build_schedule(optimizer, name, num_steps, warmup_steps, num_cycles)
    rates = []
    for _ in range(num_steps + 1):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return rates


def closed_form(name: str, step: int, num_steps: int, warmup_steps: int, num_cycles: int) -> float:
    if step < warmup_steps:
        return 2.0 * step / warmup_steps
    progress = (step - warmup_steps) / (num_steps - warmup_steps)
    if name == "linear":
        return 2.0 * (1 - progress)
    if name == "constant":
        return 2.0
    if name == "cosine":
        return 1 + math.cos(math.pi * progress)
    return 1 + math.cos(math.pi * (progress * num_cycles % 1)) if progress < 1 else 0.0


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("warmup_steps", [0, 10])
def test_schedules_follow_their_closed_forms(name, warmup_steps):
    rates = learning_rates(name, 50, warmup_steps, num_cycles=4)
    assert rates == pytest.approx([closed_form(name, step, 50, warmup_steps, 4) for step in range(51)], abs=1e-12)
    assert rates[warmup_steps] == 2.0
    assert rates[-1] == pytest.approx(2.0 if name == "constant" else 0.0, abs=1e-12)


def test_restarts_return_to_the_peak_at_every_cycle():
    rates = learning_rates("cosine_with_restarts", 50, 10, num_cycles=4)
    assert [step for step, rate in enumerate(rates) if rate == 2.0] == [10, 20, 30, 40]


def test_a_cosine_may_end_above_zero():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=2.0)
    schedule = build_schedule(optimizer, "cosine", 50, 10, min_learning_rate=0.5)
    rates = []
    for _ in range(51):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    expected = [0.5 + 0.75 * closed_form("cosine", step, 50, 10, 1) for step in range(10, 51)]
    assert rates[:11] == pytest.approx([0.2 * step for step in range(11)])
    assert rates[10:] == pytest.approx(expected)


def test_an_end_that_no_schedule_reaches_is_refused():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=2.0)
    for name, end in (("linear", 0.5), ("cosine", 3.0), ("cosine", -0.1)):
        with pytest.raises(ValueError, match=f"min_learning_rate must be from 0 to the peak 2, .* got {end} with"):
            build_schedule(optimizer, name, 10, 0, min_learning_rate=end)


def test_unknown_schedules_and_impossible_numbers_are_refused():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    with pytest.raises(ValueError, match="lr_scheduler must be one of cosine, .*, got 'cosin'"):
        build_schedule(optimizer, "cosin", 10, 0)
    for warmup_steps in (-1, 10, 11):
        with pytest.raises(ValueError, match=f"warmup_steps must be from 0 .* 10, got {warmup_steps}"):
            build_schedule(optimizer, "cosine", 10, warmup_steps)
    with pytest.raises(ValueError, match="num_cycles must be at least 1, got 0"):
        build_schedule(optimizer, "cosine_with_restarts", 10, 0, num_cycles=0)
