# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""A learning rate for every parameter: the towers' own rates, falling layer by layer from the top."""

import re
from collections import Counter

from torch import nn

# What peft puts before and into the names of a model with adapters.
PEFT_PREFIX = "base_model.model."
TOWERS = ("text_model", "vision_model")


def layer_learning_rates(
    model: nn.Module,
    learning_rate: float,
    text_learning_rate: float | None = None,
    vision_learning_rate: float | None = None,
    layer_decay: float = 1.0,
) -> dict[str, float]:
    """The peak learning rate of each trainable parameter.

    Projections, scale and bias have `learning_rate`. Of a tower with rate r and L layers, what comes behind the layers
    (final norm, pooler, head) has r, layer i = 0 ... L-1 has r * layer_decay^(L-i), and what comes before them
    (embeddings, stem) r * layer_decay^(L+1). What a tower's layers are: see `parameter_layers`.

    Args:
        model: a [`CloobModel`], also with peft's adapters in it, which count to the layer they are in.
        learning_rate: peak rate of what is outside the towers.
        text_learning_rate: peak rate of the text tower; default: learning_rate.
        vision_learning_rate: peak rate of the vision tower; default: learning_rate.
        layer_decay: factor in (0, 1] from one layer to the one below.

    Returns:
        name of the parameter -> learning rate.

    Raises:
        ValueError: for a layer_decay outside (0, 1] or a rate below 0.

    Source: Clark et al. 2020 (ELECTRA) and Bao et al. 2022 (BEiT), who decay by blocks.
    """
    if not 0.0 < layer_decay <= 1.0:
        raise ValueError(f"layer_decay must be above 0 and at most 1, got {layer_decay}.")
    tower_rates = {"text_model": text_learning_rate, "vision_model": vision_learning_rate}
    peaks = {name: learning_rate if rate is None else rate for name, rate in tower_rates.items()}
    for name, rate in {"learning_rate": learning_rate, **peaks}.items():
        if rate < 0:
            raise ValueError(f"The learning rate of {name} must be at least 0, got {rate}.")
    depths = {name: parameter_layers(getattr(model, name)) for name in TOWERS}
    rates = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        tower, _, own_name = name.removeprefix(PEFT_PREFIX).partition(".")
        if tower in peaks:
            layers = depths[tower]
            rates[name] = peaks[tower] * layer_decay ** (max(layers.values()) - layers[own_name])
        else:
            rates[name] = learning_rate
    return rates


def parameter_layers(tower: nn.Module) -> dict[str, int]:
    """The layer of each parameter of a tower: 0 before the layers, 1 ... L in them, L + 1 behind them.

    A tower's layers are the members of its outermost numbered list (`encoder.layers.3`, `encoder.stages.1`); of
    several lists it is the one with most weights. A ViT's or BERT's layers are its blocks, those of a ResNet, ConvNeXt
    or Swin its stages. Before and behind is the order in which the parameters are registered. A tower without such a
    list is one layer.

    Args:
        tower: any model of transformers.

    Returns:
        name of the parameter -> layer.
    """
    outermost = {name: re.match(r"(.*?)\.?\b(\d+)\.", name) for name, _ in tower.named_parameters()}
    sizes = Counter()
    for name, parameter in tower.named_parameters():
        if outermost[name]:
            sizes[outermost[name].group(1)] += parameter.numel()
    if not sizes:
        return dict.fromkeys(outermost, 1)
    ((main, _),) = sizes.most_common(1)
    numbers = {name: int(match.group(2)) for name, match in outermost.items() if match and match.group(1) == main}
    layers, behind = {}, False
    for name in outermost:
        behind = behind or name in numbers
        layers[name] = numbers[name] + 1 if name in numbers else (max(numbers.values()) + 2 if behind else 0)
    return layers
