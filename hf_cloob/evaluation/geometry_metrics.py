# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Figures of how two modalities share one space: definitions, equations and sources; all of matched pairs (x_i, y_i).

`geometry_metrics` gives all of them with intervals; the functions before it are its parts. The distance of the centers
is `geometry.modality_gap`, the eigenvalues are `spectrum`'s; alignment and the uniformities are the losses of
`losses_regularization`, from `pair_statistics` because intervals need every pair's share.
"""

from collections.abc import Mapping

import numpy as np
import torch

from .bootstrap import resampled_counts, resampled_interval, resampled_means
from .geometry import modality_gap
from .geometry_pairs import pair_statistics
from .probes import fit_linear_probe
from .spectrum import covariance_spectrum, effective_rank, num_eigenvalues

RECALL_KS = (1, 5, 10)
SPECTRUM_SHARES = (0.9, 0.95, 0.99)
# scikit-learn's C: unit vectors need little regularization, and with little a probe sees small gaps, too.
PROBE_INVERSE_REGULARIZATION = 100.0
TEST_SHARE = 5
# Statistics over all pairs of rows, which are resampled through their projection.
ALL_PAIRS = (
    "mismatched_cosine",
    "image_cosine",
    "text_cosine",
    "image_potential",
    "text_potential",
    "cross_potential",
)


def relative_gap(squared_distance, image_cosine, text_cosine):
    """Relative modality gap: the distance of matched pairs as a share of it and the distances within the modalities.

        RMG = m / (m + (i + t) / 2),   with d(a, b) = (1 - cos(a, b)) / 2:
        m = mean_i d(x_i, y_i),   i = mean_{i != j} d(x_i, x_j),   t = mean_{i != j} d(y_i, y_j)

    0: matched pairs coincide; 1/2: they are as far apart as any two of one modality; 1: each modality is one point.

    Args:
        squared_distance: mean of ||x_i - y_i||^2, which is 4 m for unit rows; a number or a tensor.
        image_cosine, text_cosine: mean cosine of different images, and of different texts.

    Returns:
        Of the arguments' shape; 0 where all distances are 0.

    Source: Schrodi et al. 2024 (arXiv 2404.07983).
    """
    matched = torch.as_tensor(squared_distance, dtype=torch.float64) / 4
    within = (2 - torch.as_tensor(image_cosine) - torch.as_tensor(text_cosine)) / 4
    return torch.where(matched == 0, torch.zeros_like(matched), matched / (matched + within))


def skewness(first: torch.Tensor, second: torch.Tensor, third: torch.Tensor) -> torch.Tensor:
    """Standardized third moment from the raw moments E n, E n^2, E n^3; 0 where nothing varies.

    Of the numbers of times n that items are among the k nearest of other items, it is their hubness: a few items that
    are everybody's neighbors make it large.

    Source: Radovanovic, Nanopoulos, Ivanovic 2010 (JMLR 11), S_{N_k}; there among items of one kind, here the
    occurrences of texts among the neighbors of images and the other way round.
    """
    variance = second - first**2
    central = third - 3 * first * second + 2 * first**3
    # Moments of equal counts differ by rounding only.
    varies = variance > 1e-9 * second.clamp(min=1)
    return torch.where(varies, central / variance.clamp(min=1e-300) ** 1.5, 0.0)


def separability_by_pair(
    image_embeds: torch.Tensor, text_embeds: torch.Tensor, seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Accuracy of a logistic regression that tells images from texts, for every test pair.

    It learns from four fifths of the pairs and is tested on the others, so never on the partner of what it has seen.
    Its mean is the linear separability: 1 for disjoint modalities, 1/2 without a gap.

    Args:
        image_embeds: (num_pairs, projection_dim), rows L2-normalized; at least five pairs.
        text_embeds: (num_pairs, projection_dim), rows L2-normalized.
        seed: which pairs are tested.

    Returns:
        (num_test,) int64 rows of the test pairs, and (num_test,) float64 accuracies: 0, 1/2 or 1.

    Raises:
        ValueError: fewer than five pairs, or embeddings not finite or not normalized.
        ImportError: scikit-learn is missing; the extra `evaluation` brings it.

    Source: Fahim, Murphy, Fyshe 2024 (arXiv 2405.18570); the split by pair, and scikit-learn's C = 100, are ours.
    """
    if len(image_embeds) < TEST_SHARE:
        raise ValueError(f"a probe needs at least {TEST_SHARE} pairs; got {len(image_embeds)}.")
    order = torch.randperm(len(image_embeds), generator=torch.Generator().manual_seed(seed))
    test, train = order.tensor_split([len(order) // TEST_SHARE])

    def joined(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        embeds = torch.cat([image_embeds[rows], text_embeds[rows].to(image_embeds)])
        return embeds, torch.arange(2).repeat_interleave(len(rows))

    probe = fit_linear_probe(*joined(train), PROBE_INVERSE_REGULARIZATION)
    embeds, targets = joined(test)
    right = probe.predict(embeds.cpu().numpy()) == targets.numpy()
    return test, torch.from_numpy(right.reshape(2, -1).mean(axis=0, dtype=np.float64))


def linear_separability(image_embeds: torch.Tensor, text_embeds: torch.Tensor, seed: int = 0) -> float:
    """Mean of `separability_by_pair`."""
    return float(separability_by_pair(image_embeds, text_embeds, seed)[1].mean())


def geometry_metrics(
    image_embeds: torch.Tensor,
    text_embeds: torch.Tensor,
    k: int = 10,
    num_resamples: int = 500,
    seed: int = 0,
    show_progress: bool = False,
) -> dict[str, float]:
    """All figures of the geometry with 95 % intervals from resampled pairs.

    Intervals: what is a function of means over pairs is computed from resampled means. Figures over all pairs of rows
    (mismatched cosine, uniformities, relative gap) are resampled through each row's mean over the others, see
    `bootstrap`. Spectra: in every resample the variances along the eigenvectors of the whole, which is exact to first
    order. Separability: test pairs are resampled, the probe stays. Hubness and recall: neighbors and gallery stay.

    Args:
        image_embeds: (num_pairs, projection_dim), rows L2-normalized; more than k pairs.
        text_embeds: (num_pairs, projection_dim), rows L2-normalized; row i belongs to image i.
        k: neighbors for the hubness.
        num_resamples: resamples of the pairs.
        seed: of the probe's split and of the resamples.
        show_progress: show a progress bar.

    Returns:
        `modality_gap`, `relative_modality_gap`, `linear_separability`, `matched_cosine`, `mismatched_cosine`,
        `alignment`, `image_uniformity`, `text_uniformity`, `cross_modal_uniformity`, for each modality
        `image_effective_rank` and `image_eigenvalues_90` (95, 99), `image_to_text_hubness` (of the texts),
        `image_to_text_recall@1` (5, 10) and the other way round; each with `_low` and `_high`.

    Raises:
        ValueError: as `pair_statistics`.

    Source: Fahim, Murphy, Fyshe 2024 (arXiv 2405.18570) for separability, alignment and uniformities (Wang and Isola
        2020); the parts name theirs.
    """
    statistics = pair_statistics(image_embeds, text_embeds, k, show_progress)
    names = list(statistics)
    columns = torch.stack([*statistics.values(), *_further(statistics).values()], dim=1)
    names += _further(statistics)
    counts = resampled_counts(len(columns), num_resamples, seed)
    means = dict(zip(names, columns.mean(dim=0), strict=True))
    drawn = dict(zip(names, resampled_means(counts, columns).T, strict=True))
    for name in ALL_PAIRS:
        drawn[name] = 2 * drawn[name] - means[name]
    gaps = resampled_means(counts, image_embeds) - resampled_means(counts, text_embeds)
    test, accuracy = separability_by_pair(image_embeds, text_embeds, seed)
    found = {
        "modality_gap": modality_gap(image_embeds, text_embeds),
        "linear_separability": accuracy.mean(),
        **_of_means(means),
    }
    resampled = {
        "modality_gap": gaps.norm(dim=1),
        "linear_separability": resampled_means(counts[:, test], accuracy[:, None])[:, 0],
        **_of_means(drawn),
    }
    for side, embeds in (("image", image_embeds), ("text", text_embeds)):
        spectrum = covariance_spectrum(embeds)
        found |= _of_spectrum(side, spectrum[0])
        resampled |= _of_spectrum(side, _resampled_variances(counts, embeds, *spectrum))
    metrics = {}
    for name, value in found.items():
        interval = float(value), *resampled_interval(float(value), resampled[name])
        if "eigenvalues" in name:
            interval = tuple(map(round, interval))
        metrics |= dict(zip((name, f"{name}_low", f"{name}_high"), interval, strict=True))
    return metrics


def _further(statistics: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Columns whose means the figures need beside the statistics themselves."""
    columns = {}
    for side, other in (("image", "text"), ("text", "image")):
        occurrences = statistics[f"{other}_occurrences"]
        columns |= {f"{other}_occurrences^2": occurrences**2, f"{other}_occurrences^3": occurrences**3}
        columns |= {f"{side}_to_{other}_recall@{k}": (statistics[f"{side}_rank"] < k).double() for k in RECALL_KS}
    return columns


def _of_means(means: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The figures that means over pairs determine; of one mean each, or of (num_resamples,)."""
    figures = {
        "relative_modality_gap": relative_gap(means["squared_distance"], means["image_cosine"], means["text_cosine"]),
        "matched_cosine": means["matched_cosine"],
        "mismatched_cosine": means["mismatched_cosine"],
        "alignment": means["squared_distance"],
        "image_uniformity": means["image_potential"].log(),
        "text_uniformity": means["text_potential"].log(),
        "cross_modal_uniformity": means["cross_potential"].log(),
    }
    for side, other in (("image", "text"), ("text", "image")):
        figures[f"{side}_to_{other}_hubness"] = skewness(
            *(means[f"{other}_occurrences{power}"] for power in ("", "^2", "^3"))
        )
        figures |= {f"{side}_to_{other}_recall@{k}": means[f"{side}_to_{other}_recall@{k}"] for k in RECALL_KS}
    return figures


def _resampled_variances(counts, embeds, _, eigenvectors, mean) -> torch.Tensor:
    """Variances along the eigenvectors in every resample, (num_resamples, projection_dim)."""

    def moments(rows: torch.Tensor) -> torch.Tensor:
        coordinates = (rows - mean) @ eigenvectors
        return torch.cat([coordinates, coordinates.square()], dim=1)

    first, second = resampled_means(counts, embeds, moments).tensor_split(2, dim=1)
    return (second - first.square()).clamp(min=0)


def _of_spectrum(side: str, eigenvalues: torch.Tensor) -> dict[str, torch.Tensor]:
    counts = {f"{side}_eigenvalues_{round(100 * q)}": num_eigenvalues(eigenvalues, q) for q in SPECTRUM_SHARES}
    return {f"{side}_effective_rank": effective_rank(eigenvalues), **counts}
