# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""A frozen base computes what it computed before it was frozen, bit for bit."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def last_bits_of_unfrozen(base: nn.Module) -> Iterator[None]:
    """Let a frozen base compute exactly what it computed before it was frozen.

    torch multiplies a batch of matrices in one of two ways, which round differently, and chooses by whether a weight
    requires a gradient, even where none is recorded. This concerns the attention layer that SigLIP pools with.
    """
    layers = [layer for layer in base.modules() if isinstance(layer, nn.MultiheadAttention)]
    if not layers:
        yield
        return
    with torch.no_grad():
        try:
            for layer in layers:
                layer.requires_grad_(True)
            yield
        finally:
            for layer in layers:
                layer.requires_grad_(False)
