# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Explaining away: what an embedding keeps of the object that stands out least, once a larger one identifies the pair.

InfoNCE saturates: where one object tells a pair from the others of its batch, nothing pushes the model to learn the
rest. CLOOB is meant to mend this (Fürst et al. 2022, arXiv 2110.11316). The measures, on pictures of several objects
of known salience, are ours: each asks the same of the most and of the least salient object, so that a difference
between two models in quality in general shows on both, and explaining away on the least alone.

    probe          a linear map from the frozen image embedding to the concept at one salience rank
    retrieval      the concept's prompt among the prompts of concepts that the picture lacks
    forced_choice  the true caption, or the same with this one object's name exchanged

A picture's objects are a row of `contained`, (num_images, max_objects) int64: their concepts, most salient first, then
-1. Every measure is one value a picture, so that two models can be compared picture by picture.
"""

from collections.abc import Mapping, Sequence

import torch

from .bootstrap import resampled_counts, resampled_interval, resampled_means
from .ranking import TIE_TOLERANCE, check_embeds, check_positive, check_same_dim

KS = (1, 5, 10)
# Penalties that a probe tries, as shares of the mean variance of a dimension.
PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
HELD_OUT_SHARE = 5


def concepts_by_role(contained: torch.Tensor) -> dict[str, torch.Tensor]:
    """The concept of each picture that is asked for: `most`, `least`, and `rank_1` (the most salient), `rank_2` …

    Returns:
        role -> (num_images,) int64, -1 where a picture has no object of that rank.

    Raises:
        ValueError: a picture with fewer than two objects, or with a gap in its row.
    """
    present = contained >= 0
    counts = present.sum(dim=1)
    if (present != (torch.arange(contained.shape[1]) < counts[:, None])).any() or (counts < 2).any():
        raise ValueError("each row of contained must hold at least two concepts, most salient first, then -1 only.")
    least = contained.gather(1, counts[:, None] - 1)[:, 0]
    ranks = {f"rank_{rank + 1}": contained[:, rank] for rank in range(contained.shape[1])}
    return {"most": contained[:, 0], "least": least, **ranks}


def ranks_among_absent(scores: torch.Tensor, wanted: torch.Tensor, contained: torch.Tensor) -> torch.Tensor:
    """The rank of one contained concept among itself and the concepts that the picture lacks; ties count against it.

    Args:
        scores: (num_images, num_concepts).
        wanted: (num_images,) int64, a concept of each picture, or -1.
        contained: (num_images, max_objects) int64: the other objects are no rivals.

    Returns:
        (num_images,) int64 from 1; 0 where `wanted` is -1.
    """
    present = wanted >= 0
    own = scores.gather(1, wanted.clamp(min=0)[:, None])
    rivals = scores.clone()
    for concepts in contained.T:
        rows = (concepts >= 0).nonzero()[:, 0]
        rivals[rows, concepts[rows]] = -torch.inf
    ranks = 1 + (rivals >= own - TIE_TOLERANCE).sum(dim=1)
    return torch.where(present, ranks, 0)


def rank_measures(ranks: torch.Tensor, num_absent: torch.Tensor, ks: Sequence[int] = KS) -> dict[str, torch.Tensor]:
    """What a rank is worth, a value a picture: recalls, reciprocal rank, and the share of absent concepts below it.

    Args:
        ranks: (num_images,) from `ranks_among_absent`; 0 gives NaN.
        num_absent: (num_images,) number of concepts that each picture lacks, of those that were ranked.
        ks: cut-offs.

    Returns:
        `recall@{k}`, `reciprocal_rank` and `auc` (1 - (rank - 1) / num_absent; 1/2 by chance, ties aside), float64.
    """
    ranks = torch.where(ranks > 0, ranks.double(), torch.nan)
    missing = ranks.isnan()
    measures = {f"recall@{k}": (ranks <= k).double().masked_fill(missing, torch.nan) for k in ks}
    return measures | {"reciprocal_rank": 1 / ranks, "auc": 1 - (ranks - 1) / num_absent}


def ridge_scores(
    fit_embeds: torch.Tensor, fit_targets: torch.Tensor, embeds: torch.Tensor, num_concepts: int, penalty: float
) -> torch.Tensor:
    """Scores of a ridge regression of one-hot concepts on embeddings.

        W = (X^T X / n + penalty · s · I)^-1 X^T Y / n,   X, Y centered, s the mean variance of X's dimensions

    Args:
        fit_embeds: (num_fit, projection_dim).
        fit_targets: (num_fit,) int64 from 0 to num_concepts - 1.
        embeds: (num_images, projection_dim).
        num_concepts: columns.
        penalty: above 0.

    Returns:
        (num_images, num_concepts) float64. Columns are centered: a concept that is frequent has no head start.
    """
    inputs = fit_embeds.double()
    center = inputs.mean(dim=0)
    inputs = inputs - center
    labels = torch.nn.functional.one_hot(fit_targets, num_concepts).double()
    labels = labels - labels.mean(dim=0)
    covariance = inputs.T @ inputs / len(inputs)
    # The least number keeps a collapsed model, whose covariance is 0, solvable.
    ridge = penalty * covariance.diagonal().mean().clamp(min=1e-30)
    system = covariance + ridge * torch.eye(len(covariance), dtype=torch.float64)
    return (embeds.double() - center) @ torch.linalg.solve(system, inputs.T @ labels / len(inputs))


def probe_scores(
    fit_embeds: torch.Tensor,
    fit_contained: torch.Tensor,
    embeds: torch.Tensor,
    role: str,
    num_concepts: int,
    seed: int = 0,
) -> torch.Tensor:
    """Scores of the concept in one role, from a probe of that role alone: the most favorable linear reading of it.

    The penalty is the one of `PENALTIES` with the best mean `auc` on a held-out fifth of the pictures to fit.

    Args:
        fit_embeds: (num_fit, projection_dim), rows L2-normalized.
        fit_contained: (num_fit, max_objects) int64.
        embeds: (num_images, projection_dim), rows L2-normalized, of other pictures.
        role: one of `concepts_by_role`.
        num_concepts: concepts are numbered below it.
        seed: which fifth is held out.

    Returns:
        (num_images, num_concepts) float64.
    """
    targets = concepts_by_role(fit_contained)[role]
    rows = (targets >= 0).nonzero()[:, 0]
    rows = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))]
    held_out, fitted = rows.tensor_split([max(1, len(rows) // HELD_OUT_SHARE)])

    def held_out_auc(penalty: float) -> float:
        scores = ridge_scores(fit_embeds[fitted], targets[fitted], fit_embeds[held_out], num_concepts, penalty)
        ranks = ranks_among_absent(scores, targets[held_out], fit_contained[held_out])
        return float(rank_measures(ranks, num_absent(fit_contained[held_out], num_concepts))["auc"].mean())

    penalty = max(PENALTIES, key=held_out_auc)
    return ridge_scores(fit_embeds[rows], targets[rows], embeds, num_concepts, penalty)


def num_absent(contained: torch.Tensor, num_concepts: int) -> torch.Tensor:
    """(num_images,) how many of the concepts each picture lacks."""
    return num_concepts - (contained >= 0).sum(dim=1)


def forced_choice(
    image_embeds: torch.Tensor, caption_embeds: torch.Tensor, other_caption_embeds: torch.Tensor
) -> torch.Tensor:
    """Whether each picture is nearer to its caption than to another: 1, 0, or 1/2 for a tie.

    Args:
        image_embeds, caption_embeds, other_caption_embeds: (num_images, projection_dim), rows L2-normalized.

    Returns:
        (num_images,) float64.
    """
    margin = (image_embeds * (caption_embeds - other_caption_embeds)).sum(dim=1)
    return torch.where(margin.abs() <= TIE_TOLERANCE, 0.5, (margin > 0).double())


def measure_pictures(
    image_embeds: torch.Tensor,
    contained: torch.Tensor,
    prompt_embeds: torch.Tensor,
    fit_embeds: torch.Tensor,
    fit_contained: torch.Tensor,
) -> dict[str, torch.Tensor]:
    """Probe and retrieval of every role: one value a picture, NaN where it has no such object.

    Args:
        image_embeds: (num_images, projection_dim), rows L2-normalized.
        contained: (num_images, max_objects) int64.
        prompt_embeds: (num_concepts, projection_dim), rows L2-normalized.
        fit_embeds: (num_fit, projection_dim), rows L2-normalized; pictures that the probes learn from.
        fit_contained: (num_fit, max_objects) int64. The probes' candidates are the concepts in it.

    Returns:
        `{measure}_{role}_{figure}` -> (num_images,) float64: measures `probe` and `retrieval`, roles of
        `concepts_by_role`, figures of `rank_measures`.

    Raises:
        ValueError: embeddings that are not finite, not normalized or of unequal width, or a concept in `contained`
            that the probes have no picture of.
    """
    embeds = {"image_embeds": image_embeds, "prompt_embeds": prompt_embeds, "fit_embeds": fit_embeds}
    for name, rows in embeds.items():
        check_embeds(name, rows)
    check_same_dim(**embeds)
    known = fit_contained[fit_contained >= 0].unique()
    numbers = torch.full((len(prompt_embeds) + 1,), -1)
    numbers[known] = torch.arange(len(known))
    if (numbers[contained[contained >= 0]] < 0).any():
        raise ValueError("a concept of the pictures is in no picture that the probes learn from.")

    scores = image_embeds @ prompt_embeds.T
    measures = {}
    # The last entry of `numbers`, which index -1 finds, stays -1.
    own, fit_own = numbers[contained], numbers[fit_contained]
    for role, wanted in concepts_by_role(contained).items():
        found = {
            "retrieval": rank_measures(
                ranks_among_absent(scores, wanted, contained), num_absent(contained, len(prompt_embeds))
            ),
            "probe": rank_measures(
                ranks_among_absent(
                    probe_scores(fit_embeds, fit_own, image_embeds, role, len(known)), numbers[wanted], own
                ),
                num_absent(own, len(known)),
            ),
        }
        for measure, figures in found.items():
            measures |= {f"{measure}_{role}_{name}": values for name, values in figures.items()}
    return measures


def mean_over_pictures(
    measures: Mapping[str, torch.Tensor], num_resamples: int = 1000, seed: int = 0
) -> dict[str, float]:
    """Means of values a picture, NaN left out, with 95 % bootstrap intervals over pictures.

    Of differences between two models on the same pictures this is the paired bootstrap.

    Returns:
        `{name}`, `{name}_low` and `{name}_high` for each measure.

    Raises:
        ValueError: a measure without a value, or num_resamples below 1.
    """
    check_positive(num_resamples=num_resamples)
    counts = resampled_counts(len(next(iter(measures.values()))), num_resamples, seed)
    figures = {}
    for name, values in measures.items():
        rows = (~values.isnan()).nonzero()[:, 0]
        if not len(rows):
            raise ValueError(f"{name} has no value in any of {len(values)} pictures.")
        mean = float(values[rows].double().mean())
        low, high = resampled_interval(mean, resampled_means(counts[:, rows], values[rows, None])[:, 0])
        figures |= {name: mean, f"{name}_low": low, f"{name}_high": high}
    return figures
