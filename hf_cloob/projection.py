# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Projection heads from a tower's pooled width to the shared embedding space."""

import torch
from torch import nn


class MLPProjection(nn.Module):
    """Linear, GELU, linear.

    Args:
        in_features: width of the tower's pooled output.
        hidden_features: width between the two linear layers.
        out_features: projection_dim.
    """

    def __init__(self, in_features: int, hidden_features: int, out_features: int):
        super().__init__()
        self.in_features = in_features
        self.fc1 = nn.Linear(in_features, hidden_features)
        self.fc2 = nn.Linear(hidden_features, out_features)

    def forward(self, pooled: torch.Tensor) -> torch.Tensor:
        """(batch_size, in_features) -> (batch_size, projection_dim), not normalized."""
        return self.fc2(nn.functional.gelu(self.fc1(pooled)))


def build_projection(
    projection_type: str, in_features: int, out_features: int, hidden_features: int | None = None
) -> nn.Module:
    """Build a "linear" projection without bias (CLIP's) or an "mlp"; hidden_features defaults to 4 * out_features."""
    if projection_type == "linear":
        return nn.Linear(in_features, out_features, bias=False)
    return MLPProjection(in_features, hidden_features or 4 * out_features, out_features)
