# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""One run of gap_experiment.py: two encoders, how they start, and what becomes of the gap between them."""

import copy
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import nn
from torch.nn.functional import normalize

from hf_cloob.evaluation.geometry import modality_gap
from hf_cloob.evaluation.geometry_metrics import linear_separability
from hf_cloob.losses_contrastive import clip_loss
from hf_cloob.losses_regularization import alignment_loss, cross_modal_uniformity_loss, uniformity_loss

if TYPE_CHECKING:
    from gap_experiment import GapArguments

# More than the perceptrons need to tell 500 pictures apart, and far fewer than pixels: minutes instead of an hour.
NUM_COMPONENTS = 128
# CLIP's learned temperature: where it starts, and the least that it may become.
FIRST_TEMPERATURE, LEAST_TEMPERATURE = 0.07, 0.01
REGULARIZERS = {
    "alignment": alignment_loss,
    "uniformity": lambda first, second: (uniformity_loss(first) + uniformity_loss(second)) / 2,
    "cross_modal_uniformity": cross_modal_uniformity_loss,
}


class Cell(NamedTuple):
    """What one run varies."""

    start: str
    temperature: str
    objective: str
    seed: int


def train(
    cell: Cell, pixels: torch.Tensor, regularizers: Mapping[str, Sequence[str]], args: "GapArguments"
) -> dict[str, str | int | list]:
    """Train two encoders on the same pictures.

    Args:
        cell: start, temperature, objective and seed.
        pixels: (num_drawings, num_pixels) in [0, 1]; the seed chooses `args.num_images` of them.
        regularizers: objective -> names of what is added to CLIP's loss.
        args: sizes, steps and the offset.

    Returns:
        The cell's values, `step` (powers of ten, their double and fivefold, and the last), and each figure after
        those many steps: `gap`, `separability`, `loss`, `accuracy` and `current_temperature`.
    """
    torch.set_num_threads(1)
    torch.manual_seed(cell.seed)
    images = principal_coordinates(pixels[torch.randperm(len(pixels))[: args.num_images]])
    encoders = build_encoders(cell.start, images, args.hidden_dim, args.projection_dim, args.offset_gap)
    learned = cell.temperature == "learned"
    temperature = FIRST_TEMPERATURE if learned else float(cell.temperature)
    logit_scale = nn.Parameter(torch.tensor(-math.log(temperature)), requires_grad=learned)
    parameters = [*encoders.parameters(), *([logit_scale] if learned else [])]
    optimizer = torch.optim.Adam(parameters, lr=args.learning_rate, fused=True)
    # At a constant rate the last figures are those of a jump at a small temperature, not of where the loss leads.
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1, 0, args.steps)
    records = [measure(encoders, images, logit_scale)]
    steps = measured_steps(args.steps)
    for step in range(1, args.steps + 1):
        place = (step - 1) * args.batch_size % (args.num_images // args.batch_size * args.batch_size)
        if place == 0:
            order = torch.randperm(args.num_images)
        batch = images[order[place : place + args.batch_size]]
        first, second = (normalize(encoder(batch), dim=1) for encoder in encoders)
        loss = clip_loss(first, second, logit_scale.exp())
        loss = loss + sum(REGULARIZERS[name](first, second) for name in regularizers[cell.objective])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            if learned:
                logit_scale.clamp_(0, -math.log(LEAST_TEMPERATURE))
        if step in steps:
            records.append(measure(encoders, images, logit_scale))
    return cell._asdict() | {"step": steps} | {name: [record[name] for record in records] for name in records[0]}


def measured_steps(last: int) -> list[int]:
    """0, 1, 2, 5, 10, 20, 50 ... and `last`: the gap may open or close in a few steps or in a thousand."""
    decades = range(len(str(last)))
    return [0, *(step for power in decades for step in (10**power, 2 * 10**power, 5 * 10**power) if step < last), last]


def principal_coordinates(pixels: torch.Tensor) -> torch.Tensor:
    """The pictures in the directions in which they are largest, not centered: a rotation of their pixels, shortened.

    Returns:
        (num_images, min(NUM_COMPONENTS, num_images)), entries of mean square 1.
    """
    left, singular, _ = torch.linalg.svd(pixels, full_matrices=False)
    coordinates = (left * singular)[:, :NUM_COMPONENTS]
    return coordinates / coordinates.square().mean().sqrt()


def build_encoders(
    start: str, images: torch.Tensor, hidden_dim: int, projection_dim: int, offset_gap: float
) -> nn.ModuleList:
    """Two perceptrons of one shape as `start` wants them, see gap_experiment.py."""

    def perceptron() -> nn.Sequential:
        return nn.Sequential(
            nn.Linear(images.shape[1], hidden_dim),
            nn.ReLU(),
            nn.Linear(hidden_dim, hidden_dim),
            nn.ReLU(),
            nn.Linear(hidden_dim, projection_dim),
        )

    first = perceptron()
    second = copy.deepcopy(first) if start in ("equal", "offset") else perceptron()
    if start == "zero_gap":
        move_center(second, images, center(first, images))
    if start == "offset":
        half = normalize(torch.randn(projection_dim, dtype=torch.float64), dim=0) * offset_gap / 2
        move_center(first, images, half)
        move_center(second, images, -half)
    return nn.ModuleList([first, second])


@torch.no_grad()
def center(encoder: nn.Sequential, images: torch.Tensor) -> torch.Tensor:
    """Mean of the normalized embeddings, (projection_dim,) float64."""
    return normalize(encoder(images).double(), dim=1).mean(dim=0)


@torch.no_grad()
def move_center(encoder: nn.Sequential, images: torch.Tensor, target: torch.Tensor) -> None:
    """Change the last bias b until the mean of normalized embeddings is `target`, (projection_dim,) shorter than 1.

    That is where the convex function sum_i ||f_i + b|| - N <target, b> is least: Newton's method with halved steps.
    """
    outputs = encoder(images).double()
    shift = torch.zeros_like(target)

    def missing(shift: torch.Tensor) -> torch.Tensor:
        return target - normalize(outputs + shift, dim=1).mean(dim=0)

    for _ in range(100):
        moved = outputs + shift
        lengths = moved.norm(dim=1)
        scaled = moved / lengths[:, None] ** 1.5
        hessian = (1 / lengths).mean() * torch.eye(len(target)).double() - scaled.T @ scaled / len(moved)
        step = torch.linalg.solve(hessian, missing(shift))
        while missing(shift + step).norm() > missing(shift).norm() and step.norm() > 1e-12:
            step /= 2
        shift += step
    encoder[-1].bias += shift.float()


@torch.no_grad()
def measure(encoders: nn.ModuleList, images: torch.Tensor, logit_scale: torch.Tensor) -> dict[str, float]:
    """Gap, separability, contrastive loss, top-1 accuracy (mean of both directions) and temperature, on all images."""
    first, second = (normalize(encoder(images), dim=1) for encoder in encoders)
    similarity = first @ second.T
    right = [similarity.argmax(dim=dim) == torch.arange(len(images)) for dim in (0, 1)]
    return {
        "gap": float(modality_gap(first, second)),
        "separability": linear_separability(first, second),
        "loss": float(clip_loss(first, second, logit_scale.exp())),
        "accuracy": float(torch.stack(right).double().mean()),
        "current_temperature": float((-logit_scale).exp()),
    }
