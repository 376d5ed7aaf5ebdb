# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Exponentials of all scores: their shifts, and the memory of the whole objective on a GPU, counted without one."""

import math
import weakref

import pytest
import torch
from test_blockwise import embeddings
from torch.nn.functional import normalize
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from hf_cloob import blockwise_retrieval, cloob_loss, losses_dense
from hf_cloob.blockwise import Blocks
from hf_cloob.blockwise_objectives import contrast_of_retrieved
from hf_cloob.blockwise_products import FULL, HALF


def test_shifts_are_shared_only_where_no_exponential_can_vanish():
    x, y = embeddings(6)
    beta = torch.tensor(8.0, dtype=torch.float64)
    assert [blockwise_retrieval.is_small(scale) for scale in (8.0, 40.0, 41.0, beta, 50 * beta)] == [
        True,
        True,
        False,
        True,
        False,
    ]
    assert not blockwise_retrieval.is_small(beta.to("meta"))  # where looking would wait for the device
    assert blockwise_retrieval.retrieval_shifts(x, y, beta, True, Blocks()).columns is None
    assert blockwise_retrieval.retrieval_shifts(x, x, 50 * beta, False, Blocks()).columns is None
    large = blockwise_retrieval.retrieval_shifts(x, y, 50 * beta, False, Blocks(4))
    scores = 400 * x @ y.T
    torch.testing.assert_close(large.rows.flatten(), scores.amax(dim=1))
    torch.testing.assert_close(large.columns.flatten(), scores.amax(dim=0))
    assert math.isclose(blockwise_retrieval.shared_shift(x, y, beta, True, Blocks()).item(), 8.0)
    off_diagonal = scores.masked_fill(torch.eye(6, dtype=torch.bool), -math.inf)
    torch.testing.assert_close(
        blockwise_retrieval.shared_shift(x, y, 50 * beta, False, Blocks(4)), off_diagonal.amax()
    )


def test_half_operands_share_a_shift_only_where_a_half_can_hold_the_smallest_exponential():
    for precision in (FULL, HALF):
        dtype = precision.dtype or torch.float32
        smallest = math.exp(-2 * precision.largest_shared_scale) * precision.weight_unit
        assert smallest >= torch.finfo(dtype).smallest_normal
        assert blockwise_retrieval.is_small(8.0, precision.largest_shared_scale)
    assert not blockwise_retrieval.is_small(14.3, HALF.largest_shared_scale)


@pytest.mark.parametrize("hopfield_scale", [8.0, 60.0])
def test_rows_a_little_longer_than_1_do_not_overflow_a_half(hopfield_scale):
    x, y = (1.019 * normalize(embeds.float()) for embeds in embeddings(40))
    ours = cloob_loss(x, y, 30.0, hopfield_scale, blocks=Blocks(16, half_operands=True))
    expected = losses_dense.cloob_loss(x.double(), y.double(), 30.0, hopfield_scale)
    assert abs(ours.item() - expected.item()) < 1e-3


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of all tensors alive, and their peak."""

    def __init__(self):
        super().__init__()
        self.alive, self.peak, self._seen = 0, 0, set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor) and tensor.untyped_storage()._cdata not in self._seen:
                storage = tensor.untyped_storage()
                self._seen.add(storage._cdata)
                self.alive += storage.nbytes()
                self.peak = max(self.peak, self.alive)
                weakref.finalize(storage, self._free, storage._cdata, storage.nbytes())
        return result

    def _free(self, key: int, size: int) -> None:
        self._seen.discard(key)
        self.alive -= size


def peak_of_cloob(pairs: int, half_operands: bool, width: int = 512) -> int:
    """Bytes that CLOOB's objective with its derivatives takes on a device that is no CPU, beside its inputs.

    The device "meta" has no memory and no numbers: the pass would raise if it looked at one, as it would wait for a
    GPU. The path is the GPU's, up to its GEMMs with float32 results.
    """
    x, y = torch.empty(2, pairs, width, device="meta").unbind()
    scale = torch.empty((), device="meta")
    blocks = Blocks(half_operands=half_operands)
    with LiveBytes() as memory:
        result = contrast_of_retrieved(
            x, y, scale, scale, blocks, True, small_hopfield_scale=True, exclude_positive=True
        )
    assert result.first.dtype == torch.float32 and result.first.shape == (pairs, width)
    return memory.peak


@pytest.mark.parametrize("half_operands", [False, True])
def test_65536_pairs_on_a_gpu_take_less_than_2_gb(half_operands):
    # Linear in the number of pairs, and above 20 projection_dim no exponentials are kept.
    fewer, more = (peak_of_cloob(pairs, half_operands) for pairs in (12_288, 16_384))
    slope = (more - fewer) / 4096
    of_inputs_in_float32 = 2 * 65_536 * 512 * 4 if half_operands else 0
    assert more + slope * (65_536 - 16_384) + of_inputs_in_float32 < 2e9


@pytest.mark.slow
def test_memory_grows_with_the_number_of_pairs_and_not_faster():
    predicted = peak_of_cloob(16_384, True) + 4 * (peak_of_cloob(16_384, True) - peak_of_cloob(12_288, True))
    assert peak_of_cloob(32_768, True) == pytest.approx(predicted, rel=0.02)
