# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The fusion layers of reco_study.py: trained by train_reco.py's own loop on cached embeddings, scored on lookups."""

from pathlib import Path

import torch
from reco_study_tasks import EMOJI, FLAG, Task
from train_reco import TrainRecoArguments, train
from train_reco_data import RecoData, build_loader
from train_reco_setup import Run, settle_batch_size
from train_reco_start import build_fusion_optimizer

from hf_cloob import RecoConfig, RecoForZeroShot, RecoMemory
from hf_cloob.retrieval.control_fitting import set_readout
from hf_cloob.retrieval.controls import Lookup, Readout
from hf_cloob.retrieval.readout_matrix import whitening_matrix
from hf_cloob.retrieval.training_neighbors import TrainingNeighbors
from hf_cloob.training.checkpointing import TrainState
from hf_cloob.training.optimization import build_schedule
from hf_cloob.training.run_log import RunLog

# Neighbors searched beyond k, so that k are left without those that show what the pair shows.
SPARE = 16
# A step that no run of the study comes to.
NEVER = 10**9


def new_model(base, fingerprint: str, seed: int, k: int, readout: Readout | None) -> RecoForZeroShot:
    """Fresh fusion layers of one seed on the base, which start from a readout or from zero."""
    torch.manual_seed(seed)
    config = RecoConfig(base_config=base.config, memory_fingerprint=fingerprint, num_neighbors=k)
    model = RecoForZeroShot(config, base)
    if readout is not None:
        set_readout(model, readout)
    return model


@torch.no_grad()
def whiten_texts(model: RecoForZeroShot, task: Task) -> RecoForZeroShot:
    """Give the prompts' readout the matrix that whitens what it reads, pictures, within the training pairs' entities.

    The same model. Pictures are the pairs' and the memory's other ones of their entities.
    """
    trained, in_memory = set(task.pair_entities), task.own_ids >= 0
    images = torch.cat([task.memory.image_embeds, task.pairs.image_embeds]).float()
    entities = [*task.entries.entities, *task.pair_entities]
    kept = [entity in trained for entity in task.entries.entities] + (~in_memory).tolist()
    sources = []
    # Flags and emoji, which are more, say as much; icons are shown once.
    for source in (FLAG, EMOJI):
        rows = [row for row, keep in enumerate(kept) if keep and entities[row][0] == source]
        sources.append((images[rows], [entities[row] for row in rows]))
    model.text_fusion.readout_proj.weight.copy_(whitening_matrix(sources))
    return model


def train_fusion(
    args, accelerator, task: Task, neighbors: TrainingNeighbors, model: RecoForZeroShot, log: Path
) -> RecoForZeroShot:
    """Train a model's fusion layers on a task's pairs with `num_neighbors` of the neighbors; the same model, trained.

    Every pair trains twice: with what it finds, and with what it would find if the memory lacked what it shows.

    Args:
        args: the command's hyper-parameters.
        accelerator: of this process.
        task: its memory and pairs.
        neighbors: of the pairs, `SPARE` more than the model uses at least.
        model: fresh from `new_model`.
        log: the file of the losses.
    """
    neighbors = in_both_states(task, neighbors, model.config.num_neighbors)
    images, texts = (embeds.repeat(2, 1) for embeds in (task.pairs.image_embeds, task.pairs.text_embeds))
    captions = 2 * task.pairs.captions_of(task.pairs.ids)
    pairs = RecoMemory(images, texts, captions=captions)
    data = RecoData(task.memory, pairs, neighbors, captions, list(range(len(pairs))), [])
    settings = TrainRecoArguments(
        output_dir=str(log.parent),
        seed=task.seed,
        neighbor_dropout=args.neighbor_dropout,
        max_grad_norm=args.max_grad_norm,
        eval_steps=NEVER,
        save_steps=NEVER,
    )
    batch_size = settle_batch_size(args.batch_size, data.train_keys, accelerator)
    optimizer = build_fusion_optimizer(model, args)
    schedule = build_schedule(optimizer, "cosine", args.steps, int(args.warmup_ratio * args.steps))
    prepared, optimizer = accelerator.prepare(model, optimizer)
    log.parent.mkdir(parents=True, exist_ok=True)
    run = Run(
        args=settings,
        output_dir=log.parent,
        accelerator=accelerator,
        model=prepared,
        bare_model=model,
        processor=None,
        data=data,
        batch_size=batch_size,
        num_steps=args.steps,
        optimizer=optimizer,
        schedule=schedule,
        state=TrainState(),
        loader=build_loader(settings, data, batch_size, args.steps, 0, accelerator),
        log=RunLog(accelerator, log, -1),
    )
    train(run)
    run.model, run.optimizer = accelerator.free_memory(run.model, run.optimizer)
    return model.eval()


def in_both_states(task: Task, neighbors: TrainingNeighbors, k: int) -> TrainingNeighbors:
    """The k nearest neighbors of all pairs, and below them the k nearest that do not show what the pair shows."""
    numbers = {entity: number for number, entity in enumerate({*task.entries.entities, *task.pair_entities})}
    shown = torch.tensor([numbers[entity] for entity in task.entries.entities])
    own = torch.tensor([numbers[entity] for entity in task.pair_entities])

    def without_own(rows: torch.Tensor, scores: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        left_out = (shown[rows.clamp_min(0)] == own[:, None]) | (rows < 0)
        order = left_out.to(torch.uint8).argsort(dim=1, stable=True)[:, :k]
        left_out = left_out.gather(1, order)
        rows, scores = rows.gather(1, order), scores.gather(1, order)
        return rows.masked_fill(left_out, -1), scores.masked_fill(left_out, float("-inf"))

    parts = []
    for rows, scores in (
        (neighbors.image_rows, neighbors.image_scores),
        (neighbors.text_rows, neighbors.text_scores),
    ):
        lacking = without_own(rows, scores)
        parts += [torch.cat([whole[:, :k], part]) for whole, part in zip((rows, scores), lacking, strict=True)]
    return TrainingNeighbors(*parts, neighbors.near_duplicates.repeat(2))


@torch.no_grad()
def side_scores(model: RecoForZeroShot, lookup: Lookup, k: int) -> dict[str, torch.Tensor]:
    """Scores (n, num_classes) with the images, the texts or both refined by the model.

    Args:
        model: with trained or untrained fusion layers.
        lookup: images, classes and at least k neighbors of each.
        k: neighbors.
    """
    given = {"image": lookup.image_neighbors, "text": lookup.class_neighbors}
    inputs = {f"{side}_neighbor_embeds": found.embeds[:, :k] for side, found in given.items()}
    inputs |= {f"{side}_neighbor_scores": found.scores[:, :k] for side, found in given.items()}
    refined = model(image_embeds=lookup.image_embeds, text_embeds=lookup.class_embeds, **inputs)
    images, texts = refined.image_embeds, refined.text_embeds
    return {
        "image": images @ lookup.class_embeds.T,
        "text": lookup.image_embeds @ texts.T,
        "both": images @ texts.T,
    }
