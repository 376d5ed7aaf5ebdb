# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What the processes of the tests of auxiliary losses run: plain and chunked steps with strong views."""

import torch
from distributed_workers import local_inputs
from grad_cache_workers import DROPOUT, gradients_of, seed_process
from tiny_models import tiny_cloob, tiny_inputs
from torch.nn.parallel import DistributedDataParallel

from hf_cloob.training.auxiliary_heads import JoinedBatchNorm
from hf_cloob.training.auxiliary_settings import AuxiliarySettings
from hf_cloob.training.grad_cache import backward_in_chunks
from hf_cloob.training.objective import TrainingObjective

SMALL = {"strong_head_sizes": (12, 10, 6), "auxiliary_head_sizes": (12, 6)}
INFONCE = {"contrastive_loss": "infonce"}
# Name: (fields of the model, settings).
OBJECTIVES = {
    "rocket": (INFONCE, {"strong_pairs": True}),
    "slip": (INFONCE, {"auxiliary_loss": "slip"}),
    "barlip": (INFONCE, {"auxiliary_loss": "barlip"}),
    "siamlip": (INFONCE, {"auxiliary_loss": "siamlip"}),
    "byolip": (INFONCE, {"auxiliary_loss": "byolip", "ema_momentum": 0.5}),
    "swalip": (INFONCE, {"auxiliary_loss": "swalip"}),
    "cloob_rocket_barlip": ({}, {"strong_pairs": True, "auxiliary_loss": "barlip", "num_strong_views": 3}),
    "sigmoid_siamlip": ({"contrastive_loss": "sigmoid"}, {"auxiliary_loss": "siamlip", "auxiliary_weight": 0.5}),
}


def build(name: str, dropout: bool = False, **settings) -> TrainingObjective:
    """In float64; the EMA copy is made to differ from the model, as it does after a step."""
    fields, own = OBJECTIVES[name]
    model = tiny_cloob(**fields, **(DROPOUT if dropout else {}))
    objective = TrainingObjective(model, AuxiliarySettings(**SMALL | own | settings)).double().train()
    if objective.momentum_copy is not None:
        generator = torch.Generator().manual_seed(5)
        for parameter in objective.momentum_copy.parameters():
            parameter.data += 0.05 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return objective


def with_strong_views(inputs: dict[str, torch.Tensor], num_views: int, first_row: int = 0) -> dict[str, torch.Tensor]:
    """A batch as the collator makes it, with random strong views that depend on the row only."""
    pictures, tokens = [], []
    for row in range(first_row, first_row + len(inputs["pixel_values"])):
        views = tiny_inputs(num_views, seed=100 + row)
        pictures.append(views["pixel_values"].to(inputs["pixel_values"].dtype))
        width = views["input_ids"].shape[1]
        tokens.append(torch.nn.functional.pad(views["input_ids"], (0, 12 - width)))
    shape = (0, num_views, *inputs["pixel_values"].shape[1:])
    pixel_values = torch.stack(pictures) if pictures else inputs["pixel_values"].new_zeros(shape)
    input_ids = torch.stack(tokens) if tokens else torch.zeros(0, num_views, 12, dtype=torch.long)
    strong = {"strong_pixel_values": pixel_values, "strong_input_ids": input_ids}
    return inputs | strong | {"strong_attention_mask": (input_ids != 0).long()}


def rows_of(sizes: list[int], rank: int | None, num_views: int) -> dict[str, torch.Tensor]:
    """The batch of one process, or with None the joined one."""
    if rank is None:
        return with_strong_views(local_inputs([sum(sizes)], 0), num_views)
    return with_strong_views(local_inputs(sizes, rank), num_views, sum(sizes[:rank]))


def step(model, objective: TrainingObjective, inputs: dict, micro_batch_size: int = 0) -> tuple[dict, dict]:
    """The losses of one step, and every gradient and buffer after it."""
    objective.zero_grad()
    if micro_batch_size:
        outputs = backward_in_chunks(model, inputs, micro_batch_size, retrieval_weight=0.4)
    else:
        outputs = model(**inputs, retrieval_weight=0.4, return_loss=True)
        outputs["loss"].backward()
    losses = {name: value.detach() for name, value in outputs.items() if name.endswith("loss")}
    buffers = {f"buffer {name}": buffer.clone() for name, buffer in objective.named_buffers()}
    return losses, gradients_of(objective) | buffers


def steps(model, objective: TrainingObjective, inputs: dict, micro_batch_size: int = 0) -> list:
    """Two steps of SGD with the EMA copy's update."""
    optimizer = torch.optim.SGD([p for p in objective.parameters() if p.requires_grad], lr=0.1)
    records = []
    for _ in range(2):
        records.append(step(model, objective, inputs, micro_batch_size))
        optimizer.step()
        objective.update_momentum()
    return records


def one_process(name: str, sizes: list[int]) -> list:
    objective = build(name)
    return steps(objective, objective, rows_of(sizes, None, objective.settings.num_strong_views))


def every_objective_under_ddp(rank: int, sizes: list[int], micro_batch_sizes: list[int]) -> dict[str, list]:
    """Each objective as DistributedDataParallel trains it, with its defaults; micro-batches of 0 are plain passes."""
    records = {}
    for name in OBJECTIVES:
        objective = build(name)
        inputs = rows_of(sizes, rank, objective.settings.num_strong_views)
        records[name] = steps(DistributedDataParallel(objective), objective, inputs, micro_batch_sizes[rank])
    return records


def without_gradient_of_the_statistics(rank: int, sizes: list[int]) -> list:
    """The usual mistake, SyncBatchNorm's sums detached: values are right, gradients are not."""
    from hf_cloob.training import auxiliary_heads

    correct = auxiliary_heads.all_reduce_with_grad
    auxiliary_heads.all_reduce_with_grad = lambda tensor: correct(tensor.detach())
    try:
        objective = build("siamlip")
        return steps(DistributedDataParallel(objective), objective, rows_of(sizes, rank, 2))
    finally:
        auxiliary_heads.all_reduce_with_grad = correct


def joined_batch_norm(rank: int, sizes: list[int]) -> tuple:
    """Rows, their gradient, the parameters' gradients and the running statistics of one process."""
    norm = JoinedBatchNorm(3).double().train()
    norm.weight.data += torch.arange(3)
    rows, factors = batch_norm_rows(sum(sizes))
    own = slice(sum(sizes[:rank]), sum(sizes[: rank + 1]))
    local = rows[own].clone().requires_grad_()
    outputs = norm(local)
    gradients = torch.autograd.grad((outputs * factors[own]).sum(), [local, norm.weight, norm.bias])
    return outputs.detach(), *gradients, norm.running_mean, norm.running_var


def batch_norm_rows(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return tuple(torch.randn(count, 3, dtype=torch.float64, generator=generator) * 2 + 5 for _ in range(2))


def dropped_step(name: str, micro_batch_size: int, rank: int = 0) -> tuple[dict, dict]:
    """A chunked step with dropout in both towers and in the strong texts' layers."""
    objective = build(name, dropout=True, strong_text_dropout=0.3)
    seed_process(1, rank)
    return step(objective, objective, rows_of([7], None, objective.settings.num_strong_views), micro_batch_size)


def dropped_reference(name: str, micro_batch_size: int) -> tuple[dict, dict]:
    """The same with the graphs of all chunks kept: one loss over their joined rows."""
    objective = build(name, dropout=True, strong_text_dropout=0.3)
    inputs = rows_of([7], None, objective.settings.num_strong_views)
    seed_process(1, 0)
    parts = []
    for start in range(0, 7, micro_batch_size):
        chunk = {key: value[start : start + micro_batch_size] for key, value in inputs.items()}
        parts.append(objective.embed(**chunk))
    rows = [torch.cat([part[key] for part in parts]) for key in objective.row_names]
    losses = objective.compute_losses(*rows, retrieval_weight=0.4)
    losses["loss"].backward()
    buffers = {f"buffer {key}": buffer.clone() for key, buffer in objective.named_buffers()}
    return {key: value.detach() for key, value in losses.items()}, gradients_of(objective) | buffers
