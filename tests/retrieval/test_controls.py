# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Every control against loops in double precision."""

import math

import pytest
import torch
from tiny_reco import random_memory, unit_rows
from torch.nn import functional as F

from hf_cloob.retrieval.controls import (
    accuracy,
    base_scores,
    cache_scores,
    hopfield_scores,
    look_up,
    look_up_at_random,
    mean_scores,
    name_scores,
    named_entries,
    on_sides,
    vote_scores,
)

DIM, CLASSES, QUERIES = 16, 6, 9


@pytest.fixture(scope="module")
def memory():
    return random_memory(40, DIM)


@pytest.fixture(scope="module")
def lookup(memory):
    return look_up(unit_rows(QUERIES, DIM, 1), unit_rows(CLASSES, DIM, 2), memory, 20)


def dot(left: list[float], right: list[float]) -> float:
    return math.fsum(a * b for a, b in zip(left, right, strict=True))


def unit(row: list[float]) -> list[float]:
    length = math.sqrt(dot(row, row))
    return [value / length for value in row]


def nearest(query: list[float], keys: list[list[float]], k: int) -> list[int]:
    return sorted(range(len(keys)), key=lambda row: -dot(query, keys[row]))[:k]


def readout(query, keys, values, k, weight, scale, null_score=None) -> list[float]:
    rows = nearest(query, keys, k)
    powers = [math.exp(scale * dot(query, keys[row])) for row in rows]
    total = math.fsum(powers) + (0 if null_score is None else math.exp(scale * null_score))
    read = [
        math.fsum(p * values[row][axis] for p, row in zip(powers, rows, strict=True)) / total
        for axis in range(len(query))
    ]
    return unit([x + weight * y for x, y in zip(query, read, strict=True)])


def in_double(*tensors) -> list[list[list[float]]]:
    return [tensor.double().tolist() for tensor in tensors]


def close(found: torch.Tensor, expected: list[list[float]]) -> bool:
    return torch.allclose(found.double(), torch.tensor(expected, dtype=torch.float64), rtol=0, atol=2e-6)


@pytest.mark.parametrize("side", ["image", "text", "both"])
@pytest.mark.parametrize("numbers", [(0.25, 160.0), (8.0, 5.0, None), (2.0, 20.0, 0.4), (8.0, 80.0, 0.5)])
@pytest.mark.parametrize("k", [1, 5, 20])
def test_hopfield_scores_are_the_equation_on_the_sides_asked_for(side, k, numbers, lookup, memory):
    images, classes, keys, texts = in_double(*lookup[:2], memory.image_embeds, memory.text_embeds)
    if side != "text":
        images = [readout(query, keys, texts, k, *numbers) for query in images]
    if side != "image":
        classes = [readout(query, texts, keys, k, *numbers) for query in classes]
    expected = [[dot(image, prompt) for prompt in classes] for image in images]
    assert close(hopfield_scores(lookup, k, **on_sides(side, numbers)), expected)


def test_the_sides_have_numbers_of_their_own(lookup):
    image, text = (2.0, 20.0, 0.4), (0.5, 40.0)
    images = F.normalize(hopfield_scores(lookup._replace(class_embeds=torch.eye(DIM)), 5, image), dim=1)
    classes = hopfield_scores(lookup._replace(image_embeds=torch.eye(DIM)), 5, text=text)
    torch.testing.assert_close(hopfield_scores(lookup, 5, image, text), images @ classes)


def test_a_null_entry_far_above_leaves_the_base_and_one_far_below_changes_nothing(lookup):
    assert torch.equal(hopfield_scores(lookup, 5, (8.0, 40.0, -9.0)), hopfield_scores(lookup, 5, (8.0, 40.0)))
    torch.testing.assert_close(hopfield_scores(lookup, 5, (8.0, 40.0, 9.0), (8.0, 40.0, 9.0)), base_scores(lookup))


def test_the_mean_of_neighbors_weighs_all_alike(lookup, memory):
    images, classes, keys, texts = in_double(*lookup[:2], memory.image_embeds, memory.text_embeds)
    refined = [readout(query, keys, texts, 5, 2.0, 0.0) for query in images]
    assert close(mean_scores(lookup, "image", 5, 2.0), [[dot(x, y) for y in classes] for x in refined])


def votes(lookup, memory, k: int, scale: float) -> list[list[float]]:
    images, classes, keys, texts = in_double(*lookup[:2], memory.image_embeds, memory.text_embeds)
    scores = [[0.0] * len(classes) for _ in images]
    for row, query in enumerate(images):
        for entry in nearest(query, keys, k):
            named = max(range(len(classes)), key=lambda number: dot(texts[entry], classes[number]))
            scores[row][named] += math.exp(scale * (dot(query, keys[entry]) - 1))
    return scores


def test_each_neighbor_votes_for_the_class_whose_prompt_is_nearest_to_its_caption(lookup, memory):
    assert close(vote_scores(lookup, 10, 5.0), votes(lookup, memory, 10, 5.0))


def test_the_cache_adds_weighted_votes_to_the_base(lookup, memory):
    images, classes = in_double(*lookup[:2])
    expected = [
        [dot(image, prompt) + 4.0 * vote for prompt, vote in zip(classes, row, strict=True)]
        for image, row in zip(images, votes(lookup, memory, 10, 5.0), strict=True)
    ]
    assert close(cache_scores(lookup, 10, 4.0, 5.0), expected)


def test_names_are_looked_up_as_whole_words_and_classes_without_a_hit_keep_the_base():
    captions = ["banner of Oman", "a ROMAN helmet", "Oman's colors", None, "new south wales", "wales new"]
    memory = random_memory(len(captions), DIM, captions=captions)
    lookup = look_up(unit_rows(3, DIM, 1), unit_rows(4, DIM, 2), memory, 2)
    names = ["Oman", "South Wales", "Chad", "!?"]
    assert named_entries(names, captions) == {0: [0, 2], 1: [4]}
    images, classes, keys = in_double(*lookup[:2], memory.image_embeds)
    mean = unit([(a + b) / 2 for a, b in zip(keys[0], keys[2], strict=True)])
    expected = [[dot(x, mean), dot(x, unit(keys[4])), dot(x, classes[2]), dot(x, classes[3])] for x in images]
    assert close(name_scores(lookup, memory, names), expected)


def test_two_classes_of_one_name_are_both_found():
    assert named_entries(["Oman", "oman"], ["Oman"]) == {0: [0], 1: [0]}


def test_random_neighbors_come_with_their_own_values_ids_and_cosines(memory):
    sides = unit_rows(QUERIES, DIM, 1), unit_rows(CLASSES, DIM, 2)
    drawn = look_up_at_random(*sides, memory, 7, torch.Generator().manual_seed(3))
    again = look_up_at_random(*sides, memory, 7, torch.Generator().manual_seed(3))
    for found, queries, keys, values in (
        (drawn.image_neighbors, sides[0], memory.image_embeds, memory.text_embeds),
        (drawn.class_neighbors, sides[1], memory.text_embeds, memory.image_embeds),
    ):
        assert torch.equal(found.embeds, values[found.ids].float())
        cosines = (queries[:, None].double() * keys[found.ids].double()).sum(dim=2)
        assert torch.allclose(found.scores.double(), cosines, rtol=0, atol=1e-6)
    assert torch.equal(drawn.image_neighbors.ids, again.image_neighbors.ids)
    nearest_ids = look_up(*sides, memory, 7).image_neighbors.ids
    assert not torch.equal(drawn.image_neighbors.ids, nearest_ids)


def test_no_neighbor_leaves_the_base_and_missing_ones_take_no_part(lookup):
    for numbers in ((8.0, 5.0), (8.0, 5.0, 0.5)):
        assert torch.allclose(hopfield_scores(lookup, 0, numbers, numbers), base_scores(lookup), atol=1e-6)
    small = random_memory(3, DIM)
    exactly, more = look_up(*lookup[:2], small, 3), look_up(*lookup[:2], small, 5)
    for numbers in ((2.0, 0.0), (2.0, 20.0), (2.0, 20.0, 0.4)):
        few = hopfield_scores(exactly, 3, numbers, numbers)
        torch.testing.assert_close(hopfield_scores(more, 5, numbers, numbers), few)
    assert torch.allclose(vote_scores(more, 5, 20.0), vote_scores(exactly, 3, 20.0))


def test_more_neighbors_than_were_looked_up_and_unknown_sides_are_refused(lookup):
    with pytest.raises(ValueError, match="k is 21, but only 20"):
        vote_scores(lookup, 21, 5.0)
    with pytest.raises(ValueError, match="side must be one of image, text, both, got 'images'"):
        mean_scores(lookup, "images", 5, 1.0)


def test_a_class_of_the_same_group_is_right():
    scores = torch.tensor([[0.1, 0.9, 0.0], [0.2, 0.1, 0.7]])
    assert accuracy(scores, torch.tensor([0, 2])) == 0.5
    assert accuracy(scores, torch.tensor([0, 1]), class_groups=torch.tensor([0, 0, 1])) == 1.0
