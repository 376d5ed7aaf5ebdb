# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""QuickGELU, the activation of the released CLIP, without the two extra copies that autograd would keep of it."""

import torch
from torch import nn

SLOPE = 1.702


class QuickGELU(nn.Module):
    """x * sigmoid(1.702 x), the same numbers as transformers' QuickGELUActivation.

    An MLP's hidden states are the largest tensors of a transformer. Written plainly the activation allocates three of
    their size in the forward and keeps two for the backward; here it allocates and keeps one less each, and the
    backward runs as one fused kernel.

    Source: Hendrycks & Gimpel 2016 (arXiv 1606.08415), section 2.
    """

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """(..., width) -> (..., width)."""
        if torch.compiler.is_compiling():  # A compiler fuses the plain form by itself.
            return hidden_states * torch.sigmoid(SLOPE * hidden_states)
        if torch.is_grad_enabled() and hidden_states.requires_grad:
            return _QuickGELU.apply(hidden_states)
        return _QuickGELU.forward(hidden_states)


class _QuickGELU(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(hidden_states: torch.Tensor) -> torch.Tensor:
        return (SLOPE * hidden_states).sigmoid_().mul_(hidden_states)

    @staticmethod
    def setup_context(ctx, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, gradient: torch.Tensor) -> torch.Tensor:
        (hidden_states,) = ctx.saved_tensors
        scaled = SLOPE * hidden_states
        if torch.is_grad_enabled():  # A second derivative was asked for, which the fused kernel lacks.
            gate = torch.sigmoid(scaled)
            return gradient * gate * (1 + scaled * (1 - gate))
        # x sigmoid(1.702 x) = SiLU(1.702 x) / 1.702, so that both have the same derivative.
        return torch.ops.aten.silu_backward.grad_input(gradient, scaled, grad_input=scaled)
