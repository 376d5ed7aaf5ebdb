# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The closed-form matrix: the loops' values, what it is for, and entities that say nothing."""

import pytest
import torch
from tiny_reco import unit_rows
from torch.nn import functional as F

from hf_cloob.retrieval.readout_matrix import whitening_matrix, within_entities

DIM = 8


def drawings(entities: int, styles: int, noise: torch.Tensor, seed: int = 0) -> tuple[torch.Tensor, list[int]]:
    """Each entity in some styles, which differ along the axes as `noise` says."""
    centers = unit_rows(entities, DIM, seed).repeat_interleave(styles, dim=0)
    generator = torch.Generator().manual_seed(seed + 1)
    drawn = centers + noise * torch.randn(centers.shape, generator=generator)
    return F.normalize(drawn, dim=1), [row // styles for row in range(len(centers))]


def test_values_are_those_of_loops_over_entities():
    sources = [drawings(5, 3, torch.linspace(0.1, 0.8, DIM)), drawings(4, 2, torch.full((DIM,), 0.3), seed=9)]
    scatters = []
    for embeds, entities in sources:
        scatter = torch.zeros(DIM, DIM, dtype=torch.float64)
        for entity in set(entities):
            rows = [embeds[row].double() for row, shown in enumerate(entities) if shown == entity]
            mean = sum(rows) / len(rows)
            scatter += sum(torch.outer(row - mean, row - mean) for row in rows)
        torch.testing.assert_close(within_entities(embeds, entities), scatter)
        scatters.append(scatter * DIM / scatter.diagonal().sum())
    inverse = (sum(scatters) / 2 + 0.5 * torch.eye(DIM, dtype=torch.float64)).inverse()
    lengths = [(inverse @ row.double()).norm().item() for embeds, _ in sources for row in embeds]
    expected = inverse * len(lengths) / sum(lengths) - torch.eye(DIM, dtype=torch.float64)
    torch.testing.assert_close(whitening_matrix(sources, 0.5).double(), expected, rtol=0, atol=1e-6)


def test_entities_that_were_not_fitted_are_told_apart_better():
    noise = torch.tensor([0.5, 0.5, 0.5, 0.05, 0.05, 0.05, 0.05, 0.05])
    matrix = torch.eye(DIM) + whitening_matrix([drawings(60, 4, noise)])
    embeds, entities = drawings(200, 2, noise, seed=50)
    queries, shown = embeds[::2], embeds[1::2]
    labels = torch.tensor(entities[::2])
    plain = (queries @ shown.T).argmax(dim=1) == labels
    mapped = (queries @ F.normalize(shown @ matrix.T, dim=1).T).argmax(dim=1) == labels
    assert mapped.float().mean() > plain.float().mean() + 0.15


def test_the_larger_the_shrinkage_the_nearer_is_the_matrix_to_none():
    sources = [drawings(20, 3, torch.linspace(0.1, 0.8, DIM))]
    norms = [whitening_matrix(sources, shrinkage).norm() for shrinkage in (0.1, 1.0, 1e6)]
    assert norms[0] > norms[1] > norms[2] and norms[2] < 1e-3


def test_entities_shown_once_say_nothing():
    source, single = drawings(20, 3, torch.linspace(0.1, 0.8, DIM)), (unit_rows(7, DIM, 3), [*"abcdefg"])
    assert within_entities(*single) is None
    ratio = whitening_matrix([source, single]) + torch.eye(DIM)
    alone = whitening_matrix([source]) + torch.eye(DIM)
    # They count for the mean length alone.
    torch.testing.assert_close(ratio / ratio.norm(), alone / alone.norm())
    with pytest.raises(ValueError, match="No entity is shown twice"):
        whitening_matrix([single])


@pytest.mark.parametrize("shrinkage", [0.0, -1.0, float("nan")])
def test_a_shrinkage_that_is_not_above_zero_is_refused(shrinkage):
    with pytest.raises(ValueError, match="shrinkage must be above 0, got"):
        whitening_matrix([drawings(3, 2, torch.ones(DIM))], shrinkage)
