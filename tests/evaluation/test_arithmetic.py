# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Image + lambda (text − text): exact on a space made for it, and honest about ties, controls and halves."""

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import normalize

from hf_cloob.evaluation.arithmetic import (
    ArithmeticTask,
    arithmetic_queries,
    macro_means,
    measure_arithmetic,
    random_direction_queries,
    target_ranks,
)

NUM_THINGS, NUM_COLORS = 12, 5


def unit(*shape: int, seed: int = 0) -> torch.Tensor:
    return normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def additive_space(dim: int = 64) -> tuple[torch.Tensor, torch.Tensor, ArithmeticTask]:
    """Images are thing + color, texts are colors: what arithmetic is for."""
    things, colors = unit(NUM_THINGS, dim), unit(NUM_COLORS, dim, seed=1)
    images = normalize(things[:, None] + colors[None], dim=-1).flatten(0, 1)
    questions = [
        (thing, old, new) for thing in range(NUM_THINGS) for old in range(NUM_COLORS) for new in {0, 1, 2} - {old}
    ]
    thing, old, new = torch.tensor(questions).T
    sources = thing * NUM_COLORS + old
    kinds = ["few" if own < 2 else "many" for own in thing.tolist()]
    groups = ["seen" if own % 3 else "unseen" for own in thing.tolist()]
    task = ArithmeticTask(sources, old, new, thing * NUM_COLORS + new, kinds, thing % 2 == 0, groups)
    return images, colors, task


def test_queries_are_the_formula_and_their_controls_move_as_far():
    image, source, target = unit(4, 8), unit(4, 8, seed=1), unit(4, 8, seed=2)
    moved = image + 1.5 * (target - source)
    assert torch.allclose(arithmetic_queries(image, source, target, 1.5), moved / moved.norm(dim=1, keepdim=True))
    assert torch.allclose(arithmetic_queries(image, source, target, 0.0), image)
    drawn = random_direction_queries(image, source, target, 1.5, seed=3)
    directions = normalize(torch.randn(4, 8, generator=torch.Generator().manual_seed(3)), dim=-1)
    expected = image + 1.5 * (target - source).norm(dim=1, keepdim=True) * directions
    assert torch.allclose(drawn, normalize(expected, dim=-1), atol=1e-6)


def test_ranks_agree_with_a_slow_count_and_leave_the_source_out():
    images, texts, task = additive_space(dim=6)
    queries = arithmetic_queries(images[task.source_images], texts[task.source_texts], texts[task.target_texts], 0.7)
    for include_source in (False, True):
        ranks = target_ranks(queries, images, task, include_source)
        for row, query in enumerate(queries):
            source, target = int(task.source_images[row]), int(task.target_images[row])
            rivals = [own for own in range(len(images)) if own != target and (include_source or own != source)]
            wanted = query @ images[target]
            assert ranks[row] == 1 + sum(bool(query @ images[own] >= wanted - 1e-6) for own in rivals)


def test_a_tie_counts_against_the_model():
    images = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    one = torch.tensor([0])
    task = ArithmeticTask(one, one, one, torch.tensor([1]), ["tie"], torch.tensor([False]))
    assert target_ranks(torch.tensor([[0.0, 1.0]]), images, task).tolist() == [2]


def test_an_additive_space_is_solved_and_its_controls_are_not():
    found = measure_arithmetic(*additive_space(), num_resamples=50)
    assert found["top1"] == found["top1_low"] == found["seen_top1"] == found["few_top5"] == 1.0
    assert found["image_only_top1"] < 0.5 and found["text_only_top1"] < 0.5 and found["random_direction_top1"] < 0.5
    better = max(found["image_only_top1"], found["text_only_top1"])
    assert found["gain_top1"] == pytest.approx(1 - better)
    assert found["gain_top1_low"] < found["gain_top1"] or better == 0


def test_lambda_is_chosen_on_the_selection_questions_only():
    images, texts, task = additive_space()
    # The reported questions would like another lambda: their texts are swapped, so that only its negative helps.
    swapped = replace(
        task,
        source_texts=torch.where(task.selection, task.source_texts, task.target_texts),
        target_texts=torch.where(task.selection, task.target_texts, task.source_texts),
    )
    plain = measure_arithmetic(images, texts, task, num_resamples=10)
    found = measure_arithmetic(images, texts, swapped, num_resamples=10)
    grid = {name: value for name, value in found.items() if name.startswith("selection_top1_at_")}
    assert grid == {name: plain[name] for name in grid} and len(grid) == 11
    assert found["scale"] == plain["scale"] and found["top1"] == 0.0
    best = max(grid.values())
    assert found["scale"] == min(float(name.split("_")[-1]) for name, value in grid.items() if value == best)


def test_macro_means_weigh_kinds_alike_and_micro_questions():
    values = torch.tensor([[1.0], [0.0], [0.0], [0.0]])
    kinds = ["small", "large", "large", "large"]
    assert macro_means(values, kinds).item() == 0.5
    counts = torch.tensor([[0, 1, 1, 0], [2, 0, 0, 0], [1, 3, 0, 0]])
    # A kind that a resample does not hold is left out of its mean.
    assert macro_means(values, kinds, counts).flatten().tolist() == [0.0, 1.0, 0.5]


def test_intervals_draw_sources_with_all_their_questions():
    # One source is always right, the other always wrong: drawn question by question 0.5 ± 0.05 would follow.
    images = unit(40, 64)
    task = ArithmeticTask(
        source_images=torch.tensor([0] * 200 + [1] * 200 + [2]),
        source_texts=torch.tensor([0] * 400 + [0]),
        target_texts=torch.tensor([1] * 200 + [2] * 200 + [1]),
        target_images=torch.tensor([10] * 200 + [10] * 200 + [10]),
        kinds=["one"] * 401,
        selection=torch.tensor([False] * 400 + [True]),
    )
    texts = torch.stack([images[20], images[10], images[11]])
    found = measure_arithmetic(images, texts, task, scales=(8.0,), num_resamples=200)
    assert found["top1"] == 0.5 and found["num_sources"] == 2
    assert found["top1_low"] < 0.05 and found["top1_high"] > 0.95


def test_counts_and_subsets_are_of_the_reported_questions():
    images, texts, task = additive_space()
    found = measure_arithmetic(images, texts, task, num_resamples=10)
    reported = int((~task.selection).sum())
    assert found["num_questions"] == found["seen_num_questions"] + found["unseen_num_questions"] == reported
    assert found["few_num_questions"] + found["many_num_questions"] == reported
    assert found["num_selection_questions"] == len(task.kinds) - reported
    assert found["num_images"] == NUM_THINGS * NUM_COLORS
    again = measure_arithmetic(images, texts, task, num_resamples=10)
    assert again == found


def test_mistakes_are_named():
    images, texts, task = additive_space()
    with pytest.raises(ValueError, match="scales must be above 0, at least one; got \\(0.0, 1.0\\)"):
        measure_arithmetic(images, texts, task, scales=(0.0, 1.0))
    with pytest.raises(ValueError, match="144 of 144 questions choose lambda; both sides need some"):
        measure_arithmetic(images, texts, replace(task, selection=torch.ones_like(task.selection)))
    with pytest.raises(ValueError, match="source image 0 has questions on both sides"):
        measure_arithmetic(images, texts, replace(task, selection=torch.arange(len(task.kinds)) % 2 == 0))
    with pytest.raises(ValueError, match="source_images and target_images must differ"):
        measure_arithmetic(images, texts, replace(task, target_images=task.source_images))
    with pytest.raises(ValueError, match="target_texts\\[0\\] is .*; the texts are 0 to 0"):
        measure_arithmetic(images, texts[:1], replace(task, source_texts=torch.zeros_like(task.source_texts)))
    with pytest.raises(ValueError, match="2 groups"):
        measure_arithmetic(images, texts, replace(task, groups=["a", "b"]))
    with pytest.raises(ValueError, match="L2-normalized"):
        measure_arithmetic(2 * images, texts, task)
