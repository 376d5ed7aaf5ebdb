# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The fusion layers of reco_study.py: trained by train_reco.py's own loop on cached embeddings, scored on lookups."""

from pathlib import Path

import torch
from reco_study_tasks import Task
from train_reco import TrainRecoArguments, train
from train_reco_data import RecoData, build_loader
from train_reco_setup import Run, settle_batch_size

from hf_cloob import RecoForZeroShot
from hf_cloob.retrieval.controls import SIDES, Fitted, Lookup, Readout, accuracy, set_readout
from hf_cloob.retrieval.training_neighbors import TrainingNeighbors
from hf_cloob.training.checkpointing import TrainState
from hf_cloob.training.optimization import build_optimizer, build_schedule
from hf_cloob.training.run_log import RunLog

# A step that no run of the study comes to.
NEVER = 10**9


def new_model(args, seed: int, readout: Readout | None) -> RecoForZeroShot:
    """The base with fresh fusion layers of one seed, which start from a fitted readout or from zero."""
    torch.manual_seed(seed)
    model = RecoForZeroShot.from_base(args.model_name_or_path, num_neighbors=args.num_neighbors)
    if readout is not None:
        set_readout(model, readout)
    return model


def train_fusion(
    args, accelerator, task: Task, neighbors: TrainingNeighbors, model: RecoForZeroShot, log: Path
) -> RecoForZeroShot:
    """Train a model's fusion layers on a task's pairs with `num_neighbors` of the neighbors; the same model, trained.

    Args:
        args: the command's hyper-parameters.
        accelerator: of this process.
        task: its memory and pairs.
        neighbors: of the pairs, at least as many as the model uses.
        model: fresh from `new_model`.
        log: the file of the losses.
    """
    k = model.config.num_neighbors
    found = (neighbors.image_rows, neighbors.image_scores, neighbors.text_rows, neighbors.text_scores)
    neighbors = TrainingNeighbors(*(part[:, :k] for part in found), neighbors.near_duplicates)
    captions = task.pairs.captions_of(task.pairs.ids)
    data = RecoData(task.memory, task.pairs, neighbors, captions, list(range(len(task.pairs))), [])
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


def fit_sides(
    model: RecoForZeroShot, lookup: Lookup, labels: torch.Tensor, class_groups: torch.Tensor
) -> dict[str, Fitted]:
    """Side to refine -> accuracy on a selection set, the best first; of equal ones both, then texts."""
    k = model.config.num_neighbors
    scores = side_scores(model, lookup, k)
    fitted = {
        side: Fitted({"side": side, "k": k}, accuracy(scores[side], labels, class_groups)) for side in reversed(SIDES)
    }
    return dict(sorted(fitted.items(), key=lambda item: -item[1].accuracy))


def build_fusion_optimizer(model: RecoForZeroShot, args) -> torch.optim.Optimizer:
    """train_reco.py's optimizer, with a learning rate of their own for the two numbers of each readout.

    They have to move by whole units, matrices by hundredths: at one rate the readout stays where it starts.
    """
    optimizer = build_optimizer(model, args.learning_rate, args.weight_decay)
    fusions = (model.image_fusion, model.text_fusion)
    readouts = [number for fusion in fusions for number in (fusion.readout_weight, fusion.readout_log_scale)]
    ids = {id(number) for number in readouts}
    for group in optimizer.param_groups:
        group["params"] = [parameter for parameter in group["params"] if id(parameter) not in ids]
    optimizer.add_param_group({"params": readouts, "lr": args.readout_learning_rate, "weight_decay": 0.0})
    return optimizer
