# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What the processes of the tests of micro-batches run: chunked steps, plain steps, and the same in one process."""

import torch
import torch.distributed as dist
from distributed_workers import local_inputs
from tiny_models import CLIP_VISION, TOKENS, WIDTH, tiny_cloob, tiny_inputs
from torch.nn.parallel import DistributedDataParallel

from hf_cloob import CloobModel
from hf_cloob.outputs_cloob import CloobOutput
from hf_cloob.training.activation_checkpointing import recompute_activations
from hf_cloob.training.frozen_towers import freeze, train_unfrozen
from hf_cloob.training.grad_cache import backward_in_chunks

BERT = {"model_type": "bert", **WIDTH, "vocab_size": 99, "pad_token_id": TOKENS["pad_token_id"]}
DROPOUT = {
    "text": BERT | {"hidden_dropout_prob": 0.3, "attention_probs_dropout_prob": 0.3},
    "vision": CLIP_VISION | {"attention_dropout": 0.3},
    "text_pooling": "mean",
}
Gradients = dict[str, torch.Tensor]


def double_model(fields: dict) -> CloobModel:
    return tiny_cloob(**fields).double().train()


def seed_process(step: int, rank: int) -> None:
    """Every process drops out its own units."""
    torch.manual_seed(1000 * step + rank)


def gradients_of(module: torch.nn.Module) -> Gradients:
    return {name: p.grad.clone() for name, p in module.named_parameters() if p.requires_grad}


def plain_backward(model, inputs: dict, retrieval_weight: float = 1.0, backward=torch.Tensor.backward) -> CloobOutput:
    outputs = model(**inputs, retrieval_weight=retrieval_weight, return_loss=True)
    backward(outputs.loss)
    return outputs


def joined_backward(module, sizes: list[int], micro_batch_sizes: list[int], step: int) -> torch.Tensor:
    """One process, all chunks of all processes kept with their graphs, each with the random numbers of its process."""
    embeds = []
    for rank, micro_batch_size in enumerate(micro_batch_sizes):
        seed_process(step, rank)
        rows = local_inputs(sizes, rank)
        for start in range(0, sizes[rank], micro_batch_size):
            outputs = module(**{name: value[start : start + micro_batch_size] for name, value in rows.items()})
            embeds.append((outputs.image_embeds, outputs.text_embeds))
    loss = module.compute_losses(*(torch.cat(parts) for parts in zip(*embeds, strict=True)))["loss"]
    loss.backward()
    return loss.detach()


def joined_steps(fields: dict, sizes: list[int], micro_batch_sizes: list[int], num_steps: int = 2) -> list:
    """What `chunked_steps` must give, from one process."""
    module = double_model(fields)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    records = []
    for step in range(num_steps):
        optimizer.zero_grad()
        loss = joined_backward(module, sizes, micro_batch_sizes, step)
        records.append((loss, gradients_of(module)))
        optimizer.step()
    return records


def chunked_steps(rank: int, fields: dict, sizes: list[int], micro_batch_sizes: list[int], num_steps: int = 2) -> list:
    """Steps of SGD under DistributedDataParallel with its defaults; the loss and every gradient of each."""
    module = double_model(fields)
    model = DistributedDataParallel(module)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    records = []
    for step in range(num_steps):
        optimizer.zero_grad()
        seed_process(step, rank)
        outputs = backward_in_chunks(model, local_inputs(sizes, rank), micro_batch_sizes[rank])
        records.append((outputs.loss, gradients_of(module)))
        optimizer.step()
    return records


def chunked_cases(rank: int, cases: dict[str, dict], sizes: list[int], micro_batch_sizes: list[int]) -> dict:
    return {name: chunked_steps(rank, fields, sizes, micro_batch_sizes) for name, fields in cases.items()}


def adamw_losses(rank: int, sizes: list[int], micro_batch_sizes: list[int] | None, num_steps: int) -> torch.Tensor:
    """The losses of CLOOB over steps of AdamW, each on another batch; without chunks the plain pass."""
    module = double_model({})
    model = DistributedDataParallel(module) if dist.is_initialized() else module
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-3)
    losses, start = [], sum(sizes[:rank])
    for step in range(num_steps):
        rows = tiny_inputs(sum(sizes), seed=step)
        inputs = {name: value[start : start + sizes[rank]] for name, value in rows.items()}
        inputs["pixel_values"] = inputs["pixel_values"].double()
        optimizer.zero_grad()
        if micro_batch_sizes is None:
            losses.append(plain_backward(model, inputs).loss.detach())
        else:
            losses.append(backward_in_chunks(model, inputs, micro_batch_sizes[rank]).loss)
        optimizer.step()
    return torch.stack(losses)


def plain_and_chunked(rank: int, function, *args) -> tuple[Gradients, Gradients]:
    """The gradients of one of the steps below, as a plain pass and in chunks of two."""
    return function(rank, *args, plain_backward), function(rank, *args, chunks_of_two)


def chunks_of_two(model, inputs: dict, **options) -> CloobOutput:
    return backward_in_chunks(model, inputs, 2, **options)


def accumulated_step(rank: int, fields: dict, sizes: list[int], compute) -> Gradients:
    """One optimizer step of two different batches under Accelerate."""
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=2)
    module = double_model(fields)
    model = accelerator.prepare(module)
    for batch in range(2):
        inputs = local_inputs(sizes, rank)
        inputs["pixel_values"] = inputs["pixel_values"] + batch
        with accelerator.accumulate(model):
            compute(model, inputs, retrieval_weight=0.3, backward=accelerator.backward)
    return gradients_of(module)


def locked_text_step(rank: int, sizes: list[int], compute) -> Gradients:
    """A locked text tower whose pooled states come with the batch, under activation checkpointing."""
    module = double_model({"text": DROPOUT["text"], "learn_logit_scale": True})
    freeze(module.text_model)
    train_unfrozen(module)
    recompute_activations(module)
    generator = torch.Generator().manual_seed(1)
    pooled = torch.randn(sum(sizes), WIDTH["hidden_size"], dtype=torch.float64, generator=generator)
    start = sum(sizes[:rank])
    pixel_values = local_inputs(sizes, rank)["pixel_values"]
    inputs = {"pixel_values": pixel_values, "text_pooler_output": pooled[start : start + sizes[rank]]}
    compute(DistributedDataParallel(module), inputs)
    return gradients_of(module)
