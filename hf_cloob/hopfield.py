# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Retrieval from a modern Hopfield network: one softmax update over a memory of stored patterns."""

import torch
from torch.nn import functional as F

from .validation import checked_finite, checked_scale, full_precision


def hopfield_retrieval(
    state_patterns: torch.Tensor, stored_patterns: torch.Tensor, scale: float | torch.Tensor
) -> torch.Tensor:
    """Replace every state pattern by the softmax-weighted mean of the stored patterns, L2-normalized.

        retrieved_i = l2norm( sum_j softmax_j(beta <q_i, s_j>) s_j )

    One update, no learned projection, no dropout; a pattern that is both state and stored takes part in its own
    retrieval. A large `scale` snaps to the nearest stored pattern, a small one returns the direction of their mean.

    Args:
        state_patterns: (n, projection_dim) queries q, L2-normalized by the caller.
        stored_patterns: (m, projection_dim) memory s, L2-normalized by the caller.
        scale: beta, the inverse temperature of the association: a float or a tensor with one element.

    Returns:
        (n, projection_dim) retrieved patterns with unit norm, in the dtype of `state_patterns`.

    Raises:
        ValueError: if the matrices are not 2-d with one projection_dim, the memory is empty, values are not finite,
            or `scale` is a number that is not finite and positive.

    Source: Fürst et al. 2022 (CLOOB, arXiv 2110.11316), section "CLOOB", retrieval of modern Hopfield networks.
    """
    if state_patterns.dim() != 2 or stored_patterns.dim() != 2 or state_patterns.shape[1] != stored_patterns.shape[1]:
        raise ValueError(
            "state_patterns (n, projection_dim) and stored_patterns (m, projection_dim) must be 2-d with the same "
            f"projection_dim, got {tuple(state_patterns.shape)} and {tuple(stored_patterns.shape)}."
        )
    if stored_patterns.shape[0] == 0:
        raise ValueError("stored_patterns is empty: retrieval needs at least one stored pattern.")
    if state_patterns.device != stored_patterns.device:
        raise ValueError(
            f"state_patterns is on {state_patterns.device} and stored_patterns on {stored_patterns.device}: "
            "use one device."
        )
    checked_finite(state_patterns, "state_patterns")
    checked_finite(stored_patterns, "stored_patterns")
    states, stored = full_precision(state_patterns, stored_patterns)
    with torch.autocast(states.device.type, enabled=False):
        scores = checked_scale(scale, "hopfield_scale", states) * (states @ stored.T)
        retrieved = F.normalize(scores.softmax(dim=1) @ stored, dim=1)
    return retrieved.to(state_patterns.dtype)
