# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Multi-modal arithmetic on embeddings: an image, moved by the difference of two texts, looks for another image.

    q = l2norm(x_source + lambda · (y_target − y_source)),  found: the nearest image that is not the source

SIMAT's protocol (Couairon et al. 2022, arXiv 2112.03162), for data where the one right image is known:
the rank of that image replaces the judge that SIMAT needs. Texts name what changes ("man", "woman"), so neither the
image alone nor the text alone can point at the answer, and both are measured as controls.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch.nn import functional as F

from .bootstrap import resampled_counts, resampled_interval
from .ranking import TIE_TOLERANCE, check_embeds, check_indices, check_ks, check_positive, check_same_dim

SCALES = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)
KS = (1, 5)
# Queries whose scores against all images are held at once.
QUERIES_AT_ONCE = 1024


@dataclass(frozen=True)
class ArithmeticTask:
    """Questions about rows of image_embeds and text_embeds; all lists have num_questions entries.

    Attributes:
        source_images, target_images: (num_questions,) int64, rows of image_embeds.
        source_texts, target_texts: (num_questions,) int64, rows of text_embeds.
        kinds: what changes ("gender", "color"); figures are means over kinds of the means within them.
        selection: (num_questions,) bool, those that choose lambda; the others are reported. All questions of one
            source image belong to one side.
        groups: optional names of subsets to report by themselves ("seen", "unseen"), one a question.
    """

    source_images: torch.Tensor
    source_texts: torch.Tensor
    target_texts: torch.Tensor
    target_images: torch.Tensor
    kinds: Sequence[str]
    selection: torch.Tensor
    groups: Sequence[str] = ()


def arithmetic_queries(
    source_image_embeds: torch.Tensor, source_text_embeds: torch.Tensor, target_text_embeds: torch.Tensor, scale: float
) -> torch.Tensor:
    """q = l2norm(x_source + scale · (y_target − y_source)), one a question.

    SIMAT does not normalize q, which changes no ranking.

    Args:
        source_image_embeds, source_text_embeds, target_text_embeds: (num_questions, projection_dim) each, rows
            L2-normalized.
        scale: lambda; 0 is the image alone, 1 is SIMAT's plain form.

    Returns:
        (num_questions, projection_dim), rows L2-normalized.
    """
    return F.normalize(source_image_embeds + scale * (target_text_embeds - source_text_embeds), dim=-1)


def random_direction_queries(
    source_image_embeds: torch.Tensor,
    source_text_embeds: torch.Tensor,
    target_text_embeds: torch.Tensor,
    scale: float,
    seed: int = 0,
) -> torch.Tensor:
    """The control: every image moved as far as its texts would move it, in a random direction (shapes as above)."""
    moved = target_text_embeds - source_text_embeds
    generator = torch.Generator().manual_seed(seed)
    directions = F.normalize(torch.randn(moved.shape, generator=generator).to(moved), dim=-1)
    lengths = scale * torch.linalg.vector_norm(moved, dim=-1, keepdim=True)
    return F.normalize(source_image_embeds + lengths * directions, dim=-1)


def target_ranks(
    queries: torch.Tensor, image_embeds: torch.Tensor, task: ArithmeticTask, include_source: bool = False
) -> torch.Tensor:
    """The rank of every question's target among all images, 1 for the nearest; a tie counts against the model.

    Args:
        queries: (num_questions, projection_dim), rows L2-normalized.
        image_embeds: (num_images, projection_dim), rows L2-normalized.
        task: the questions.
        include_source: whether the source image is a candidate; SIMAT leaves it out.

    Returns:
        (num_questions,) int64.
    """
    ranks = torch.empty(len(queries), dtype=torch.int64)
    for start in range(0, len(queries), QUERIES_AT_ONCE):
        rows = slice(start, start + QUERIES_AT_ONCE)
        scores = queries[rows] @ image_embeds.T
        targets = task.target_images[rows, None]
        wanted = scores.gather(1, targets)
        # The target is no rival of its own, however its score is rounded.
        scores.scatter_(1, targets, -torch.inf)
        if not include_source:
            scores.scatter_(1, task.source_images[rows, None], -torch.inf)
        ranks[rows] = 1 + (scores >= wanted - TIE_TOLERANCE).sum(dim=1).cpu()
    return ranks


def measure_arithmetic(
    image_embeds: torch.Tensor,
    text_embeds: torch.Tensor,
    task: ArithmeticTask,
    scales: Sequence[float] = SCALES,
    ks: Sequence[int] = KS,
    num_resamples: int = 1000,
    seed: int = 0,
) -> dict[str, float]:
    """Measures arithmetic on the questions that did not choose lambda, with its controls and 95 % intervals.

    Lambda is the scale with the best top-1 on the selection questions, the smallest of equals. Figures are macro
    averages where nothing else is said: means over kinds of the share of right answers within a kind, from 0 to 1.
    Intervals draw source images anew (questions of one source share its embedding), see `resampled_interval`.

    Args:
        image_embeds: (num_images, projection_dim), rows L2-normalized; all of them are candidates.
        text_embeds: (num_texts, projection_dim), rows L2-normalized.
        task: the questions.
        scales: the grid of lambda, all above 0.
        ks: cut-offs.
        num_resamples: of the bootstrap.
        seed: of the bootstrap and of the random directions.

    Returns:
        For each k, with `_low` and `_high` beside it:
        `top{k}`: arithmetic; `image_only_top{k}`, `text_only_top{k}`, `random_direction_top{k}`: the controls;
        `gain_top{k}`: `top{k}` minus the better of image only and text only; `with_source_top{k}`: the source image
        is a candidate, which it is nowhere else; `scale_1_top{k}`: lambda 1 in place of the chosen one;
        `micro_top{k}`: the mean over questions; `{subset}_top{k}`: one group or one kind.
        Without: `{subset}_image_only_top{k}`, `{subset}_text_only_top{k}`, `scale` (the chosen lambda),
        `selection_top1_at_{scale}` (the grid), `num_images`, `num_sources`, `num_selection_questions`,
        `num_questions` and `{subset}_num_questions`, the reported ones.

    Raises:
        ValueError: embeddings that are not normalized, rows that are not there, lists of unequal length, no question
            to choose or to report with, a source image among both, a scale that is not above 0.
    """
    image_embeds, text_embeds = check_embeds("image_embeds", image_embeds), check_embeds("text_embeds", text_embeds)
    check_same_dim(image_embeds=image_embeds, text_embeds=text_embeds)
    ks, text_embeds = check_ks(ks), text_embeds.to(image_embeds)
    check_positive(num_resamples=num_resamples)
    _check_task(task, len(image_embeds), len(text_embeds))
    if not scales or min(scales) <= 0:
        raise ValueError(f"scales must be above 0, at least one; got {tuple(scales)}.")

    chosen, reported = _subset(task, task.selection), _subset(task, ~task.selection)
    grid = {}
    for scale in sorted(scales):
        queries = arithmetic_queries(*_parts(image_embeds, text_embeds, chosen), scale)
        right = _right(target_ranks(queries, image_embeds, chosen), (1,))
        grid[scale] = macro_means(right, chosen.kinds).item()
    scale = max(grid, key=grid.get)
    ranks = _ranks_of_methods(image_embeds, text_embeds, reported, scale, seed)
    right = {method: _right(of_method, ks) for method, of_method in ranks.items()}
    counts = _source_counts(reported.source_images, num_resamples, seed)
    return {
        "scale": scale,
        **_figures(right, reported, counts, ks),
        **{f"selection_top1_at_{value:g}": share for value, share in grid.items()},
        "num_images": len(image_embeds),
        "num_sources": len(reported.source_images.unique()),
        "num_selection_questions": len(chosen.kinds),
        "num_questions": len(reported.kinds),
    }


def macro_means(values: torch.Tensor, kinds: Sequence[str], counts: torch.Tensor | None = None) -> torch.Tensor:
    """Means over kinds of the means within them, in every resample.

    Args:
        values: (num_questions, num_columns).
        kinds: num_questions names.
        counts: (num_resamples, num_questions), how often a resample holds each question; None: each once.

    Returns:
        (num_resamples, num_columns) float64, over the kinds that a resample holds; 1 row without `counts`.
    """
    values = values.double()
    counts = torch.ones(1, len(values), dtype=torch.float64) if counts is None else counts.double()
    rows_of = {kind: torch.tensor([own == kind for own in kinds]) for kind in dict.fromkeys(kinds)}
    within = [counts[:, rows] @ values[rows] / counts[:, rows].sum(dim=1, keepdim=True) for rows in rows_of.values()]
    return torch.stack(within).nanmean(dim=0)


def _ranks_of_methods(
    image_embeds: torch.Tensor, text_embeds: torch.Tensor, task: ArithmeticTask, scale: float, seed: int
) -> dict[str, torch.Tensor]:
    parts = _parts(image_embeds, text_embeds, task)
    queries = arithmetic_queries(*parts, scale)
    others = {
        "scale_1_": arithmetic_queries(*parts, 1.0),
        "image_only_": image_embeds[task.source_images],
        "text_only_": text_embeds[task.target_texts],
        "random_direction_": random_direction_queries(*parts, scale, seed),
    }
    ranks = {method: target_ranks(own, image_embeds, task) for method, own in ({"": queries} | others).items()}
    return ranks | {"with_source_": target_ranks(queries, image_embeds, task, include_source=True)}


def _parts(image_embeds: torch.Tensor, text_embeds: torch.Tensor, task: ArithmeticTask) -> tuple[torch.Tensor, ...]:
    return image_embeds[task.source_images], text_embeds[task.source_texts], text_embeds[task.target_texts]


def _figures(
    right: dict[str, torch.Tensor], task: ArithmeticTask, counts: torch.Tensor, ks: Sequence[int]
) -> dict[str, float]:
    figures: dict[str, float] = {}

    def add(name: str, estimates: torch.Tensor, resampled: torch.Tensor, least: float = 0.0) -> None:
        for column, k in enumerate(ks):
            estimate = float(estimates[0, column])
            # The interval is moved to its estimate and may leave what a share can be.
            low, high = (min(max(end, least), 1.0) for end in resampled_interval(estimate, resampled[:, column]))
            figures.update({f"{name}top{k}": estimate, f"{name}top{k}_low": low, f"{name}top{k}_high": high})

    means = {method: macro_means(own, task.kinds) for method, own in right.items()}
    drawn = {method: macro_means(own, task.kinds, counts) for method, own in right.items()}
    for method in right:
        add(method, means[method], drawn[method])
    gains = [own[""] - torch.maximum(own["image_only_"], own["text_only_"]) for own in (means, drawn)]
    add("gain_", *gains, least=-1.0)
    one_kind = [""] * len(task.kinds)
    add("micro_", macro_means(right[""], one_kind), macro_means(right[""], one_kind, counts))
    for names in (task.groups, task.kinds):
        for subset in dict.fromkeys(names):
            rows = torch.tensor([name == subset for name in names])
            kinds = _chosen(task.kinds, rows)
            add(
                f"{subset}_", macro_means(right[""][rows], kinds), macro_means(right[""][rows], kinds, counts[:, rows])
            )
            for method in ("image_only_", "text_only_"):
                control = macro_means(right[method][rows], kinds)[0].tolist()
                figures |= {f"{subset}_{method}top{k}": share for k, share in zip(ks, control, strict=True)}
            figures[f"{subset}_num_questions"] = int(rows.sum())
    return figures


def _right(ranks: torch.Tensor, ks: Sequence[int]) -> torch.Tensor:
    """(num_questions, num_ks) whether the target is among the first k."""
    return ranks[:, None] <= torch.tensor(ks)


def _source_counts(source_images: torch.Tensor, num_resamples: int, seed: int) -> torch.Tensor:
    """(num_resamples, num_questions): sources are drawn, each with all of its questions."""
    sources, source_of = source_images.unique(return_inverse=True)
    return resampled_counts(len(sources), num_resamples, seed)[:, source_of]


def _subset(task: ArithmeticTask, rows: torch.Tensor) -> ArithmeticTask:
    kept = {name: value[rows] for name, value in vars(task).items() if isinstance(value, torch.Tensor)}
    return replace(task, kinds=_chosen(task.kinds, rows), groups=_chosen(task.groups, rows), **kept)


def _chosen(names: Sequence[str], rows: torch.Tensor) -> list[str]:
    return [name for name, kept in zip(names, rows.tolist(), strict=True) if kept] if names else []


def _check_task(task: ArithmeticTask, num_images: int, num_texts: int) -> None:
    length = len(task.kinds)
    for name, upper, what in (
        ("source_images", num_images, "the images"),
        ("target_images", num_images, "the images"),
        ("source_texts", num_texts, "the texts"),
        ("target_texts", num_texts, "the texts"),
    ):
        check_indices(name, getattr(task, name), length, upper, what)
    if len(task.selection) != length or (task.groups and len(task.groups) != length):
        raise ValueError(
            f"a task of {length} kinds needs as many of the others; got {len(task.selection)} of selection and "
            f"{len(task.groups)} groups."
        )
    if task.selection.all() or not task.selection.any():
        raise ValueError(f"{int(task.selection.sum())} of {length} questions choose lambda; both sides need some.")
    if (task.source_images == task.target_images).any():
        raise ValueError("a question asks for its own source image; source_images and target_images must differ.")
    both = set(task.source_images[task.selection].tolist()) & set(task.source_images[~task.selection].tolist())
    if both:
        raise ValueError(f"source image {min(both)} has questions on both sides of the selection.")
