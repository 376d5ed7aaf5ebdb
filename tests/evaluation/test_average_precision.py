# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""11-point average precision equals hand-made cases and a slow loop, and ties never help."""

import pytest
import torch

from hf_cloob.evaluation.average_precision import eleven_point_map, multi_hot


def slow_average_precision(scores: list[float], targets: list[bool]) -> float:
    ranked = sorted(zip(scores, targets, strict=True), key=lambda pair: (-pair[0], pair[1]))
    total = sum(targets)
    curve, hits = [], 0
    for rank, (_, target) in enumerate(ranked, start=1):
        hits += target
        curve.append((hits, hits / rank))
    best = [max((p for found, p in curve if 10 * found >= point * total), default=0) for point in range(11)]
    return sum(best) / 11


def test_hand_made_ranking_has_its_known_precision():
    # Right, wrong, right: precision 1 up to recall 0.5 (6 points), then 2/3 (5 points).
    scores = torch.tensor([[0.9], [0.8], [0.7], [0.1]])
    targets = torch.tensor([[True], [False], [True], [False]])
    expected = (6 * 1 + 5 * 2 / 3) / 11
    assert eleven_point_map(scores, targets)["eleven_point_map"] == pytest.approx(expected, abs=1e-12)


def test_random_rankings_equal_a_slow_loop():
    # Few distinct scores: half of the ranking is ties.
    scores = torch.randint(0, 20, (60, 7)) / 20
    targets = torch.rand(60, 7) < 0.3
    targets[:, 6] = False
    slow = [slow_average_precision(scores[:, c].tolist(), targets[:, c].tolist()) for c in range(6)]
    assert eleven_point_map(scores, targets)["eleven_point_map"] == pytest.approx(sum(slow) / 6, abs=1e-12)


def test_constant_scores_rank_wrong_images_first():
    targets = torch.tensor([[True], [False], [False], [False]])
    assert eleven_point_map(torch.zeros(4, 1), targets)["eleven_point_map"] == pytest.approx(0.25)


def test_ignored_images_count_neither_way():
    scores = torch.tensor([[0.9], [0.8], [0.7]])
    targets = torch.tensor([[False], [True], [False]])
    ignored = torch.tensor([[True], [False], [False]])
    assert eleven_point_map(scores, targets)["eleven_point_map"] == pytest.approx(0.5)
    assert eleven_point_map(scores, targets, ignored)["eleven_point_map"] == 1.0


def test_lists_become_marks():
    assert multi_hot([[0, 2], []], 3).tolist() == [[True, False, True], [False, False, False]]
    with pytest.raises(ValueError, match=r"labels\[1\] holds 3; the classes are 0 to 2"):
        multi_hot([[0], [3]], 3)


@pytest.mark.parametrize(
    ("scores", "targets", "ignored", "message"),
    [
        (torch.zeros(2, 3), torch.ones(3, 2) > 0, None, r"got \(2, 3\), \(3, 2\)"),
        (torch.full((2, 1), torch.nan), torch.ones(2, 1) > 0, None, "not finite"),
        (torch.zeros(2, 1), torch.zeros(2, 1) > 0, None, "No class has an image"),
        (torch.zeros(2, 1), torch.ones(2, 1) > 0, torch.ones(2, 1) > 0, "a target and ignored"),
    ],
)
def test_impossible_inputs_are_refused(scores, targets, ignored, message):
    with pytest.raises(ValueError, match=message):
        eleven_point_map(scores, targets, ignored)
