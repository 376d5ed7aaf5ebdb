# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Operands and products: which inputs become half operands, what that keeps of them, and that sums are float32."""

import math

import pytest
import torch
from test_blockwise import embeddings
from torch._subclasses.fake_tensor import FakeTensorMode

from hf_cloob.blockwise_products import FULL, HALF, add_product_, score_block, wants_half_operands

HALVES = (torch.float16, torch.bfloat16)


def on_gpu(*dtypes: torch.dtype) -> list[torch.Tensor]:
    """Tensors that say they are on a GPU; they have no numbers."""
    with FakeTensorMode():
        return [torch.empty(4, 3, device="cuda", dtype=dtype) for dtype in dtypes]


@pytest.fixture
def autocast_to_bfloat16():
    """What `torch.autocast("cuda", torch.bfloat16)` sets, which refuses to without a GPU."""
    earlier = torch.get_autocast_dtype("cuda")
    torch.set_autocast_enabled("cuda", True)
    torch.set_autocast_dtype("cuda", torch.bfloat16)
    yield
    torch.set_autocast_enabled("cuda", False)
    torch.set_autocast_dtype("cuda", earlier)


def test_half_inputs_on_a_gpu_get_half_operands_and_no_others():
    for half in HALVES:
        assert wants_half_operands(*on_gpu(half, half))
        assert not wants_half_operands(*on_gpu(half, torch.float32))
        assert not wants_half_operands(torch.ones(4, 3, dtype=half))
    assert wants_half_operands(*on_gpu(*HALVES))
    assert not wants_half_operands(*on_gpu(torch.float32))
    assert not wants_half_operands(torch.ones(4, 3, dtype=torch.float16, device="meta"))


def test_autocast_on_a_gpu_makes_half_operands_of_float32_but_not_of_float64(autocast_to_bfloat16):
    assert wants_half_operands(*on_gpu(torch.float32, torch.float32))
    assert not wants_half_operands(*on_gpu(torch.float32, torch.float64))
    assert not wants_half_operands(torch.ones(4, 3))


def test_half_operands_on_a_gpu_have_float32_products():
    with FakeTensorMode():
        left, right = (torch.empty(4, 3, device="cuda", dtype=torch.float16) for _ in range(2))
        block = score_block(left, right)
        assert (block.dtype, block.shape, block.device.type) == (torch.float32, (4, 4), "cuda")
        for factor in (0.5, torch.empty((), device="cuda"), torch.empty(4, 1, device="cuda")):
            assert add_product_(torch.empty(4, 3, device="cuda"), block.half(), right, factor).dtype == torch.float32


def test_a_half_holds_every_number_that_a_half_precision_row_of_unit_length_has():
    for dtype, smallest in ((torch.float16, 2.0**-24), (torch.bfloat16, 2.0**-25)):
        bits = torch.arange(-(2**15), 2**15).to(torch.int16).view(dtype).float()
        numbers = bits[(bits.abs() >= smallest) & (bits.abs() <= 1)]
        assert len(numbers) > 1000
        operand = HALF.operand(numbers.reshape(1, -1))
        assert torch.equal(operand.values.float() / HALF.row_unit, operand.rows)


def test_full_precision_operands_are_the_matrices_themselves():
    x, _ = embeddings(5)
    operand = FULL.operand(x)
    assert operand.values is operand.rows is x
    assert FULL.cast(x, 3.0) is x and FULL.gradient_unit(x) == 1 and FULL.slope_unit == 1


def test_scores_of_half_operands_are_those_of_the_rows_up_to_their_rounding():
    x, y = embeddings(50, 64)
    scale = torch.tensor(30.0)
    left, factor = HALF.scaled(HALF.operand(x.float()), slice(10, 40), scale)
    scores = score_block(left, HALF.operand(y.float()).values) * factor
    assert scores.dtype == torch.float32
    # Each operand is within 2^-11 of itself, and errors of either sign cancel.
    errors = (scores - 30 * x[10:40] @ y.T).abs()
    assert errors.max() < 2 * 30 * 2**-11 and errors.mean() < 30 * 2**-11 / math.sqrt(64)


@pytest.mark.parametrize("size", [1e-12, 3e-5, 1.0, 700.0])
def test_the_unit_of_gradients_is_a_power_of_two_that_fills_the_range(size):
    gradients = size * torch.randn(2, 30, 16, generator=torch.Generator().manual_seed(0))
    unit = HALF.gradient_unit(*gradients)
    assert math.log2(unit) % 1 == 0
    longest = sum(unit * gradient.norm(dim=1).amax() for gradient in gradients)
    assert HALF.gradient_limit / 2 <= longest <= HALF.gradient_limit
    assert HALF.gradient_unit(torch.zeros(3, 2)).isfinite()


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_a_product_is_added_with_its_factor(dtype):
    left, right = (torch.randn(6, 6, generator=torch.Generator().manual_seed(s)).to(dtype) for s in (0, 1))
    sums = torch.promote_types(dtype, torch.float32)
    for factor in (1.0, 0.25, torch.tensor(0.5, dtype=sums), torch.rand(6, 1, dtype=sums)):
        into = torch.ones(6, 6, dtype=sums)
        expected = 1 + factor * (left.double() @ right.double())
        torch.testing.assert_close(add_product_(into, left, right, factor).double(), expected, rtol=1e-5, atol=1e-5)
