# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What the processes of RECO's distributed tests run: importable, so that spawned processes find it."""

import torch
from tiny_reco import random_memory, stir, tiny_base, unit_rows
from torch.nn.parallel import DistributedDataParallel

from hf_cloob import RecoConfig, RecoForZeroShot

STEPS = 2


def double_reco() -> RecoForZeroShot:
    """In float64, so that nothing but the order of a sum separates two ways to compute the same."""
    base = tiny_base("clip")
    model = RecoForZeroShot(RecoConfig(base_config=base.config, num_neighbors=3), base)
    return stir(model).double().train()


def cached_inputs(pairs: int) -> dict[str, torch.Tensor]:
    """Embeddings and neighbors of pairs, as they are cached for training; the last pair found one neighbor only."""
    inputs = {
        "image_embeds": unit_rows(pairs, 16, 1),
        "text_embeds": unit_rows(pairs, 16, 2),
        "image_neighbor_embeds": unit_rows(3 * pairs, 16, 3).view(pairs, 3, 16),
        "text_neighbor_embeds": unit_rows(3 * pairs, 16, 4).view(pairs, 3, 16),
        "image_neighbor_scores": torch.linspace(0.9, 0.1, 3 * pairs).view(pairs, 3),
        "text_neighbor_scores": torch.linspace(-0.2, 0.7, 3 * pairs).view(pairs, 3),
    }
    inputs["image_neighbor_embeds"][-1, 1:] = 0
    # As a cache keeps what was not found.
    inputs["image_neighbor_scores"][-1, 1:] = float("-inf")
    return {name: tensor.double() for name, tensor in inputs.items()}


def local(inputs: dict[str, torch.Tensor], sizes: list[int], rank: int) -> dict[str, torch.Tensor]:
    start = sum(sizes[:rank])
    return {name: rows[start : start + sizes[rank]] for name, rows in inputs.items()}


def train_steps(model, module, inputs: dict) -> list[tuple[torch.Tensor, dict[str, torch.Tensor]]]:
    """A few steps of SGD on the fusion layers; the loss and every gradient of each."""
    trained = {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
    optimizer = torch.optim.SGD(trained.values(), lr=0.1)
    records = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = model(**inputs, return_loss=True).loss
        loss.backward()
        records.append((loss.detach(), {name: parameter.grad.clone() for name, parameter in trained.items()}))
        optimizer.step()
    return records


def train_with_ddp(rank: int, sizes: list[int], live: bool) -> list:
    """With cached neighbors, or with a memory that every process searches for its own pairs."""
    module = double_reco()
    inputs = local(cached_inputs(sum(sizes)), sizes, rank)
    if live:
        inputs = {name: inputs[name] for name in ("image_embeds", "text_embeds")}
        module.set_memory(random_memory())
        inputs["exclude_ids"] = torch.arange(sum(sizes))[sum(sizes[:rank]) :][: sizes[rank]]
    return train_steps(DistributedDataParallel(module, find_unused_parameters=False), module, inputs)
