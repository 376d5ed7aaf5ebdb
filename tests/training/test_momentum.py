# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The EMA copy follows its closed form, trains nothing, and comes back from a checkpoint."""

import pytest
import torch
from torch import nn

from hf_cloob.training.momentum import MomentumCopy


def test_the_copy_equals_the_closed_form_after_many_updates():
    module = nn.Linear(3, 2).double()
    m, history = 0.9, [module.weight.detach().clone()]
    copy = MomentumCopy(module, m)
    for step in range(1, 31):
        module.weight.data += torch.randn(2, 3, dtype=torch.float64)
        history.append(module.weight.detach().clone())
        copy.update(module)
        expected = m**step * history[0] + (1 - m) * sum(m ** (step - k) * history[k] for k in range(1, step + 1))
        torch.testing.assert_close(copy.module.weight.detach(), expected, rtol=1e-12, atol=1e-12)
    assert not torch.equal(copy.module.weight, module.weight)


def test_no_momentum_is_a_plain_copy():
    module = nn.Linear(3, 2)
    copy = MomentumCopy(module, 0.0)
    module.weight.data.fill_(7.0)
    copy.update(module)
    assert torch.equal(copy.module.weight, module.weight)


def test_the_copy_shares_no_memory_has_no_gradient_and_its_own_statistics():
    module = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)).train()
    copy = MomentumCopy(module)
    assert not any(parameter.requires_grad for parameter in copy.parameters())
    assert all(parameter.requires_grad for parameter in module.parameters())
    module[0].weight.data.zero_()
    assert copy.module[0].weight.abs().sum() > 0
    module(torch.randn(8, 3))
    assert module[1].num_batches_tracked == 1 and copy.module[1].num_batches_tracked == 0
    assert not copy(torch.randn(8, 3)).requires_grad
    assert copy.module[1].num_batches_tracked == 1


def test_a_loaded_copy_continues_as_the_saved_one():
    module = nn.Linear(3, 2)
    saved = MomentumCopy(module, 0.5)
    module.weight.data += 1
    saved.update(module)
    loaded = MomentumCopy(nn.Linear(3, 2), 0.5)
    loaded.load_state_dict(saved.state_dict())
    for copy in (saved, loaded):
        copy.update(module)
    assert torch.equal(saved.module.weight, loaded.module.weight)


@pytest.mark.parametrize("momentum", [1.0, -0.1, float("nan")])
def test_a_momentum_out_of_range_is_named(momentum):
    with pytest.raises(ValueError, match=r"momentum must be in \[0, 1\), got"):
        MomentumCopy(nn.Linear(2, 2), momentum)
