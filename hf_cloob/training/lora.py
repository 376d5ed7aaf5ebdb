# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""LoRA through peft: small matrices that train beside frozen towers, and a merged model to publish."""

import copy
import warnings
from collections.abc import Sequence
from pathlib import Path

from torch import nn

from .layer_rates import TOWERS

ADAPTER_FOLDER = "adapter"
PROJECTIONS = ("visual_projection", "text_projection")


def adaptable_layers(model: nn.Module) -> list[str]:
    """The names of the linear layers and full convolutions of both towers that train, in order.

    A frozen tower has none, nor has a part that the tower's pooling leaves unused.
    """
    return [
        name
        for name, layer in model.named_modules()
        if name.split(".")[0] in TOWERS
        and (isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv2d) and layer.groups == 1))
        and layer.weight.requires_grad
    ]


def add_lora(
    model: nn.Module,
    rank: int,
    alpha: float | None = None,
    dropout: float = 0.0,
    target_modules: Sequence[str] | None = None,
    base_name_or_path: str | None = None,
):
    """Freeze the model and put adapters of the given rank beside its layers; both projections train in full.

        W x  becomes  W x + alpha / rank * B A x,   B = 0 at the start

    The scale and the sigmoid's bias stay as they are: an adapter's file holds layers only.

    Args:
        model: a [`CloobModel`]; it is changed in place.
        rank: rows of A, columns of B.
        alpha: default: twice the rank.
        dropout: of the adapters' inputs while training.
        target_modules: last parts of the names of the layers to adapt, e.g. q_proj and v_proj; default:
            `adaptable_layers`.
        base_name_or_path: what the adapter's file will call its base; default: what the model was loaded from.

    Returns:
        peft's PeftModel, which takes the model's calls, and its attributes too.

    Raises:
        ValueError: for a rank below 1, or if there is nothing to adapt.

    Source: Hu et al. 2021 (LoRA, arXiv 2106.09685).
    """
    from peft import LoraConfig, get_peft_model

    if rank < 1:
        raise ValueError(f"lora_rank must be at least 1, got {rank}.")
    layers = adaptable_layers(model)
    if target_modules is not None:
        layers = [name for name in layers if name.rsplit(".", 1)[-1] in target_modules]
    if not layers:
        raise ValueError(
            f"No layer to adapt: lora_target_modules is {target_modules}, the last parts of the names of the layers "
            f"that train are {sorted({name.rsplit('.', 1)[-1] for name in adaptable_layers(model)})}."
        )
    config = LoraConfig(
        r=rank,
        lora_alpha=2 * rank if alpha is None else alpha,
        lora_dropout=dropout,
        target_modules=layers,
        modules_to_save=list(PROJECTIONS),
    )
    with warnings.catch_warnings():
        # peft asks a model for its old name of activation checkpointing.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        peft_model = get_peft_model(model, config)
    if base_name_or_path is not None:
        peft_model.peft_config["default"].base_model_name_or_path = str(base_name_or_path)
    return peft_model


def save_merged(model: nn.Module, folder: str | Path) -> None:
    """Save a model that anyone can load; of one with adapters the merged model, and the adapters in `folder`/adapter.

    Args:
        model: a model of transformers, or peft's around one; it stays as it is.
        folder: where to.
    """
    from peft import PeftModel

    if isinstance(model, PeftModel):
        model.save_pretrained(Path(folder, ADAPTER_FOLDER), save_embedding_layers=False)
        model = copy.deepcopy(model).merge_and_unload()
    model.save_pretrained(folder)
