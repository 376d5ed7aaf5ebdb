# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Recall@k in both directions: known answers, slow loops, the rule for ties, bounded memory, errors."""

import json
import subprocess
import sys

import pytest
import torch
from sklearn.metrics import top_k_accuracy_score
from torch.nn.functional import normalize

from hf_cloob.evaluation.retrieval_metrics import recall_at_k


def random_unit(rows: int, dim: int = 12, seed: int = 0) -> torch.Tensor:
    return normalize(torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed)), dim=-1)


def noisy_corpus(num_images: int = 31, num_texts: int = 83) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Images with 1 to several captions each, in shuffled order, near enough to be found sometimes."""
    generator = torch.Generator().manual_seed(3)
    extra = torch.randint(num_images, (num_texts - num_images,), generator=generator)
    text_to_image = torch.cat([torch.arange(num_images), extra])[torch.randperm(num_texts, generator=generator)]
    image_embeds = random_unit(num_images, seed=1)
    text_embeds = normalize(image_embeds[text_to_image] + 0.9 * random_unit(num_texts, seed=2), dim=-1)
    return image_embeds, text_embeds, text_to_image


def slow_recall(image_embeds, text_embeds, text_to_image, ks):
    """The definition, by sorting: a query is right when any right answer is among the first k, ties at their worst."""
    scores, owner = (image_embeds.double() @ text_embeds.double().T).tolist(), text_to_image.tolist()
    num_images, num_texts = len(scores), len(owner)
    recalls = {}
    for k in ks:
        found = 0
        for i in range(num_images):
            order = sorted(range(num_texts), key=lambda j, i=i: (-scores[i][j], owner[j] == i))
            found += any(owner[j] == i for j in order[:k])
        recalls[f"image_to_text_recall@{k}"] = found / num_images
        found = 0
        for j in range(num_texts):
            order = sorted(range(num_images), key=lambda i, j=j: (-scores[i][j], owner[j] == i))
            found += owner[j] in order[:k]
        recalls[f"text_to_image_recall@{k}"] = found / num_texts
    return recalls


def test_a_hand_made_case_has_its_known_recalls():
    image_embeds = torch.eye(3)
    text_embeds = normalize(
        torch.tensor([[1.0, 0, 0], [0, 2, 3], [0, 3, 2], [0, 3, 4], [3, 0, 2]]),
        dim=-1,
    )
    # Captions 0, 1 are image 0's, 2 is image 1's, 3 and 4 image 2's.
    metrics = recall_at_k(image_embeds, text_embeds, torch.tensor([0, 0, 1, 2, 2]), ks=(1, 2, 3))
    # Image 0: caption 0 first. Image 1: its 2 (0.83) first. Image 2: caption 1 (0.832) before its 3 (0.8).
    assert metrics["image_to_text_recall@1"] == pytest.approx(2 / 3)
    assert metrics["image_to_text_recall@2"] == 1.0
    # Caption 1 never finds image 0 (third); caption 4 finds image 2 second; 0, 2 and 3 at once.
    assert metrics["text_to_image_recall@1"] == pytest.approx(3 / 5)
    assert metrics["text_to_image_recall@2"] == pytest.approx(4 / 5)
    assert metrics["text_to_image_recall@3"] == 1.0


@pytest.mark.parametrize("chunks", [(1, 1), (4, 9), (31, 83), (5000, 5000)])
def test_recalls_equal_a_slow_loop_for_every_chunk_size(chunks):
    corpus = noisy_corpus()
    expected = slow_recall(*corpus, ks=(1, 5, 10))
    assert recall_at_k(*corpus, image_chunk_size=chunks[0], text_chunk_size=chunks[1]) == pytest.approx(expected)
    assert 0.1 < expected["image_to_text_recall@1"] < 0.95 and 0.1 < expected["text_to_image_recall@1"] < 0.95


def test_a_progress_bar_counts_the_blocks_and_changes_nothing(capsys):
    corpus = noisy_corpus()
    silent = recall_at_k(*corpus, image_chunk_size=4)
    assert capsys.readouterr().err == ""
    assert recall_at_k(*corpus, image_chunk_size=4, show_progress=True) == silent
    assert "/8 [" in capsys.readouterr().err


def test_text_to_image_recall_agrees_with_scikit_learn():
    image_embeds, text_embeds, text_to_image = noisy_corpus()
    metrics = recall_at_k(image_embeds, text_embeds, text_to_image)
    scores = (text_embeds @ image_embeds.T).numpy()
    for k in (1, 5, 10):
        expected = top_k_accuracy_score(text_to_image.numpy(), scores, k=k, labels=range(len(image_embeds)))
        assert metrics[f"text_to_image_recall@{k}"] == pytest.approx(expected)


def test_any_caption_is_enough_for_its_image():
    image_embeds, text_embeds, text_to_image = noisy_corpus()
    perfect = torch.cat([text_embeds, image_embeds])
    metrics = recall_at_k(image_embeds, perfect, torch.cat([text_to_image, torch.arange(len(image_embeds))]))
    assert metrics["image_to_text_recall@1"] == 1.0
    assert metrics["text_to_image_recall@1"] < 1.0


def test_the_order_of_the_captions_does_not_matter():
    image_embeds, text_embeds, text_to_image = noisy_corpus()
    order = torch.randperm(len(text_embeds), generator=torch.Generator().manual_seed(9))
    expected = recall_at_k(image_embeds, text_embeds, text_to_image)
    assert recall_at_k(image_embeds, text_embeds[order], text_to_image[order]) == expected


def test_the_names_are_flat_and_complete():
    assert list(recall_at_k(*noisy_corpus())) == [
        *(f"image_to_text_recall@{k}" for k in (1, 5, 10)),
        *(f"text_to_image_recall@{k}" for k in (1, 5, 10)),
    ]


def test_constant_embeds_recall_nothing():
    constant = random_unit(1, dim=384)
    text_to_image = torch.arange(100) % 50
    metrics = recall_at_k(constant.repeat(50, 1), constant.repeat(100, 1), text_to_image, text_chunk_size=33)
    assert set(metrics.values()) == {0.0}


def test_a_caption_that_two_images_share_costs_both_one_rank():
    image_embeds = torch.eye(4)
    text_embeds = torch.eye(4)[[0, 0, 2, 3]]
    metrics = recall_at_k(image_embeds, text_embeds, torch.tensor([0, 1, 2, 3]), ks=(1, 2))
    # Image 0 meets its own caption and caption 1 at the same score; image 1 is at right angles to everything.
    assert metrics["image_to_text_recall@1"] == 2 / 4
    assert metrics["image_to_text_recall@2"] == 3 / 4
    assert metrics["text_to_image_recall@1"] == 3 / 4


def test_an_image_s_own_captions_never_stand_in_each_other_s_way():
    image_embeds = random_unit(2, seed=5)
    text_embeds = image_embeds[[0, 0, 0, 0, 0, 1]]
    metrics = recall_at_k(image_embeds, text_embeds, torch.tensor([0, 0, 0, 0, 0, 1]), ks=(1,))
    assert metrics == {"image_to_text_recall@1": 1.0, "text_to_image_recall@1": 1.0}


MEASURE = """
import json, resource, sys
import torch
from torch.nn.functional import normalize
from hf_cloob.evaluation.retrieval_metrics import recall_at_k

torch.set_num_threads(1)
peaks = []
for num_images, num_texts in ((200, 800), (2000, 8000), (8000, 32000)):
    image_embeds = normalize(torch.randn(num_images, 8), dim=-1)
    text_embeds = normalize(torch.randn(num_texts, 8), dim=-1)
    recall_at_k(image_embeds, text_embeds, torch.arange(num_texts) % num_images, (1,), 512, 1024)
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 if sys.platform == "darwin" else 1024))
print(json.dumps(peaks))
"""


def test_memory_does_not_grow_with_the_number_of_pairs():
    finished = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, check=True)
    small, middle, large = json.loads(finished.stdout.splitlines()[-1])
    # In megabytes: the matrix of the last case alone has 8,000 × 32,000 × 4 bytes = 977.
    assert large - middle < 60
    assert large - small < 100


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text_to_image": torch.tensor([0, 1, 2, 3])}, r"text_to_image\[3\] is 3; the images are 0 to 2"),
        ({"text_to_image": torch.tensor([0, 1, 1, 0])}, "1 images have no caption in text_to_image, the first is 2"),
        ({"text_to_image": torch.tensor([0, 1, 2])}, r"text_to_image must have shape \(4,\); got \(3,\)"),
        ({"text_to_image": torch.tensor([0.0, 1, 2, 2])}, "whole numbers"),
        ({"text_embeds": random_unit(4, 7)}, "one projection_dim"),
        ({"text_embeds": random_unit(4) * torch.nan}, "text_embeds has values that are not finite in 4 rows"),
        ({"image_embeds": random_unit(3) * 1.1}, "image_embeds must have L2-normalized rows"),
        ({"ks": (1, 2.5)}, "ks must be whole numbers"),
        ({"image_chunk_size": 0}, "image_chunk_size must be at least 1; got 0"),
    ],
)
def test_bad_input_is_named(changes, message):
    good = {
        "image_embeds": random_unit(3),
        "text_embeds": random_unit(4, seed=1),
        "text_to_image": torch.tensor([0, 1, 2, 2]),
    }
    with pytest.raises(ValueError, match=message):
        recall_at_k(**(good | changes))
