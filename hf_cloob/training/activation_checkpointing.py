# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Less memory for more time: activations that the backward pass computes again."""

from transformers import PreTrainedModel


def recompute_activations(model: PreTrainedModel) -> None:
    """Keep the inputs of the towers' layers only; their activations are formed anew in the backward pass.

    Args:
        model: any model of transformers that supports it. Older versions know the method by another name.
    """
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable()
