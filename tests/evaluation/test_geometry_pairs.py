# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What every pair says: against the definitions as loops, over the borders of blocks, and against sibling metrics."""

import pytest
import torch
from torch.nn.functional import normalize

from hf_cloob import cross_modal_uniformity_loss, uniformity_loss
from hf_cloob.evaluation import geometry_pairs
from hf_cloob.evaluation.geometry_pairs import pair_statistics
from hf_cloob.evaluation.retrieval_metrics import recall_at_k

LENGTH, K = 23, 4


def pairs(length: int = LENGTH, width: int = 8, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    common, *noise = torch.randn(3, length, width, generator=generator)
    return normalize(common + noise[0], dim=-1), normalize(common + noise[1] + 0.4, dim=-1)


def looped(images: torch.Tensor, texts: torch.Tensor, k: int) -> dict[str, list[float]]:
    """The definitions in float64, one pair of rows after the other."""
    images, texts = images.double(), texts.double()
    length = len(images)

    def kernel(a, b) -> float:
        return float((-2 * (a - b).square().sum()).exp())

    def ranked(query, gallery) -> list[int]:
        return sorted(range(length), key=lambda row: -float(query @ gallery[row]))

    over_others = {
        "mismatched_cosine": lambda i, j: (images[i] @ texts[j] + images[j] @ texts[i]) / 2,
        "image_cosine": lambda i, j: images[i] @ images[j],
        "text_cosine": lambda i, j: texts[i] @ texts[j],
        "image_potential": lambda i, j: kernel(images[i], images[j]),
        "text_potential": lambda i, j: kernel(texts[i], texts[j]),
        "cross_potential": lambda i, j: (kernel(images[i], texts[j]) + kernel(images[j], texts[i])) / 2,
    }
    of_pairs = {
        "squared_distance": lambda i: (images[i] - texts[i]).square().sum(),
        "matched_cosine": lambda i: images[i] @ texts[i],
        "image_rank": lambda i: sum(images[i] @ texts[j] >= images[i] @ texts[i] - 1e-6 for j in others(i)),
        "text_rank": lambda i: sum(images[j] @ texts[i] >= images[i] @ texts[i] - 1e-6 for j in others(i)),
        "image_occurrences": lambda i: sum(i in ranked(text, images)[:k] for text in texts),
        "text_occurrences": lambda i: sum(i in ranked(image, texts)[:k] for image in images),
    }

    def others(i: int) -> list[int]:
        return [j for j in range(length) if j != i]

    found = {name: [float(value(i)) for i in range(length)] for name, value in of_pairs.items()}
    for name, value in over_others.items():
        found[name] = [sum(float(value(i, j)) for j in others(i)) / (length - 1) for i in range(length)]
    return found


@pytest.mark.parametrize("block_size", [3, 7, LENGTH, 2048])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_statistics_equal_the_loops_whatever_the_blocks(block_size, dtype, monkeypatch):
    monkeypatch.setattr(geometry_pairs, "BLOCK_SIZE", block_size)
    monkeypatch.setattr(geometry_pairs, "ROWS_AT_ONCE", 5)
    images, texts = (embeds.to(dtype) for embeds in pairs())
    found, expected = pair_statistics(images, texts, K), looped(images, texts, K)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert found[name].dtype == torch.float64
        assert (found[name] - torch.tensor(values)).abs().max() < 1e-6, name


def test_means_of_the_statistics_are_the_losses_and_the_recalls():
    images, texts = pairs(300, 32)
    found = pair_statistics(images, texts)
    means = {name: values.mean() for name, values in found.items()}
    assert means["image_potential"].log().item() == pytest.approx(uniformity_loss(images).item(), abs=1e-6)
    assert means["text_potential"].log().item() == pytest.approx(uniformity_loss(texts).item(), abs=1e-6)
    cross = cross_modal_uniformity_loss(images, texts).item()
    assert means["cross_potential"].log().item() == pytest.approx(cross, abs=1e-6)
    recalls = recall_at_k(images, texts, torch.arange(300), (1, 5))
    for k in (1, 5):
        assert (found["image_rank"] < k).double().mean() == recalls[f"image_to_text_recall@{k}"]
        assert (found["text_rank"] < k).double().mean() == recalls[f"text_to_image_recall@{k}"]


def test_every_query_has_k_neighbors_and_a_hub_is_seen():
    images = torch.eye(12)
    texts = normalize(torch.eye(12) + 0.1, dim=-1)
    texts[5] = normalize(torch.ones(12), dim=0)
    found = pair_statistics(images, texts, 2)
    assert found["text_occurrences"].sum() == found["image_occurrences"].sum() == 24
    # Everybody's second neighbor, and of its own image nobody's first.
    assert found["text_occurrences"][5] == 12


def test_a_tie_counts_against_the_model():
    same = normalize(torch.ones(12, 3), dim=-1)
    found = pair_statistics(same, same.clone(), 2)
    assert (found["image_rank"] == 11).all() and (found["text_rank"] == 11).all()


def test_autocast_changes_nothing():
    images, texts = pairs()
    expected = pair_statistics(images, texts, K)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = pair_statistics(images, texts, K)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_mistakes_are_named():
    images, texts = pairs()
    with pytest.raises(ValueError, match=r"must be pairs; got \(23, 8\) and \(22, 8\)"):
        pair_statistics(images, texts[:22])
    with pytest.raises(ValueError, match="more than 10 pairs; got 10"):
        pair_statistics(images[:10], texts[:10])
    with pytest.raises(ValueError, match="k must be at least 1"):
        pair_statistics(images, texts, 0)
    with pytest.raises(ValueError, match="text_embeds must have L2-normalized rows"):
        pair_statistics(images, 2 * texts)
