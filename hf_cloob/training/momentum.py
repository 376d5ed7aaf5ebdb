# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""A slow copy of a module: the exponential moving average of its parameters."""

import copy

import torch
from torch import nn


class MomentumCopy(nn.Module):
    """The exponential moving average of a module's parameters, as a module that gives targets.

        w' <- m w' + (1 - m) w      after each optimizer step; closed form w'_n = m^n w_0 + (1 - m) sum_k m^(n-k) w_k

    Buffers are not averaged: in training mode the copy keeps batch statistics of its own passes, as in the released
    code. The copy is a part of the module that it is registered in, so a resume checkpoint holds it.

    Args:
        module: what is copied; copy it before it is wrapped or prepared.
        momentum: m in [0, 1); 0.99 in BYOLIP.

    Raises:
        ValueError: for a momentum out of range.

    Source: Grill et al. 2020 (BYOL, arXiv 2006.07733), equation 1.
    """

    def __init__(self, module: nn.Module, momentum: float = 0.99):
        super().__init__()
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum must be in [0, 1), got {momentum}.")
        self.momentum = momentum
        self.module = copy.deepcopy(module).requires_grad_(False)

    def forward(self, *args, **kwargs):
        """The copy's own forward."""
        return self.module(*args, **kwargs)

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Take in the parameters of the module, whose structure is that of the one that was copied."""
        for slow, parameter in zip(self.module.parameters(), module.parameters(), strict=True):
            slow.lerp_(parameter, 1 - self.momentum)
