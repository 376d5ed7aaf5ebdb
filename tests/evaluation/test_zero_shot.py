# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Zero-shot accuracy: known answers, slow loops, scikit-learn, the rule for ties, errors."""

import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, top_k_accuracy_score
from torch.nn.functional import normalize

from hf_cloob.evaluation.zero_shot import build_classifier, top_k_hits, zero_shot_metrics


def random_unit(rows: int, dim: int = 16, seed: int = 0) -> torch.Tensor:
    return normalize(torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed)), dim=-1)


def random_targets(rows: int, num_classes: int, seed: int = 1) -> torch.Tensor:
    return torch.randint(num_classes, (rows,), generator=torch.Generator().manual_seed(seed))


class LookupEncoder:
    """Gives every sentence its own random unit vector, and remembers the sizes of the batches it was asked for."""

    def __init__(self):
        self.batches = []

    def __call__(self, sentences):
        self.batches.append(len(sentences))
        return torch.cat([random_unit(1, seed=sum(map(ord, sentence))) for sentence in sentences])


# --- the classifier ---


@pytest.mark.parametrize("batch_size", [1, 2, 3, 7, 64])
def test_class_embeds_are_the_normalized_mean_of_the_template_embeds(batch_size):
    encode, templates = LookupEncoder(), ["{}", "a {}", "the {} here"]
    names = ["cat", "dog", "rocket", "sun"]
    class_embeds = build_classifier(encode, names, templates, batch_size)
    for name, embed in zip(names, class_embeds, strict=True):
        parts = [encode([template.replace("{}", name)])[0].double() for template in templates]
        mean = sum(parts) / len(parts)
        torch.testing.assert_close(embed.double(), mean / mean.norm(), atol=1e-6, rtol=0)
    assert class_embeds.shape == (4, 16)


def test_the_classifier_never_asks_for_more_than_a_batch():
    encode = LookupEncoder()
    build_classifier(encode, ["a", "b", "c", "d", "e"], ["{}", "x {}"], batch_size=5)
    assert encode.batches == [4, 4, 2]
    encode = LookupEncoder()
    build_classifier(encode, ["a", "b"], ["{}", "x {}", "y {}"], batch_size=2)
    assert encode.batches == [2, 1, 2, 1]


def test_a_half_precision_encoder_gives_a_float32_classifier():
    class_embeds = build_classifier(lambda texts: random_unit(len(texts)).bfloat16(), ["a", "b"], ["{}", "x {}"])
    assert class_embeds.dtype == torch.float32
    torch.testing.assert_close(class_embeds.norm(dim=-1), torch.ones(2))


@pytest.mark.parametrize(
    ("encode", "message"),
    [
        (lambda texts: random_unit(len(texts) + 1), "returned 3 rows for 2 sentences"),
        (lambda texts: 3 * random_unit(len(texts)), "L2-normalized"),
        (lambda texts: random_unit(len(texts)) * torch.nan, "not finite"),
        (lambda texts: [0.0] * len(texts), "floating tensor"),
    ],
)
def test_an_encoder_that_breaks_its_promise_is_an_error(encode, message):
    with pytest.raises(ValueError, match=message):
        build_classifier(encode, ["a", "b"], ["{}"])


def test_a_batch_size_of_zero_is_an_error():
    with pytest.raises(ValueError, match="batch_size must be at least 1; got 0"):
        build_classifier(LookupEncoder(), ["a"], ["{}"], batch_size=0)


# --- accuracy ---


def test_a_hand_made_case_has_its_known_accuracy():
    class_embeds = torch.eye(4)
    image_embeds = normalize(
        torch.tensor([[4.0, 3, 2, 1], [4, 3, 2, 1], [4, 3, 2, 1], [1, 2, 3, 4], [1, 2, 3, 4]]), dim=-1
    )
    targets = torch.tensor([0, 0, 1, 1, 3])
    metrics = zero_shot_metrics(image_embeds, class_embeds, targets, ks=(1, 2, 3))
    assert metrics["top1"] == pytest.approx(3 / 5)
    assert metrics["top2"] == pytest.approx(4 / 5)
    assert metrics["top3"] == 1.0
    # Class 0: 2 of 2, class 1: 0 of 2, class 3: 1 of 1; class 2 has no image and no part in the mean.
    assert metrics["mean_per_class_top1"] == pytest.approx((1 + 0 + 1) / 3)
    assert metrics["mean_per_class_top2"] == pytest.approx((1 + 1 / 2 + 1) / 3)


def slow_hits(image_embeds, class_embeds, targets, k, candidates):
    hits = []
    for image, target in zip(image_embeds.double(), targets.tolist(), strict=True):
        own = float(image @ class_embeds[target].double())
        ahead = 0
        for other in candidates:
            if other != target and float(image @ class_embeds[other].double()) >= own:
                ahead += 1
        hits.append(ahead < k)
    return hits


@pytest.mark.parametrize("chunk_size", [1, 7, 1000])
def test_hits_equal_a_slow_loop_for_every_chunk_size(chunk_size):
    image_embeds, class_embeds = random_unit(40, seed=2), random_unit(12, seed=3)
    targets = random_targets(40, 12)
    hits = top_k_hits(image_embeds, class_embeds, targets, ks=(1, 3, 12), chunk_size=chunk_size)
    for column, k in enumerate((1, 3, 12)):
        assert hits[:, column].tolist() == slow_hits(image_embeds, class_embeds, targets, k, range(12))
    assert hits[:, 2].all() and not hits[:, 0].all()


def test_candidates_equal_a_slow_loop_over_the_candidates_alone():
    image_embeds, class_embeds = random_unit(30, seed=4), random_unit(20, seed=5)
    candidates = [17, 3, 8, 11, 0]
    targets = torch.tensor(candidates).repeat(6)
    hits = top_k_hits(image_embeds, class_embeds, targets, ks=(1, 2), candidates=candidates)
    for column, k in enumerate((1, 2)):
        assert hits[:, column].tolist() == slow_hits(image_embeds, class_embeds, targets, k, candidates)
    everywhere = top_k_hits(image_embeds, class_embeds, targets, ks=(1, 2))
    assert hits.sum() > everywhere.sum()


def test_accuracies_agree_with_scikit_learn():
    image_embeds, class_embeds = random_unit(300, seed=6), random_unit(25, seed=7)
    targets = random_targets(300, 25)
    scores = (image_embeds @ class_embeds.T).numpy()
    metrics = zero_shot_metrics(image_embeds, class_embeds, targets, ks=(1, 5, 10))
    for k in (1, 5, 10):
        expected = top_k_accuracy_score(targets.numpy(), scores, k=k, labels=range(25))
        assert metrics[f"top{k}"] == pytest.approx(expected, abs=1e-12)
    expected = balanced_accuracy_score(targets.numpy(), scores.argmax(axis=1))
    assert metrics["mean_per_class_top1"] == pytest.approx(expected, abs=1e-12)


def test_the_type_of_the_embeds_does_not_change_clear_cases():
    image_embeds, class_embeds, targets = torch.eye(8), torch.eye(8), torch.arange(8)
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        assert zero_shot_metrics(image_embeds.to(dtype), class_embeds, targets)["top1"] == 1.0


def test_autocast_does_not_round_the_scores():
    # Two classes whose cosines with the image differ by 1e-4: bfloat16 cannot tell them apart.
    image_embeds = torch.tensor([[1.0, 0.0]])
    angles = torch.tensor([0.6, 0.6002])
    class_embeds = torch.stack([angles.cos(), angles.sin()], dim=-1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert top_k_hits(image_embeds, class_embeds, torch.tensor([0]), ks=(1,)).item()
        assert not top_k_hits(image_embeds, class_embeds, torch.tensor([1]), ks=(1,)).item()


# --- ties ---


@pytest.mark.parametrize("num_classes", [6, 37, 1586])
def test_constant_embeds_score_zero(num_classes):
    # Equal rows get scores that differ in their last bits, by their place in the product: no luck may come of it.
    constant = random_unit(1, dim=384, seed=8)
    metrics = zero_shot_metrics(
        constant.repeat(50, 1), constant.repeat(num_classes, 1), random_targets(50, num_classes), ks=(1, 5)
    )
    assert set(metrics.values()) == {0.0}


def test_a_tie_with_one_other_class_costs_one_rank():
    class_embeds = torch.eye(3)[[0, 0, 1]]
    hits = top_k_hits(torch.eye(3)[:1].repeat(2, 1), class_embeds, torch.tensor([0, 1]), ks=(1, 2))
    assert hits.tolist() == [[False, True], [False, True]]


def test_with_no_more_candidates_than_k_every_image_is_a_hit():
    constant = random_unit(1).repeat(3, 1)
    assert zero_shot_metrics(constant, constant, torch.arange(3))["top5"] == 1.0


# --- errors ---


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"targets": torch.tensor([0, 1, 4])}, r"targets\[2\] is 4; the classes are 0 to 3"),
        ({"targets": torch.tensor([0, -1, 2])}, r"targets\[1\] is -1"),
        ({"targets": torch.tensor([0, 1])}, r"targets must have shape \(3,\); got \(2,\)"),
        ({"targets": torch.tensor([0.0, 1.0, 2.0])}, "whole numbers; got torch.float32"),
        ({"image_embeds": random_unit(3, 8)}, r"one projection_dim; got image_embeds \(3, 8\)"),
        ({"image_embeds": random_unit(3).index_fill(0, torch.tensor([1]), torch.nan)}, "the first is row 1"),
        ({"class_embeds": random_unit(4).index_fill(0, torch.tensor([2]), torch.inf)}, "class_embeds has values"),
        ({"image_embeds": 2 * random_unit(3)}, "image_embeds must have L2-normalized rows; 3 rows have not"),
        ({"image_embeds": random_unit(3)[0]}, "image_embeds must be a floating tensor"),
        ({"image_embeds": torch.zeros(0, 16), "targets": torch.zeros(0, dtype=torch.long)}, "has no rows"),
        ({"candidates": [0, 1]}, r"targets\[2\] is class 2, which is not among the candidates"),
        ({"candidates": [0, 1, 2, 1]}, "candidates names class 1 more than once"),
        ({"candidates": [0, 1, 2, 9]}, r"candidates\[3\] is 9"),
        ({"ks": (0,)}, r"ks must be whole numbers from 1 up, at least one; got \(0,\)"),
        ({"ks": ()}, "at least one"),
        ({"chunk_size": 0}, "chunk_size must be at least 1"),
    ],
)
def test_bad_input_is_named(changes, message):
    good = {"image_embeds": random_unit(3), "class_embeds": random_unit(4, seed=1), "targets": torch.arange(3)}
    with pytest.raises(ValueError, match=message):
        zero_shot_metrics(**(good | changes))
