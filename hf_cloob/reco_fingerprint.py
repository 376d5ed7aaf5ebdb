# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The fingerprint of an encoder: which memories were made by it."""

import hashlib

import torch
from torch import nn


@torch.no_grad()
def encoder_fingerprint(model: nn.Module) -> str:
    """A short text that tells one encoder's weights from another's and survives a change of their number format.

    It is the SHA-256 of the SIGN of every weight, with names and shapes: a cast to half precision and back keeps all
    signs, and training flips some of millions within a step. Scales and biases of one element are left out, because
    embeddings do not depend on them; the offsets of a closed gap (`close_gap`) count as weights. A second for about a
    billion weights.

    Args:
        model: any dual encoder.

    Returns:
        32 hexadecimal digits.
    """
    digest = hashlib.sha256()
    offsets = [(name, buffer) for name, buffer in model.named_buffers() if name.endswith("_offset")]
    for name, parameter in sorted([*model.named_parameters(), *offsets]):
        if parameter.numel() > 1:
            digest.update(f"{name} {tuple(parameter.shape)} ".encode())
            digest.update(memoryview(torch.signbit(parameter).cpu().contiguous().numpy()).cast("B"))
    return digest.hexdigest()[:32]
