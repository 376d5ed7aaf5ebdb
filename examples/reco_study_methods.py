# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What reco_study.py compares on one task: the base, every control, and trained fusion layers."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from reco_study_fusion import SPARE, new_model, side_scores, train_fusion, whiten_texts
from reco_study_tasks import Task, without_entities

from hf_cloob import RecoForZeroShot, RecoMemory
from hf_cloob.retrieval import controls
from hf_cloob.retrieval.control_fitting import NUM_NEIGHBORS, SCALES, WEIGHTS, Fitted, fit_control, fit_hopfield
from hf_cloob.retrieval.controls import SIDES, Lookup, Readout
from hf_cloob.retrieval.training_neighbors import TrainingNeighbors, find_training_neighbors

# As many as any figure uses.
MOST_NEIGHBORS = 50
# In the order of the table; the numbers of each are chosen from its grid, a Hopfield readout's from those of the side
# that it refines, on the selection half: half with its entities in the memory, half without.
_K, _SCALE, _WEIGHT = {"k": NUM_NEIGHBORS}, {"scale": SCALES}, {"weight": WEIGHTS}
CONTROLS = {
    "base": (controls.base_scores, {}),
    "random_neighbors": (controls.mean_scores, {"side": SIDES, "k": (10,)} | _WEIGHT),
    "mean_of_neighbors": (controls.mean_scores, {"side": SIDES} | _K | _WEIGHT),
    "hopfield_image": (controls.hopfield_scores, "image"),
    "hopfield_text": (controls.hopfield_scores, "text"),
    "hopfield_both": (controls.hopfield_scores, "both"),
    "knn_vote": (controls.vote_scores, _K | _SCALE),
    "tip_adapter": (controls.cache_scores, _K | _WEIGHT | _SCALE),
    "class_name_lookup": (controls.name_scores, {}),
}
# The readout from which training starts.
READOUT = "hopfield_both"


@dataclass
class View:
    """What the task's queries and classes find in one state of its memory, and random entries of it.

    Args:
        memory: the state.
        found: [`Lookup`] of the nearest entries.
        random: [`Lookup`] of random ones.
    """

    memory: RecoMemory
    found: Lookup
    random: Lookup

    def of_images(self, rows: torch.Tensor) -> "View":
        return replace(self, found=self.found.of_images(rows), random=self.random.of_images(rows))


def view_of(task: Task, memory: RecoMemory) -> View:
    """Search the task's memory, or another state of it."""
    sides, generator = (task.image_embeds, task.class_embeds), torch.Generator().manual_seed(task.seed)
    most = min(MOST_NEIGHBORS, len(memory))
    found = controls.look_up(*sides, memory, MOST_NEIGHBORS)
    return View(memory, found, controls.look_up_at_random(*sides, memory, most, generator))


@dataclass
class Compared:
    """All methods on one task.

    Args:
        fitted: method -> its settings, a control's chosen on the selection half.
        models: trained method -> its model.
        best_control: name of the control that is best on the selection half.
    """

    task: Task
    fitted: dict[str, Fitted]
    models: dict[str, RecoForZeroShot]
    best_control: str

    def scores(self, method: str, view: View) -> torch.Tensor:
        """Scores (n, num_classes) of a method in one state of the memory, with the settings chosen before."""
        settings = self.fitted[method].settings
        if method in self.models:
            return side_scores(self.models[method], view.found, settings["k"])[settings["side"]]
        if method == "reco_random_neighbors":
            return side_scores(self.models["reco"], view.random, settings["k"])[settings["side"]]
        return control_scores(self.task, method, view, settings)

    def right(self, method: str, view: View) -> dict[str, float]:
        """Accuracy on the test half, of all queries ("all") and of each part of them."""
        return test_accuracies(self.task, self.scores(method, view))


def control_scores(task: Task, name: str, view: View, settings: dict) -> torch.Tensor:
    """Scores (n, num_classes) of a control."""
    function, _ = CONTROLS[name]
    if name == "class_name_lookup":
        return function(view.found, view.memory, task.class_names)
    return function(view.random if name == "random_neighbors" else view.found, **settings)


def test_accuracies(task: Task, scores: torch.Tensor) -> dict[str, float]:
    """Accuracy on the test half, of all queries and of each part."""
    test, parts = ~task.selection, sorted(set(task.parts))
    rows = {part: test & torch.tensor([name == part for name in task.parts]) for part in parts}
    rows = {"all": test} | (rows if len(parts) > 1 else {})
    return {part: controls.accuracy(scores[mask], task.labels[mask], task.class_groups) for part, mask in rows.items()}


def fit_controls(task: Task, views: list[View]) -> dict[str, Fitted]:
    """The settings of every control that are best on the selection half, over these states of the memory."""
    chosen, labels = [view.of_images(task.selection) for view in views], task.labels[task.selection]
    fitted = {}
    for name, (_, grid) in CONTROLS.items():
        if isinstance(grid, str):
            fitted[name] = fit_hopfield([view.found for view in chosen], labels, grid, task.class_groups)
            continue

        def control(part: View, name: str = name, **settings) -> torch.Tensor:
            return control_scores(task, name, part, settings)

        fitted[name] = fit_control(control, chosen, labels, grid, task.class_groups)
    return fitted


def compare(args, accelerator, base, task: Task, view: View, log_dir: Path) -> Compared:
    """Choose every control's settings and train the fusion layers, of which nothing is chosen: both sides are refined.

    Args:
        args: the command's.
        accelerator: of this process.
        base: the encoder.
        task: with its memory and its pairs.
        view: of the task's memory.
        log_dir: folder of the losses.
    """
    fitted = fit_controls(task, [view, view_of(task, without_entities(task, task.selection))])
    best_control = max(fitted, key=lambda name: fitted[name].accuracy)
    readout = Readout(**fitted[READOUT].settings)
    neighbors = training_neighbors(args, task)
    # With the readout come its neighbors; from zero nothing is known, and k = 0 is the layer's capacity alone.
    starts = {"fusion_k0": (None, 0), "reco_from_zero": (None, args.num_neighbors), "reco": (readout, readout.k)}
    models = {}
    for name, (start, k) in {"whitened_readout": (readout, readout.k), **starts}.items():
        models[name] = model = new_model(base, task.memory.fingerprint, task.seed, k, start).eval()
        if start is not None:
            whiten_texts(model, task)
        if name in starts:
            log = log_dir / f"{task.style}-seed{task.seed}-{name}.jsonl"
            train_fusion(args, accelerator, task, neighbors, model, log)
        # Its pairs show the selection half's entities too, so that half could not choose a side.
        fitted[name] = Fitted({"side": "both", "k": k}, selection_accuracy(task, view, model))
    for side in SIDES[:2]:
        models[f"reco_refining_{side}"] = models["reco"]
        fitted[f"reco_refining_{side}"] = fitted["reco"]._replace(settings={"side": side, "k": readout.k})
    # What the trained layer makes of entries that have nothing to do with the query.
    fitted["reco_random_neighbors"] = fitted["reco"]
    return Compared(task, fitted, models, best_control)


def selection_accuracy(task: Task, view: View, model: RecoForZeroShot) -> float:
    """Accuracy of a model that refines both sides on the selection half, for comparison with the test half."""
    chosen = view.found.of_images(task.selection)
    scores = side_scores(model, chosen, model.config.num_neighbors)["both"]
    return controls.accuracy(scores, task.labels[task.selection], task.class_groups)


def training_neighbors(args, task: Task) -> TrainingNeighbors:
    """Neighbors of the training pairs, as many as any model uses and some to spare."""
    most = max(*NUM_NEIGHBORS, args.num_neighbors) + SPARE
    sides = task.pairs.image_embeds, task.pairs.text_embeds
    return find_training_neighbors(task.memory, *sides, most, task.own_ids, args.near_duplicate_threshold)


def learned_readout(model: RecoForZeroShot) -> dict[str, float]:
    """The numbers of each side's readout after training, and the norm of its matrix."""
    sides = {"image": model.image_fusion, "text": model.text_fusion}
    return {
        f"{side}_{name}": value.item()
        for side, fusion in sides.items()
        for name, value in (
            ("weight", fusion.readout_weight),
            ("scale", fusion.readout_log_scale.exp()),
            ("null_score", fusion.readout_null_score),
            ("projection_norm", fusion.readout_proj.weight.norm()),
        )
    }
