# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Projection heads."""

import torch
from torch.nn.functional import gelu

from hf_cloob.projection import build_projection


def test_linear_projection_is_one_matrix_without_bias():
    projection = build_projection("linear", 6, 4)
    pooled = torch.randn(3, 6)
    assert [name for name, _ in projection.named_parameters()] == ["weight"]
    torch.testing.assert_close(projection(pooled), pooled @ projection.weight.T)


def test_mlp_projection_is_linear_gelu_linear():
    projection = build_projection("mlp", 6, 4, 10)
    pooled = torch.randn(3, 6)
    hidden = gelu(pooled @ projection.fc1.weight.T + projection.fc1.bias)
    assert projection.fc1.weight.shape == (10, 6)
    torch.testing.assert_close(projection(pooled), hidden @ projection.fc2.weight.T + projection.fc2.bias)


def test_hidden_width_is_four_times_the_output_by_default():
    assert build_projection("mlp", 6, 5).fc1.out_features == 20
