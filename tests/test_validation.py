# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The checks that every loss shares, where a loss alone does not reach them."""

import pytest
import torch

from hf_cloob.validation import checked_finite, checked_pair, checked_scale, full_precision


def test_half_precision_becomes_float32_and_wider_stays():
    assert full_precision(torch.ones(1).half())[0].dtype == torch.float32
    assert full_precision(torch.ones(1).bfloat16())[0].dtype == torch.float32
    assert full_precision(torch.ones(1).double())[0].dtype == torch.float64
    assert [x.dtype for x in full_precision(torch.ones(1).half(), torch.ones(1).double())] == [torch.float64] * 2


def test_full_precision_inputs_are_not_copied():
    x, y = torch.ones(2, 3), torch.ones(2, 3)
    assert all(a is b for a, b in zip(checked_pair(x, y), (x, y), strict=True))


def test_a_scale_keeps_its_gradient_in_any_shape_of_one_element():
    like = torch.ones(1, dtype=torch.float64)
    for shape in ((), (1,), (1, 1)):
        scale = torch.full(shape, 3.0, requires_grad=True)
        checked = checked_scale(scale, "scale", like)
        assert checked.shape == () and checked.dtype == torch.float64
        assert torch.autograd.grad(checked, scale)[0].item() == 1.0


def test_only_the_first_rows_of_many_broken_ones_are_listed():
    broken = torch.full((100, 3), float("nan"))
    with pytest.raises(ValueError, match=r"x holds NaN or infinite values in 100 of 100 rows.*\[0, 1, 2, 3, 4\];"):
        checked_finite(broken, "x")


def test_a_tensor_away_from_the_cpu_is_not_looked_at():
    assert checked_finite(torch.ones(2, 2, device="meta"), "x").device.type == "meta"
