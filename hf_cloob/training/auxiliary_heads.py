# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Projectors and predictors of auxiliary losses: MLPs whose batch statistics are those of all processes' rows.

They are thrown away after training, so they are no part of the published model. All of them compute in float32 (or
float64), under autocast too: what they cost beside the towers is small, and statistics in half precision are not.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import nn

from ..distributed import all_reduce_with_grad

LastNorm = Literal["none", "plain", "affine"]


class JoinedBatchNorm(nn.Module):
    """BatchNorm over the rows of all processes, with the gradient through the joined statistics.

        y = (x - mean) / sqrt(var + 1e-5) * weight + bias,   mean and biased variance over the global batch

    In evaluation mode it uses running statistics, updated as torch's BatchNorm1d does (momentum 0.1, unbiased).
    Unlike torch's SyncBatchNorm it runs on the CPU, takes unequal numbers of rows and is exact in float64.

    Args:
        num_features: width of the rows.
        affine: learn weight and bias.
    """

    EPSILON, MOMENTUM = 1e-5, 0.1

    def __init__(self, num_features: int, affine: bool = True):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_features)) if affine else None
        self.bias = nn.Parameter(torch.zeros(num_features)) if affine else None
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """(local_batch_size, num_features) -> the same shape; while training every process must call.

        Raises:
            ValueError: while training, for fewer than two rows of all processes together (looked at on the CPU only).
        """
        if self.training:
            mean, variance = self._joined_statistics(rows)
        else:
            mean, variance = self.running_mean, self.running_var
        normalized = (rows - mean) * (variance + self.EPSILON).rsqrt()
        return normalized if self.weight is None else normalized * self.weight + self.bias

    def _joined_statistics(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        # The number of rows rides along with their sum. In two passes: a mean of squares would lose digits.
        sums = all_reduce_with_grad(torch.cat([rows.sum(dim=0), rows.new_tensor([len(rows)])]))
        count = sums[-1].detach()
        # Elsewhere looking would wait for the device, and the losses refuse a single pair anyway.
        if rows.device.type == "cpu" and count < 2:
            raise ValueError(f"Batch statistics need at least two rows in the global batch, got {int(count)}.")
        mean = sums[:-1] / count
        variance = all_reduce_with_grad((rows - mean).square().sum(dim=0)) / count
        with torch.no_grad():
            self.running_mean.lerp_(mean.to(self.running_mean), self.MOMENTUM)
            self.running_var.lerp_((variance * count / (count - 1)).to(self.running_var), self.MOMENTUM)
        return mean, variance


class MLPHead(nn.Module):
    """Linear, BatchNorm, ReLU for each hidden width, then a linear layer, maybe with a BatchNorm of its own.

    Args:
        in_features: width of the rows.
        sizes: widths behind each linear layer, the last one is the head's output.
        last_norm: "none", or a BatchNorm behind the last layer: "affine", or "plain" without weight and bias.
        bias: whether the linear layers have a bias; the last one may be told apart by `last_bias`.
        last_bias: whether the last linear layer has one; as `bias` if None.

    Raises:
        ValueError: for sizes that are not positive, or none.
    """

    def __init__(
        self,
        in_features: int,
        sizes: Sequence[int],
        last_norm: LastNorm = "none",
        bias: bool = True,
        last_bias: bool | None = None,
    ):
        super().__init__()
        if not sizes or min(sizes) < 1:
            raise ValueError(f"The sizes of a head must be at least one number above 0, got {list(sizes)}.")
        layers: list[nn.Module] = []
        for width in sizes[:-1]:
            layers += [nn.Linear(in_features, width, bias=bias), JoinedBatchNorm(width), nn.ReLU()]
            in_features = width
        layers.append(nn.Linear(in_features, sizes[-1], bias=bias if last_bias is None else last_bias))
        if last_norm != "none":
            layers.append(JoinedBatchNorm(sizes[-1], affine=last_norm == "affine"))
        self.layers = nn.Sequential(*layers)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """(local_batch_size, in_features) -> (local_batch_size, sizes[-1]), not normalized."""
        with torch.autocast(states.device.type, enabled=False):
            return self.layers(states.to(torch.promote_types(states.dtype, torch.float32)))


# Sizes and norms as in the code released with SLIP and with Fini et al. 2023 (arXiv 2305.08675).
PAPER_SIZES = {
    "strong": (4096, 4096, 256),
    "slip": (4096, 4096, 256),
    "barlip": (3000, 3000, 8192),
    "siamlip": (2048, 128),
    "byolip": (2048, 128),
}


def contrastive_head(in_features: int, sizes: Sequence[int] = PAPER_SIZES["strong"]) -> MLPHead:
    """The head h of rocket's strong pairs, and SLIP's image head: Linear-BN-ReLU twice, then Linear."""
    return MLPHead(in_features, sizes)


def barlip_head(in_features: int, sizes: Sequence[int] = PAPER_SIZES["barlip"]) -> MLPHead:
    """BarLIP's projector: its output is standardized by a BatchNorm, whose weights learn as in the released code."""
    return MLPHead(in_features, sizes, last_norm="affine")


def siamese_projector(in_features: int, sizes: Sequence[int] = PAPER_SIZES["siamlip"]) -> MLPHead:
    """SiamLIP's and BYOLIP's projector: no biases, a plain BatchNorm behind the last layer."""
    return MLPHead(in_features, sizes, last_norm="plain", bias=False)


def siamese_predictor(sizes: Sequence[int] = PAPER_SIZES["siamlip"]) -> MLPHead:
    """SiamLIP's and BYOLIP's predictor of one modality's projection from the other's."""
    return MLPHead(sizes[-1], sizes, bias=False, last_bias=True)
