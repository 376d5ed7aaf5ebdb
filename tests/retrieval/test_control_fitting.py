# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The best of a grid is taken, over all states of the memory; a model with a fitted readout computes the control."""

import pytest
import torch
from tiny_reco import random_memory, save_base, unit_rows
from torch.nn import functional as F

from hf_cloob import RecoForZeroShot, RecoMemory
from hf_cloob.retrieval import control_fitting
from hf_cloob.retrieval.control_fitting import fit_control, fit_hopfield, fit_readout, set_readout
from hf_cloob.retrieval.controls import Readout, accuracy, hopfield_scores, look_up, on_sides, vote_scores

DIM, CLASSES, QUERIES = 16, 6, 20
LABELS = torch.arange(QUERIES) % CLASSES


@pytest.fixture
def small_grids(monkeypatch):
    for name, values in (("NUM_NEIGHBORS", (5, 10)), ("WEIGHTS", (0.5, 4.0)), ("SCALES", (5.0, 40.0))):
        monkeypatch.setattr(control_fitting, name, values)
    monkeypatch.setattr(control_fitting, "NULL_SCORES", (None, 0.5))


def lookups(num_states: int) -> list:
    sides = unit_rows(QUERIES, DIM, 1), unit_rows(CLASSES, DIM, 2)
    return [look_up(*sides, random_memory(40 + 10 * state, DIM), 20) for state in range(num_states)]


def test_the_best_of_the_grid_is_taken_over_all_states_and_of_equal_ones_the_first():
    states, grid = lookups(2), {"k": (5, 10, 20), "scale": (5.0, 40.0)}
    right = {
        (k, scale): sum(accuracy(vote_scores(state, k, scale), LABELS) for state in states) / 2
        for k in grid["k"]
        for scale in grid["scale"]
    }
    fitted = fit_control(vote_scores, states, LABELS, grid)
    assert fitted.accuracy == max(right.values())
    assert tuple(fitted.settings.values()) == next(key for key, value in right.items() if value == fitted.accuracy)


@pytest.mark.parametrize("side", ["image", "text"])
def test_of_a_single_side_the_whole_grid_is_searched(side, small_grids):
    states = lookups(1)
    fitted = fit_hopfield(states, LABELS, side)
    settings = [(k, a, b, null) for k in (5, 10) for a in (0.5, 4.0) for b in (5.0, 40.0) for null in (None, 0.5)]
    assert fitted.accuracy == max(
        accuracy(hopfield_scores(states[0], k, **on_sides(side, numbers)), LABELS) for k, *numbers in settings
    )
    assert accuracy(hopfield_scores(states[0], **fitted.settings), LABELS) == fitted.accuracy


def test_both_sides_are_at_least_as_good_as_what_is_best_of_each_alone(small_grids):
    states = lookups(1)
    both = fit_hopfield(states, LABELS)
    assert both.settings["image"] is not None and both.settings["text"] is not None
    assert accuracy(hopfield_scores(states[0], **both.settings), LABELS) == both.accuracy
    for k in (5, 10):
        alone = {"k": k}
        for side in ("image", "text"):
            grid = {"k": (k,), side: [(a, b, n) for a in (0.5, 4.0) for b in (5.0, 40.0) for n in (None, 0.5)]}
            alone[side] = fit_control(hopfield_scores, states, LABELS, grid).settings[side]
        assert both.accuracy >= accuracy(hopfield_scores(states[0], **alone), LABELS)


def test_a_state_that_lacks_what_is_asked_for_gives_a_threshold(small_grids, monkeypatch):
    """Every class has an entry of its own; in the other state of the memory all entries mislead."""
    monkeypatch.setattr(control_fitting, "WEIGHTS", (4.0,))
    monkeypatch.setattr(control_fitting, "SCALES", (40.0,))
    monkeypatch.setattr(control_fitting, "NULL_SCORES", (None, 0.8))
    classes = torch.eye(DIM)[:CLASSES]
    images = F.normalize(classes + 0.9 * torch.eye(DIM)[CLASSES : 2 * CLASSES], dim=1)
    keys = F.normalize(images + 0.05 * unit_rows(CLASSES, DIM, 5), dim=1)
    misleading = F.normalize(images + 2.0 * unit_rows(CLASSES, DIM, 6), dim=1)
    labels = torch.arange(CLASSES)
    holds = look_up(images, classes, RecoMemory(keys, classes), 10)
    lacks = look_up(images, classes, RecoMemory(misleading, classes.roll(1, 0)), 10)
    assert fit_hopfield([holds], labels, "image").settings["image"].null_score is None
    fitted = fit_hopfield([holds, lacks], labels, "image")
    assert fitted.accuracy == 1.0 and fitted.settings["image"].null_score is not None


@pytest.mark.parametrize("side", ["image", "text", "both"])
def test_an_untrained_model_with_a_fitted_readout_is_the_hopfield_control(side, tmp_path, small_grids, monkeypatch):
    monkeypatch.setattr(control_fitting, "NULL_SCORES", (0.3,))
    model = RecoForZeroShot.from_base(save_base("clip", tmp_path))
    width = model.config.projection_dim
    memory = random_memory(60, width)
    images, classes = unit_rows(QUERIES, width, 1), unit_rows(CLASSES, width, 2)
    fitted = fit_readout(images, classes, LABELS, [memory], sides=(side,))
    assert [fitted.image is not None, fitted.text is not None] == [side != "text", side != "image"]
    set_readout(model, fitted)
    model.set_memory(memory)
    with torch.no_grad():
        outputs = model(image_embeds=images, text_embeds=classes)
    scores = hopfield_scores(look_up(images, classes, memory, 20), *fitted)
    assert torch.allclose(outputs.image_embeds @ outputs.text_embeds.T, scores, atol=1e-5)


def test_a_readout_of_no_side_is_refused(tmp_path):
    with pytest.raises(ValueError, match="neither images nor texts"):
        set_readout(RecoForZeroShot.from_base(save_base("clip", tmp_path)), Readout(5, None, None))
