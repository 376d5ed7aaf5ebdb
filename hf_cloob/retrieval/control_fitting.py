# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The numbers of a control, chosen on images that no figure is reported on; a readout for a model to start from.

Choices may count several states of the memory: to fit a threshold, entities must also be asked for that it lacks.
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch

from ..configuration_reco import NO_NULL_ENTRY
from ..reco_memory import RecoMemory
from .controls import SIDES, Lookup, Readout, SideReadout, accuracy, hopfield_scores, look_up, on_sides

NUM_NEIGHBORS = (5, 10, 20)
WEIGHTS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
SCALES = (10.0, 20.0, 40.0, 80.0)
# None is a readout without a null entry.
NULL_SCORES = (None, 0.6, 0.7, 0.8, 0.9)


class Fitted(NamedTuple):
    """Settings that classify a selection set best, and their accuracy on it."""

    settings: dict
    accuracy: float


def fit_control(
    control: Callable[..., torch.Tensor],
    lookups: Sequence,
    labels: torch.Tensor,
    grid: Mapping[str, Sequence],
    class_groups: torch.Tensor | None = None,
) -> Fitted:
    """The settings of a grid with which a control classifies a selection set best; of equal ones the first.

    Args:
        control: a function of `controls`, called with a lookup and one value of each row of the grid.
        lookups: of the selection set in each state of the memory that counts; the mean accuracy decides.
        labels: (n,) as in `accuracy`.
        grid: argument -> values to try.
        class_groups: as in `accuracy`.
    """
    best = None
    for values in itertools.product(*grid.values()):
        settings = dict(zip(grid, values, strict=True))
        right = [accuracy(control(lookup, **settings), labels, class_groups) for lookup in lookups]
        right = sum(right) / len(right)
        if best is None or right > best.accuracy:
            best = Fitted(settings, right)
    return best


def fit_hopfield(
    lookups: Sequence[Lookup],
    labels: torch.Tensor,
    side: str = "both",
    class_groups: torch.Tensor | None = None,
    num_neighbors: Sequence[int] | None = None,
) -> Fitted:
    """The Hopfield readout that classifies a selection set best, over the grids of this module.

    A single side is searched whole. For both sides and each k, the sides start from what is best of each alone, and
    then weight and null entry of the images and of the prompts are searched in turn.

    Args:
        lookups: as in `fit_control`, with as many neighbors as the largest of `num_neighbors`.
        labels: (n,) as in `accuracy`.
        side: what is refined, "image", "text" or "both".
        class_groups: as in `accuracy`.
        num_neighbors: values of k to try, by default `NUM_NEIGHBORS`.

    Returns:
        [`Fitted`], whose settings are those of `hopfield_scores`.

    Raises:
        ValueError: for another side.
    """
    alone = list(itertools.starmap(SideReadout, itertools.product(WEIGHTS, SCALES, NULL_SCORES)))
    return max(
        (_fit_at(lookups, labels, k, on_sides(side, alone), class_groups) for k in num_neighbors or NUM_NEIGHBORS),
        key=lambda fitted: fitted.accuracy,
    )


def fit_readout(
    image_embeds: torch.Tensor,
    class_embeds: torch.Tensor,
    labels: torch.Tensor,
    memories: Sequence[RecoMemory],
    sides: Sequence[str] = SIDES,
    class_groups: torch.Tensor | None = None,
) -> Readout:
    """The best Hopfield readout on a labeled selection set, over the grids of this module.

    Args:
        image_embeds: (n, projection_dim) of the memory's encoder, L2-normalized.
        class_embeds: (num_classes, projection_dim), L2-normalized.
        labels: (n,) as in `accuracy`.
        memories: states of the memory; with one that lacks what is asked for, a threshold is found.
        sides: sides to try.
        class_groups: as in `accuracy`.
    """
    lookups = [look_up(image_embeds, class_embeds, memory, max(NUM_NEIGHBORS)) for memory in memories]
    fitted = max(
        (fit_hopfield(lookups, labels, side, class_groups) for side in sides), key=lambda found: found.accuracy
    )
    return Readout(**{"image": None, "text": None} | fitted.settings)


@torch.no_grad()
def set_readout(model, readout: Readout) -> None:
    """Give a `RecoForZeroShot` a readout; if its fusion layers are untrained, it then computes `hopfield_scores`.

    On a side that is not refined the weight is 0, with the other side's scale and null entry, so that it starts as
    the base and can still be trained.

    Args:
        model: its `num_neighbors` and the readout parameters of both fusion layers are set.
        readout: from `fit_readout`.

    Raises:
        ValueError: for a readout of neither side.
    """
    if readout.image is None and readout.text is None:
        raise ValueError("The readout refines neither images nor texts: give it one side at least.")
    model.config.num_neighbors = readout.k
    sides = (model.image_fusion, readout.image, readout.text), (model.text_fusion, readout.text, readout.image)
    for fusion, own, other in sides:
        weight, scale, null_score = own if own is not None else other._replace(weight=0.0)
        fusion.readout_weight.fill_(weight)
        fusion.readout_log_scale.fill_(math.log(scale))
        fusion.readout_null_score.fill_(NO_NULL_ENTRY if null_score is None else null_score)


def _fit_at(
    lookups: Sequence[Lookup],
    labels: torch.Tensor,
    k: int,
    candidates: dict[str, list[SideReadout]],
    class_groups: torch.Tensor | None,
) -> Fitted:
    """The best readout with k neighbors, of one side or both."""

    def fitted(grid: dict[str, Sequence]) -> Fitted:
        return fit_control(hopfield_scores, lookups, labels, {"k": (k,)} | grid, class_groups)

    alone = {side: fitted({side: tried}) for side, tried in candidates.items()}
    if len(alone) == 1:
        return next(iter(alone.values()))
    best = Fitted({side: found.settings[side] for side, found in alone.items()}, 0.0)
    for side in alone:
        found = best.settings[side]
        tried = [found._replace(weight=a, null_score=null) for a in WEIGHTS for null in NULL_SCORES]
        best = fitted(
            {name: tried if name == side else (chosen,) for name, chosen in best.settings.items() if name != "k"}
        )
    return best
