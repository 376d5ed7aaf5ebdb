# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The probes against separable cases with known answers, brute force and scikit-learn itself."""

import logging

import pytest
import torch
from torch.nn import functional as F

from hf_cloob.evaluation.probes import (
    REGULARIZATION_GRID,
    fit_linear_probe,
    fit_nearest_neighbors,
    probe_accuracy,
)


def clusters(number: int, num_classes: int = 4, spread: float = 0.3, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randint(0, num_classes, (number,), generator=generator)
    centers = torch.eye(num_classes, 6)
    return F.normalize(centers[targets] + spread * torch.randn(number, 6, generator=generator), dim=-1), targets


def test_a_linear_probe_separates_what_is_separable():
    probe = fit_linear_probe(*clusters(200, spread=0.05))
    assert probe_accuracy(probe, *clusters(100, spread=0.05, seed=1)) == {"top1": 1.0, "mean_per_class_top1": 1.0}
    assert probe.C in REGULARIZATION_GRID


def test_a_linear_probe_finds_chance_where_nothing_is_to_be_found():
    embeds, targets = clusters(400)
    shuffled = targets[torch.randperm(400)]
    accuracy = probe_accuracy(fit_linear_probe(embeds, shuffled), *clusters(400, seed=1))["top1"]
    assert 0.1 < accuracy < 0.45


def test_a_linear_probe_with_a_given_regularization_equals_scikit_learns():
    from sklearn.linear_model import LogisticRegression

    train, test = clusters(120, spread=0.8), clusters(80, spread=0.8, seed=1)
    wanted = LogisticRegression(C=3.0, max_iter=1000).fit(*(part.numpy() for part in train))
    probe = fit_linear_probe(*train, inverse_regularization=3.0)
    assert probe_accuracy(probe, *test)["top1"] == pytest.approx(wanted.score(*(part.numpy() for part in test)))


def test_the_regularization_that_is_best_on_the_held_out_fifth_is_chosen():
    # Hardly regularized, 150 directions of noise are learned by heart.
    embeds, targets = clusters(150, num_classes=2, spread=0.5)
    noisy = F.normalize(torch.cat([embeds, 0.5 * torch.randn(150, 150)], dim=-1), dim=-1)
    chosen = fit_linear_probe(noisy, targets)
    assert chosen.C < REGULARIZATION_GRID[-1]
    assert fit_linear_probe(noisy, targets).C == chosen.C


def test_a_progress_bar_counts_the_regularizations_and_changes_nothing(capsys):
    train = clusters(60, spread=0.8)
    silent = fit_linear_probe(*train)
    assert capsys.readouterr().err == ""
    shown = fit_linear_probe(*train, show_progress=True)
    assert shown.C == silent.C and (shown.coef_ == silent.coef_).all()
    assert f"/{len(REGULARIZATION_GRID)} [" in capsys.readouterr().err


def test_the_mean_per_class_weighs_rare_classes_as_common_ones():
    embeds = F.normalize(torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.8, 0.1], [1.0, 0.2]]), dim=-1)
    neighbors = fit_nearest_neighbors(torch.eye(2), torch.tensor([0, 1]), num_neighbors=1)
    found = probe_accuracy(neighbors, embeds, torch.tensor([0, 0, 0, 1]))
    assert found == {"top1": 0.75, "mean_per_class_top1": 0.5}


@pytest.mark.parametrize("num_neighbors", [1, 5, 20])
def test_nearest_neighbors_equal_a_vote_by_brute_force(num_neighbors):
    (train, train_targets), (test, targets) = clusters(150, spread=0.8), clusters(60, spread=0.8, seed=1)
    right = []
    for embed, target in zip(test, targets, strict=True):
        nearest = (train @ embed).argsort(descending=True)[:num_neighbors]
        right.append(torch.bincount(train_targets[nearest], minlength=4).argmax() == target)
    found = probe_accuracy(fit_nearest_neighbors(train, train_targets, num_neighbors), test, targets)
    assert found["top1"] == pytest.approx(torch.stack(right).double().mean().item())


def test_a_class_without_training_images_counts_as_wrong():
    embeds, targets = clusters(100, spread=0.05)
    seen = targets < 3
    for probe in (fit_linear_probe(embeds[seen], targets[seen]), fit_nearest_neighbors(embeds[seen], targets[seen])):
        found = probe_accuracy(probe, embeds, targets)
        assert found["top1"] == pytest.approx(seen.double().mean().item())
        assert found["mean_per_class_top1"] == pytest.approx(0.75)


def test_a_probe_that_has_not_converged_is_reported(caplog):
    with caplog.at_level(logging.WARNING):
        fit_linear_probe(*clusters(100), inverse_regularization=1000.0, max_iter=2)
    assert "stopped at max_iter=2 with C=1000" in caplog.text


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x, y: fit_linear_probe(x, y[:-1]), r"train_targets must have shape \(20,\)"),
        (lambda x, y: fit_linear_probe(2 * x, y), "train_embeds must have L2-normalized rows"),
        (lambda x, y: fit_linear_probe(x, torch.zeros_like(y)), "at least two classes; all 20 targets are 0"),
        (lambda x, y: fit_linear_probe(x, y, inverse_regularization=0.0), "must be above 0, got 0.0"),
        (lambda x, y: fit_linear_probe(x[:2], torch.tensor([0, 1])), "2 images are too few"),
        (lambda x, y: fit_nearest_neighbors(x, y, 21), "at most the 20 training images, got 21"),
        (lambda x, y: fit_nearest_neighbors(x, y, 0), "num_neighbors must be at least 1"),
        (lambda x, y: probe_accuracy(fit_nearest_neighbors(x, y), torch.eye(3)[y % 3], y), "got 3"),
    ],
)
def test_a_mistake_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(*clusters(20))
