# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Heads of auxiliary losses: the papers' sizes, and batch statistics of all processes with their gradient."""

import objective_workers as workers
import pytest
import torch
from gloo import run_in_processes
from torch import nn

from hf_cloob.training.auxiliary_heads import (
    PAPER_SIZES,
    JoinedBatchNorm,
    MLPHead,
    barlip_head,
    contrastive_head,
    siamese_predictor,
    siamese_projector,
)
from hf_cloob.training.optimization import parameter_groups

EXACT = {"rtol": 1e-10, "atol": 1e-12}


def torch_batch_norm(sizes: list[int]) -> tuple:
    norm = nn.BatchNorm1d(3).double().train()
    norm.weight.data += torch.arange(3)
    rows, factors = workers.batch_norm_rows(sum(sizes))
    rows.requires_grad_()
    outputs = norm(rows)
    gradients = torch.autograd.grad((outputs * factors).sum(), [rows, norm.weight, norm.bias])
    return outputs.detach(), *gradients, norm.running_mean, norm.running_var


def test_one_process_has_torchs_batch_norm():
    for ours, theirs in zip(workers.joined_batch_norm(0, [9]), torch_batch_norm([9]), strict=True):
        torch.testing.assert_close(ours, theirs, **EXACT)


@pytest.mark.parametrize("sizes", [[5, 4], [1, 8], [0, 6]], ids=str)
def test_two_processes_have_torchs_batch_norm_of_the_joined_rows(sizes):
    outputs, by_rows, by_weight, by_bias, mean, variance = torch_batch_norm(sizes)
    results = run_in_processes(workers.joined_batch_norm, 2, sizes)
    for rank, (own, own_by_rows, _, _, *statistics) in enumerate(results):
        rows = slice(sum(sizes[:rank]), sum(sizes[: rank + 1]))
        torch.testing.assert_close(own, outputs[rows], **EXACT)
        # Each process has a loss of its own rows here; their sum is what torch's one process differentiates.
        torch.testing.assert_close(own_by_rows, by_rows[rows], **EXACT)
        torch.testing.assert_close(statistics, [mean, variance], **EXACT)
    for place, expected in ((2, by_weight), (3, by_bias)):
        torch.testing.assert_close(results[0][place] + results[1][place], expected, **EXACT)


def test_evaluation_uses_running_statistics_alone():
    norm, theirs = JoinedBatchNorm(3).double(), nn.BatchNorm1d(3).double()
    rows, _ = workers.batch_norm_rows(9)
    for module in (norm, theirs):
        module.train()(rows)
        module.eval()
    torch.testing.assert_close(norm(rows[:1]), theirs(rows[:1]), **EXACT)


def test_a_single_row_has_no_batch_statistics():
    with pytest.raises(ValueError, match="at least two rows in the global batch, got 1"):
        JoinedBatchNorm(3).train()(torch.ones(1, 3))


def linear_shapes(head: MLPHead) -> list[tuple]:
    return [
        (layer.in_features, layer.out_features, layer.bias is not None)
        for layer in head.layers
        if isinstance(layer, nn.Linear)
    ]


def norms(head: MLPHead) -> list[bool]:
    return [layer.weight is not None for layer in head.layers if isinstance(layer, JoinedBatchNorm)]


def test_heads_have_the_papers_sizes_norms_and_biases():
    with torch.device("meta"):
        strong, barlip = contrastive_head(2048), barlip_head(512)
        projector, predictor = siamese_projector(2048), siamese_predictor()
    assert PAPER_SIZES["strong"] == PAPER_SIZES["slip"] == (4096, 4096, 256)
    assert linear_shapes(strong) == [(2048, 4096, True), (4096, 4096, True), (4096, 256, True)]
    assert linear_shapes(barlip) == [(512, 3000, True), (3000, 3000, True), (3000, 8192, True)]
    assert linear_shapes(projector) == [(2048, 2048, False), (2048, 128, False)]
    assert linear_shapes(predictor) == [(128, 2048, False), (2048, 128, True)]
    # True: a BatchNorm with weight and bias.
    assert [norms(head) for head in (strong, barlip, projector, predictor)] == [
        [True, True],
        [True, True, True],
        [True, False],
        [True],
    ]


def test_matrices_of_a_head_decay_and_its_norms_and_biases_do_not():
    decayed, kept = parameter_groups(contrastive_head(4, (3, 2)), 0.5)
    assert decayed["names"] == ["layers.0.weight", "layers.3.weight"]
    assert sorted(kept["names"]) == ["layers.0.bias", "layers.1.bias", "layers.1.weight", "layers.3.bias"]


def test_a_head_computes_in_float32_under_autocast():
    head = contrastive_head(4, (3, 2))
    rows = torch.randn(5, 4).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        outputs = head(rows)
    assert outputs.dtype == torch.float32
    torch.testing.assert_close(outputs, head(rows.float()))


@pytest.mark.parametrize("sizes", [(), (3, 0)])
def test_sizes_that_make_no_head_are_named(sizes):
    with pytest.raises(ValueError, match="at least one number above 0, got"):
        contrastive_head(4, sizes)
