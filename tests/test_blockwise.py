# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The blockwise kernels: exact for every size, never a whole score matrix, each process its share."""

import pytest
import torch
from torch.nn.functional import normalize
from torch.utils._python_dispatch import TorchDispatchMode

from hf_cloob import cloob_loss, losses_dense
from hf_cloob import losses_contrastive as contrastive
from hf_cloob import losses_regularization as regularization
from hf_cloob.blockwise import Blocks

# Ours with `blocks`, and the dense form, as functions of two matrices and the scale.
LOSSES = {
    "info_nce": (
        lambda x, y, t, **b: contrastive.info_nce_loss(x, y, t, 0.1, **b),
        lambda x, y, t: losses_dense.info_nce_loss(x, y, t, 0.1),
    ),
    "info_loob": (contrastive.info_loob_loss, losses_dense.info_loob_loss),
    "clip": (
        lambda x, y, t, **b: contrastive.clip_loss(x, y, t, 0.1, **b),
        lambda x, y, t: losses_dense.clip_loss(x, y, t, 0.1),
    ),
    "clip_retrieved": (
        lambda x, y, t, **b: contrastive.clip_loss(x, y, t, 0.1, 8.0, **b),
        lambda x, y, t: losses_dense.clip_loss(x, y, t, 0.1, 8.0),
    ),
    "loob_without_retrieval": (
        lambda x, y, t, **b: contrastive.cloob_loss(x, y, t, None, **b),
        lambda x, y, t: losses_dense.cloob_loss(x, y, t, None),
    ),
    "cloob": (
        lambda x, y, t, **b: contrastive.cloob_loss(x, y, t, 8.0, **b),
        lambda x, y, t: losses_dense.cloob_loss(x, y, t, 8.0),
    ),
    # Above LARGEST_SHARED_SCALE every row and column of the cross retrieval has a shift of its own.
    "cloob_60": (
        lambda x, y, t, **b: contrastive.cloob_loss(x, y, t, 60.0, **b),
        lambda x, y, t: losses_dense.cloob_loss(x, y, t, 60.0),
    ),
    "sigmoid": (
        lambda x, y, t, **b: contrastive.sigmoid_loss(x, y, t, -10.0, **b),
        lambda x, y, t: losses_dense.sigmoid_loss(x, y, t, -10.0),
    ),
    "uniformity": (
        lambda x, y, t, **b: regularization.uniformity_loss(x, t / 10, **b),
        lambda x, y, t: losses_dense.uniformity_loss(x, t / 10),
    ),
    "cross_modal_uniformity": (
        lambda x, y, t, **b: regularization.cross_modal_uniformity_loss(x, y, t / 10, **b),
        lambda x, y, t: losses_dense.cross_modal_uniformity_loss(x, y, t / 10),
    ),
    # 2 t = 60 is above LARGEST_SHARED_SCALE too.
    "narrow_cross_modal_uniformity": (
        lambda x, y, t, **b: regularization.cross_modal_uniformity_loss(x, y, t, **b),
        lambda x, y, t: losses_dense.cross_modal_uniformity_loss(x, y, t),
    ),
}
T = 30.0


def embeddings(pairs: int, width: int = 16, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Unit rows in float64; texts lean towards their images."""
    images, noise = torch.randn(2, pairs, width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return normalize(images), normalize(images + noise)


def value_and_gradients(function, x, y, t=T, **options):
    x, y = x.detach().requires_grad_(), y.detach().requires_grad_()
    t = torch.tensor(t, dtype=torch.promote_types(x.dtype, torch.float32), requires_grad=True)
    value = function(x, y, t, **options)
    gradients = torch.autograd.grad(value, [x, y, t], allow_unused=True, materialize_grads=True)
    return value.detach().double(), [gradient.double() for gradient in gradients]


def assert_close(ours, expected, of_value: float, of_gradients: float) -> None:
    """Gradients relative to their norm, which is not let below 1e-4: by t, that of two pairs cancels to nothing."""
    (value, gradients), (expected_value, expected_gradients) = ours, expected
    assert (value - expected_value).abs() <= of_value * expected_value.abs().clamp_min(1)
    for gradient, wanted in zip(gradients, expected_gradients, strict=True):
        assert gradient.isfinite().all()
        assert (gradient - wanted).norm() <= of_gradients * wanted.norm().clamp_min(1e-4)


@pytest.mark.parametrize("size", [1, 3, 8, None])
@pytest.mark.parametrize("name", LOSSES)
def test_every_size_and_block_size_equals_the_dense_form(name, size):
    ours, dense = LOSSES[name]
    for pairs in (2, 3, 4, 5, 7, 8, 9, 17, 24, 31):
        x, y = embeddings(pairs)
        expected = value_and_gradients(dense, x, y)
        assert_close(value_and_gradients(ours, x, y, blocks=Blocks(size)), expected, 1e-10, 1e-8)
        single = value_and_gradients(ours, x.float(), y.float(), blocks=Blocks(size))
        assert_close(single, expected, 1e-5, 1e-4)


@pytest.mark.parametrize("name", LOSSES)
def test_half_precision_inputs_are_within_a_hundredth(name):
    ours, dense = LOSSES[name]
    for dtype in (torch.bfloat16, torch.float16):
        x, y = (embeds.to(dtype) for embeds in embeddings(100, 64))
        expected = value_and_gradients(dense, x.double(), y.double())
        assert_close(value_and_gradients(ours, x, y, blocks=Blocks(32)), expected, 1e-2, 1e-2)


@pytest.mark.parametrize("pairs, width, size", [(100, 64, 32), (20, 16, 7), (301, 32, None)])
@pytest.mark.parametrize("name", LOSSES)
def test_half_operands_are_within_a_hundredth(name, pairs, width, size):
    """What a GPU computes, with its very products: those of two halves are exact in float32."""
    ours, dense = LOSSES[name]
    for dtype in (torch.bfloat16, torch.float16, torch.float32):
        x, y = (embeds.to(dtype) for embeds in embeddings(pairs, width))
        expected = value_and_gradients(dense, x.double(), y.double())
        found = value_and_gradients(ours, x, y, blocks=Blocks(size, half_operands=True))
        assert_close(found, expected, 1e-3, 1e-2)
        in_full = value_and_gradients(ours, x, y, blocks=Blocks(size))
        assert not all(map(torch.equal, found[1], in_full[1]))


@pytest.mark.parametrize("name", LOSSES)
def test_half_operands_stay_finite_at_a_scale_of_1000_and_for_double_inputs_full(name):
    ours, _ = LOSSES[name]
    x, y = embeddings(40)
    blocks = Blocks(16, half_operands=True)
    value, gradients = value_and_gradients(ours, x.float(), y.float(), 1000.0, blocks=blocks)
    assert value.isfinite() and all(gradient.isfinite().all() for gradient in gradients)
    assert torch.equal(ours(x, y, T, blocks=blocks), ours(x, y, T, blocks=Blocks(16)))


@pytest.mark.parametrize("name", LOSSES)
def test_a_scale_of_1000_keeps_value_and_gradients(name):
    ours, dense = LOSSES[name]
    x, y = embeddings(40)
    expected = value_and_gradients(dense, x, y, 1000.0)
    assert_close(value_and_gradients(ours, x, y, 1000.0, blocks=Blocks(16)), expected, 1e-9, 1e-7)
    value, gradients = value_and_gradients(ours, x.float(), y.float(), 1000.0, blocks=Blocks(16))
    assert (value - expected[0]).abs() <= 1e-3 * expected[0].abs().clamp_min(1)
    assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("hopfield_scale", [0.5, 8.0, 39.0, 41.0, 300.0, 1000.0])
def test_every_retrieval_scale_is_finite_for_opposite_equal_and_duplicated_rows(hopfield_scale):
    x = embeddings(20)[0].float()
    cases = {
        "opposite": (x, -x),
        "equal": (x[:1].repeat(20, 1), x[:1].repeat(20, 1)),
        "duplicated": (x[torch.arange(20) // 2], x[torch.arange(20) // 3]),
        "two": (x[:2], x[2:4]),
    }
    for name, (first, second) in cases.items():
        ours = value_and_gradients(
            lambda a, b, t: cloob_loss(a, b, t, hopfield_scale, blocks=Blocks(7)), first, second
        )
        expected = value_and_gradients(
            lambda a, b, t: losses_dense.cloob_loss(a, b, t, hopfield_scale), first.double(), second.double()
        )
        assert (ours[0] - expected[0]).abs() <= 1e-4, name
        # A float32 score times 1,000 is right to 1e-4, and so is its exponential.
        for gradient, wanted in zip(ours[1], expected[1], strict=True):
            assert (gradient - wanted).abs().max() <= 2e-3 * wanted.abs().max().clamp_min(0.1), name


@pytest.mark.parametrize("hopfield_scale", [0.5, 8.0, 9.0, 9.5, 39.0, 41.0, 300.0])
def test_every_retrieval_scale_works_with_half_operands_for_opposite_equal_and_duplicated_rows(hopfield_scale):
    x = embeddings(20)[0].float().bfloat16()
    cases = {
        "opposite": (x, -x),
        "equal": (x[:1].repeat(20, 1), x[:1].repeat(20, 1)),
        "duplicated": (x[torch.arange(20) // 2], x[torch.arange(20) // 3]),
        "two": (x[:2], x[2:4]),
    }
    blocks = Blocks(7, half_operands=True)
    for name, (first, second) in cases.items():
        ours = value_and_gradients(lambda a, b, t: cloob_loss(a, b, t, hopfield_scale, blocks=blocks), first, second)
        expected = value_and_gradients(
            lambda a, b, t: losses_dense.cloob_loss(a, b, t, hopfield_scale), first.double(), second.double()
        )
        assert (ours[0] - expected[0]).abs() <= 2e-3, name
        for gradient, wanted in zip(ours[1], expected[1], strict=True):
            # A score that is wrong by its operands' rounding, times the scale: near a softmax of one winner it shows.
            tolerance = 1e-2 if hopfield_scale <= 60 else 1e-1
            assert (gradient - wanted).norm() <= tolerance * wanted.norm().clamp_min(0.1), name


@pytest.mark.parametrize("hopfield_scale", [3.0, 60.0])
def test_rows_that_are_not_of_unit_length_still_equal_the_dense_form(hopfield_scale):
    x, y = embeddings(20)
    x, y = 3 * x, 0.2 * y
    expected = value_and_gradients(lambda a, b, t: losses_dense.cloob_loss(a, b, t, hopfield_scale), x, y)
    ours = value_and_gradients(lambda a, b, t: cloob_loss(a, b, t, hopfield_scale, blocks=Blocks(7)), x, y)
    assert_close(ours, expected, 1e-10, 1e-8)


def test_a_row_of_zeros_gives_finite_gradients():
    x, y = embeddings(6)
    x[2] = 0
    value, gradients = value_and_gradients(lambda a, b, t: cloob_loss(a, b, t, 8.0), x, y)
    assert value.isfinite() and all(gradient.isfinite().all() for gradient in gradients)


class LargestTensor(TorchDispatchMode):
    """Notes the largest number of elements that any operation returns."""

    elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(tensor, torch.Tensor):
                self.elements = max(self.elements, tensor.numel())
        return result


@pytest.mark.parametrize("name", LOSSES)
def test_no_matrix_of_all_scores_is_formed_forward_or_backward(name):
    pairs, width, size = 1024, 16, 32
    x, y = (embeds.float().requires_grad_() for embeds in embeddings(pairs, width))
    largest = {}
    for form, options in (("ours", {"blocks": Blocks(size)}), ("dense", {})):
        with LargestTensor() as seen:
            LOSSES[name][form == "dense"](x, y, T, **options).backward()
        largest[form] = seen.elements
    assert largest["dense"] == pairs * pairs
    assert largest["ours"] <= pairs * max(width, size)


def test_a_second_derivative_raises_and_says_so():
    x, y = (embeds.requires_grad_() for embeds in embeddings(5))
    (gradient,) = torch.autograd.grad(cloob_loss(x, y, T, 8.0), x, create_graph=True)
    with pytest.raises(RuntimeError, match="cannot be differentiated twice.*losses_dense"):
        gradient.sum().backward()
    dense = torch.autograd.grad(losses_dense.cloob_loss(x, y, T, 8.0), x, create_graph=True)
    assert torch.autograd.grad(dense[0].square().sum(), x)[0].abs().sum() > 0


def test_without_gradients_no_product_is_formed():
    x, y = embeddings(64)
    with torch.profiler.profile() as value_only:
        cloob_loss(x, y, T, 8.0)
    with torch.profiler.profile() as with_gradients:
        cloob_loss(x.requires_grad_(), y, T, 8.0)
    products = [
        sum(event.count for event in profile.key_averages() if event.key in ("aten::mm", "aten::addmm_"))
        for profile in (value_only, with_gradients)
    ]
    assert products[0] == 9 and products[1] > 2 * products[0]


@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize("length", [2, 7, 64])
@pytest.mark.parametrize("symmetric", [False, True])
def test_the_processes_blocks_cover_every_score_once(count, length, symmetric):
    seen = torch.zeros(length, length)
    shares = []
    for index in range(count):
        pairs = Blocks(16, index, count).pairs(length, torch.device("cpu"), symmetric)
        shares.append(sum((rows.stop - rows.start) * (columns.stop - columns.start) for rows, columns in pairs))
        for rows, columns in pairs:
            seen[rows, columns] += 1
            if symmetric and rows != columns:
                seen[columns, rows] += 1
    assert (seen == 1).all()
    if length >= 16 * count:
        assert max(shares) <= 1.5 * sum(shares) / count


def test_the_precision_is_decided_once_and_sharing_stays():
    from hf_cloob.distributed import _SharedBlocks

    x = torch.ones(2, 3)
    assert Blocks().for_inputs(x, x).half_operands is False
    assert Blocks(half_operands=True).for_inputs(x, x).precision.dtype == torch.float16
    assert Blocks(half_operands=True).for_inputs(x, x.double()).precision.dtype is None
    shared = _SharedBlocks(index=1, count=2).for_inputs(x, x)
    assert isinstance(shared, _SharedBlocks) and (shared.index, shared.count) == (1, 2)
