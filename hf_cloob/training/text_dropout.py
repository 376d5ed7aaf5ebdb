# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Dropout in a text tower for some of its passes only: those of strongly augmented captions."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn import functional as F
from transformers.modeling_layers import GradientCheckpointingLayer


@contextmanager
def dropped_layer_inputs(tower: nn.Module, probability: float) -> Iterator[None]:
    """While it is open, every layer of a tower in training mode drops units of the states that enter it.

    The states are the residual stream, so what a layer drops is lost for all layers behind it. Not to be used with
    recomputed activations: some versions of transformers recompute a layer with its hooks, which by then are gone.

    Args:
        tower: a text tower of transformers.
        probability: of each unit to be dropped; 0 changes nothing.

    Raises:
        ValueError: for a tower in which transformers marks no layer.

    Source: Fini et al. 2023 (arXiv 2305.08675), text dropout of the strong views as in the released code.
    """
    layers = transformer_layers(tower) if probability else []

    def drop(layer: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        states = args[0] if args else kwargs["hidden_states"]
        states = F.dropout(states, probability, training=layer.training)
        return ((states, *args[1:]), kwargs) if args else (args, kwargs | {"hidden_states": states})

    handles = [layer.register_forward_pre_hook(drop, with_kwargs=True) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def transformer_layers(tower: nn.Module) -> list[nn.Module]:
    """The layers of a tower, first to last.

    Raises:
        ValueError: if there is none that transformers marks as such.
    """
    layers = [module for module in tower.modules() if isinstance(module, GradientCheckpointingLayer)]
    if not layers:
        raise ValueError(f"{type(tower).__name__} has no layers that transformers marks as such: no dropout for it.")
    return layers
