# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Large batches on small memory: the towers run chunk by chunk, the loss is taken over the whole batch."""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import get_device_states, set_device_states

Rows = tuple[torch.Tensor, ...]


def backward_in_chunks(
    model: nn.Module,
    inputs: Mapping[str, Any],
    micro_batch_size: int,
    retrieval_weight: float = 1.0,
    backward: Callable[[torch.Tensor], None] = torch.Tensor.backward,
) -> Any:
    """Add the gradient of the whole batch's loss to every parameter, with the activations of one chunk in memory.

    Every parameter gets the gradient of `model(**inputs, return_loss=True).loss.backward()`, and of the global batch
    under several processes, although no more than `micro_batch_size` pairs of a process go through the towers at once:

        1. x_i, y_i = towers(chunk), without graph
        2. L over all x_i, y_i of all processes;  g_i = dL/dx_i, h_i = dL/dy_i
        3. towers(chunk) once more;  backward of sum_i <x_i, g_i> + <y_i, h_i>, whose gradient is that of L

    What has no rows of its own to be split, such as heads with batch statistics, belongs in 2. The model says so by
    three members: forward(**chunk) returns a mapping with a tensor for each of `row_names`, and
    `compute_losses(*rows, retrieval_weight=...)` the losses of all rows, "loss" among them.

    The second run of a chunk draws the random numbers of the first, so dropout drops the same units. It costs one
    forward pass more, about 4/3 of a plain step's time. Gradient accumulation over smaller batches costs nothing, but
    is another loss: its batches do not see each other's negatives.

    A tower with BatchNorm normalizes each chunk by the chunk's own statistics, as it would a small batch: its gradient
    is not that of the plain pass. Its running statistics take each chunk in once.

    Args:
        model: a [`CloobModel`] or a [`TrainingObjective`] in training mode, bare or wrapped in
            DistributedDataParallel, with or without `accelerator.prepare`, autocast and activation checkpointing.
        inputs: arguments of the model's forward, on its device. Tensors have the pairs of this process as rows and
            are split; everything else goes to every chunk as it is. The processes may hold unequal numbers of rows.
        micro_batch_size: rows of a chunk; the last one may be smaller. It may differ between processes.
        retrieval_weight: as in [`CloobModel`]'s forward.
        backward: called with a scalar for each chunk instead of its `backward()`: `accelerator.backward`, or a
            function that multiplies first, to scale the loss. Its gradient must be linear in the scalar.

    Returns:
        What the model's forward returns ([`CloobOutput`] or a dict), detached: the losses, and this process's rows.

    Raises:
        ValueError: for a micro_batch_size below 1, tensors of unequal numbers of rows, a sharded model, a tower with
            SyncBatchNorm, and what the loss raises.

    Source: Gao et al. 2021 (GradCache, arXiv 2101.06983).
    """
    num_rows, chunks = _split(inputs, micro_batch_size)
    _check_replayable(model)
    is_wrapped = isinstance(model, DistributedDataParallel)
    module, no_sync = (model.module, model.no_sync) if is_wrapped else (model, nullcontext)
    rows, output_type, random_states = _embed(module, chunks, num_rows)
    losses, row_gradients, own_gradients = _loss_gradients(module, rows, retrieval_weight)
    # Rows that are targets have no gradient.
    split = [[None] * len(chunks) if g is None else g.split(micro_batch_size) for g in row_gradients]
    for number, (chunk, state, *chunk_gradients) in enumerate(zip(chunks, random_states, *split, strict=True), 1):
        is_last = number == len(chunks)
        _set_random_state(state, rows[0].device)
        # In the last chunk the processes average what was added up; the loss's own parameters, a learned scale and
        # SigLIP's bias, get their gradient there: once, and where DistributedDataParallel waits for it.
        with nullcontext() if is_last else no_sync():
            _replay(model, module.row_names, chunk, chunk_gradients, own_gradients if is_last else [], backward)
    return output_type(**dict(zip(module.row_names, rows, strict=True)), **losses)


def _split(inputs: Mapping[str, Any], micro_batch_size: int) -> tuple[int, list[dict[str, Any]]]:
    """The number of rows and the arguments of each chunk."""
    if micro_batch_size < 1:
        raise ValueError(f"micro_batch_size must be at least 1, got {micro_batch_size}.")
    rows = {name: value.shape[0] for name, value in inputs.items() if isinstance(value, torch.Tensor)}
    if len(set(rows.values())) != 1:
        raise ValueError(f"Image i and text i are a pair: the inputs need equal numbers of rows, got {rows}.")
    (num_rows,) = set(rows.values())
    batched = {name: inputs[name] for name in rows}
    if num_rows == 0:
        # A process without a pair must take part in the others' average, but towers fail on no rows: they get one,
        # whose embeddings are dropped.
        batched = {name: value.new_ones(1, *value.shape[1:]) for name, value in batched.items()}
    starts = range(0, max(1, num_rows), micro_batch_size)
    return num_rows, [
        {**inputs, **{name: value[start : start + micro_batch_size] for name, value in batched.items()}}
        for start in starts
    ]


def _check_replayable(model: nn.Module) -> None:
    """Refuse what would make processes with unequal numbers of chunks wait for each other forever."""
    if any(isinstance(layer, nn.SyncBatchNorm) for layer in model.modules()):
        raise ValueError("SyncBatchNorm joins the processes in every chunk, of which they may have unequal numbers.")
    if any(hasattr(parameter, "full_tensor") for parameter in model.parameters()):
        raise ValueError("A sharded model (FSDP) is not supported: wrap it in DistributedDataParallel.")


@torch.no_grad()
def _embed(module: nn.Module, chunks: list[dict], num_rows: int) -> tuple[Rows, type, list]:
    """The rows of all chunks, an output's type, and the chunks' random states; the module's buffers stay."""
    buffers = [(buffer, buffer.clone()) for buffer in module.buffers()]
    parts, random_states = [], []
    for chunk in chunks:
        random_states.append(_random_state(chunk))
        outputs = module(**chunk)
        parts.append([outputs[name] for name in module.row_names])
        output_type = type(outputs)
        # What else it holds, such as the towers' states, is as large as the rows of a chunk are small.
        del outputs
    for buffer, before in buffers:
        buffer.copy_(before)
    rows = tuple(torch.cat(of_chunks)[:num_rows] for of_chunks in zip(*parts, strict=True))
    return rows, output_type, random_states


def _loss_gradients(module: nn.Module, rows: Rows, retrieval_weight: float):
    """The detached losses, the gradients of the rows, and (parameter, gradient) of the loss's parameters.

    `autograd.grad` leaves `.grad` alone: what it finds is handed to the parameters in a pass that
    DistributedDataParallel watches.
    """
    leaves = [tensor.detach().requires_grad_() for tensor in rows]
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    losses = module.compute_losses(*leaves, retrieval_weight=retrieval_weight)
    gradients = torch.autograd.grad(losses["loss"], [*leaves, *parameters], allow_unused=True)
    own = [pair for pair in zip(parameters, gradients[len(leaves) :], strict=True) if pair[1] is not None]
    return {name: loss.detach() for name, loss in losses.items()}, gradients[: len(leaves)], own


def _replay(model: nn.Module, row_names, chunk: dict[str, Any], row_gradients, own_gradients, backward) -> None:
    outputs = model(**chunk)
    rows = ((outputs[name], gradient) for name, gradient in zip(row_names, row_gradients, strict=True))
    pairs = [*((tensor[: len(g)], g) for tensor, g in rows if g is not None), *own_gradients]
    backward(sum((value * gradient).sum() for value, gradient in pairs))


def _random_state(chunk: dict[str, Any]) -> tuple:
    tensor = next(value for value in chunk.values() if isinstance(value, torch.Tensor))
    return torch.get_rng_state(), *get_device_states(tensor)


def _set_random_state(state: tuple, device: torch.device) -> None:
    cpu_state, devices, device_states = state
    torch.set_rng_state(cpu_state)
    set_device_states(devices, device_states, device_type=device.type)
