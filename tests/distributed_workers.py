# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What the processes of the distributed tests run: importable, so that spawned processes find it."""

import random
import time
from collections import Counter

import torch
import torch.distributed as dist
from tiny_models import CLIP_TEXT, tiny_cloob, tiny_inputs
from torch.nn.parallel import DistributedDataParallel

from hf_cloob import CloobModel, modeling_cloob
from hf_cloob.distributed import all_gather_with_grad, all_reduce_with_grad, shared_blocks

STEPS = 2


def double_cloob(**fields) -> CloobModel:
    """In float64, so that nothing but the order of a sum separates two ways to compute the same."""
    return tiny_cloob(**fields).double().train()


def joined_inputs(sizes: list[int]) -> dict[str, torch.Tensor]:
    inputs = tiny_inputs(sum(sizes))
    return inputs | {"pixel_values": inputs["pixel_values"].double()}


def local_inputs(sizes: list[int], rank: int) -> dict[str, torch.Tensor]:
    """This process's rows of the joined batch."""
    start = sum(sizes[:rank])
    return {name: rows[start : start + sizes[rank]] for name, rows in joined_inputs(sizes).items()}


def train_steps(model, module, inputs) -> list[tuple[torch.Tensor, dict[str, torch.Tensor]]]:
    """A few steps of SGD; the loss and every gradient of each."""
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    records = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = model(**inputs, return_loss=True).loss
        loss.backward()
        gradients = {name: p.grad.clone() for name, p in module.named_parameters() if p.requires_grad}
        records.append((loss.detach(), gradients))
        optimizer.step()
    return records


def train_with_ddp(rank: int, sizes: list[int], fields: dict, gradient_less: bool = False) -> list:
    module = double_cloob(**fields)
    model = DistributedDataParallel(module, find_unused_parameters=False)
    modeling_cloob.all_gather_with_grad = _gather_without_gradient if gradient_less else all_gather_with_grad
    try:
        return train_steps(model, module, local_inputs(sizes, rank))
    finally:
        modeling_cloob.all_gather_with_grad = all_gather_with_grad


def _gather_without_gradient(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """The usual mistake: values are right, only the own rows carry a gradient."""
    gathered = all_gather_with_grad(*(tensor.detach() for tensor in tensors))
    sizes = [None] * dist.get_world_size()
    dist.all_gather_object(sizes, len(tensors[0]))
    start = sum(sizes[: dist.get_rank()])
    return tuple(
        torch.cat([rows[:start], tensor, rows[start + len(tensor) :]])
        for rows, tensor in zip(gathered, tensors, strict=True)
    )


def train_with_accelerate(rank: int, sizes: list[int], fields: dict) -> list:
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    assert accelerator.num_processes == len(sizes), accelerator.state
    module = double_cloob(**fields)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    model, optimizer = accelerator.prepare(module, optimizer)
    records = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = model(**local_inputs(sizes, rank), return_loss=True).loss
        accelerator.backward(loss)
        records.append((loss.detach(), {name: p.grad.clone() for name, p in module.named_parameters()}))
        optimizer.step()
    return records


def train_with_fsdp(rank: int, sizes: list[int], fields: dict) -> tuple[list[torch.Tensor], dict[str, torch.Tensor]]:
    """FSDP2 as its documentation has it: every layer, then the root. Returns losses and the full weights."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    model = double_cloob(**fields)
    mesh = init_device_mesh("cpu", (len(sizes),))
    for tower in (model.text_model, model.vision_model):
        for layer in tower.encoder.layers:
            fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    losses = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = model(**local_inputs(sizes, rank), return_loss=True).loss
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return losses, {name: parameter.detach().full_tensor() for name, parameter in model.named_parameters()}


def gather_rows(rank: int, sizes: list[int]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Two matrices of different width: the joined rows and the gradient of one weighted sum on every process."""
    start, end = sum(sizes[:rank]), sum(sizes[: rank + 1])
    first = torch.arange(2.0 * sum(sizes)).reshape(-1, 2)[start:end].requires_grad_()
    second = -torch.arange(3.0 * sum(sizes)).reshape(-1, 3)[start:end].requires_grad_()
    joined = all_gather_with_grad(first, second)
    loss = sum((rows * torch.arange(1.0, len(rows) + 1).unsqueeze(1)).sum() for rows in joined)
    gradients = torch.autograd.grad(loss, [first, second])
    return *(rows.detach() for rows in joined), *gradients


def reduce_sums(rank: int, sizes: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """The sum over processes of a local sum, and the gradient of a loss that every process forms from it."""
    rows = torch.arange(2.0 * sum(sizes)).reshape(-1, 2)[sum(sizes[:rank]) : sum(sizes[: rank + 1])].requires_grad_()
    total = all_reduce_with_grad(rows.square().sum(dim=0))
    (gradient,) = torch.autograd.grad((total * torch.tensor([1.0, 10.0])).sum(), [rows])
    return total.detach(), gradient


def shared_loss(
    rank: int, name: str, sizes: list[int], width: int = 6
) -> tuple[torch.Tensor, list[torch.Tensor], int]:
    """One loss of `test_blockwise.LOSSES` with its work shared: value, gradients, score products formed here."""
    from test_blockwise import LOSSES, T, embeddings

    rows = slice(sum(sizes[:rank]), sum(sizes[: rank + 1]))
    local = [embeds[rows].clone().requires_grad_() for embeds in embeddings(sum(sizes), width)]
    t = torch.tensor(T, dtype=torch.float64, requires_grad=True)
    with torch.profiler.profile(with_flops=True) as profile:
        loss = LOSSES[name][0](*all_gather_with_grad(*local), t, blocks=shared_blocks())
    gradients = torch.autograd.grad(loss, [*local, t], allow_unused=True, materialize_grads=True)
    return loss.detach(), gradients, sum(event.flops or 0 for event in profile.key_averages())


def wait_for_a_missing_process(rank: int, folder: str) -> str:
    """Rank 1 of three never computes its loss; what the others are told, after a short time-out."""
    import os
    from datetime import timedelta

    dist.destroy_process_group()
    store = dist.FileStore(os.path.join(folder, "store"), 3)
    dist.init_process_group("gloo", store=store, timeout=timedelta(seconds=3), world_size=3, rank=rank)
    if rank == 1:
        time.sleep(12)
        return ""
    try:
        all_gather_with_grad(torch.ones(2, 3))
    except RuntimeError as error:
        return str(error)
    return "no error"


def evaluate_alone(rank: int, sizes: list[int]) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Only process 0 evaluates: a collective would wait for process 1 until the time-out."""
    if rank == 1:
        time.sleep(2)
        return None
    model, inputs = double_cloob(), local_inputs(sizes, rank)
    in_eval_mode = model.eval()(**inputs, return_loss=True).loss
    with torch.no_grad():
        without_gradients = model.train()(**inputs, return_loss=True).loss
    return in_eval_mode.detach(), without_gradients


def logits_shape(rank: int, sizes: list[int]) -> torch.Size:
    return double_cloob()(**local_inputs(sizes, rank), return_loss=True).logits_per_image.shape


def error_of_a_broken_image(rank: int, sizes: list[int]) -> str:
    """Process 1 holds a broken image; every process reports what it is told."""
    inputs = local_inputs(sizes, rank)
    if rank == 1:
        inputs["pixel_values"] = inputs["pixel_values"].clone()
        inputs["pixel_values"][0] = float("nan")
    try:
        double_cloob()(**inputs, return_loss=True)
    except ValueError as error:
        return str(error)
    return "no error"


def fail_on_one(rank: int) -> None:
    if rank == 1:
        raise KeyError("a mistake of process 1")
    dist.barrier()


def hang(rank: int) -> None:
    if rank == 1:
        time.sleep(3600)


def train_on_pairs_of_which_some_are_broken(rank: int) -> dict:
    """Three steps of 8 pairs from pictures: of the second step, this process's own are all broken on process 1."""
    import datasets
    from dirty_corpus import encode, picture
    from tiny_models import tiny_tokenizer

    from hf_cloob.data.collator import ImageTextCollator
    from hf_cloob.data.image_augmentation import EvaluationTransform
    from hf_cloob.data.pairs import ImageTextPairs
    from hf_cloob.data.sampler import NoDuplicatesBatchSampler

    captions = [[f"caption {number}"] for number in range(24)]

    def keys(epoch: int, index: int) -> tuple[str, ...]:
        return (captions[index][0],)

    samplers = [NoDuplicatesBatchSampler(24, keys, 8, 3, process_index=index, num_processes=2) for index in range(2)]
    steps = [[[index for _, index in batch] for batch in sampler] for sampler in samplers]
    images = [encode(picture(random.Random(number), (200, 150))) for number in range(24)]
    images[steps[0][0][2]] = images[0][:3000]
    for index in steps[1][1]:
        images[index] = b""
    features = datasets.Features({"image": datasets.Image(), "captions": datasets.List(datasets.Value("string"))})
    rows = {"image": [{"bytes": image, "path": None} for image in images], "captions": captions}
    dataset = datasets.Dataset.from_dict(rows, features=features)
    pairs = ImageTextPairs(dataset, EvaluationTransform(16, (0.5,) * 3, (0.5,) * 3))
    collator = ImageTextCollator(tiny_tokenizer(), 16, pairs.placeholder())
    loader = torch.utils.data.DataLoader(pairs, batch_sampler=samplers[rank], collate_fn=collator)

    module = tiny_cloob(text={**CLIP_TEXT, "vocab_size": 400}).train()
    model = DistributedDataParallel(module)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    sizes, losses, skipped = [], [], Counter()
    for batch in loader:
        inputs = {name: batch[name] for name in ("pixel_values", "input_ids", "attention_mask")}
        optimizer.zero_grad()
        loss = model(**inputs, return_loss=True).loss
        loss.backward()
        optimizer.step()
        sizes.append(len(batch["text"]))
        losses.append(loss.item())
        skipped.update(batch["skipped"])
    weights = [parameter.detach() for parameter in module.parameters()]
    return {"sizes": sizes, "losses": losses, "skipped": dict(skipped), "weights": weights}
