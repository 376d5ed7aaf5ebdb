# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The modality gap against hand-made cases."""

import pytest
import torch
from torch.nn import functional as F

from hf_cloob.evaluation.geometry import modality_gap


def test_the_gap_of_hand_made_points_is_the_distance_of_their_centers():
    images = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    texts = torch.tensor([[-1.0, 0.0], [0.0, -1.0], [-1.0, 0.0], [0.0, -1.0]])
    assert modality_gap(images, texts) == pytest.approx(2**0.5)
    assert modality_gap(images[:1], -images[:1]) == pytest.approx(2.0)
    assert modality_gap(images, images.flip(0)) == 0.0


def test_the_gap_is_symmetric_and_equals_numpys():
    images = F.normalize(torch.randn(50, 8), dim=-1)
    texts = F.normalize(torch.randn(70, 8) + 1, dim=-1)
    wanted = ((images.numpy().mean(0) - texts.numpy().mean(0)) ** 2).sum() ** 0.5
    assert modality_gap(images, texts) == pytest.approx(modality_gap(texts, images)) == pytest.approx(wanted, abs=1e-6)


def test_embeddings_of_different_widths_or_not_normalized_are_named():
    images = F.normalize(torch.randn(3, 8), dim=-1)
    with pytest.raises(ValueError, match="one projection_dim"):
        modality_gap(images, images[:, :4] / images[:, :4].norm(dim=-1, keepdim=True))
    with pytest.raises(ValueError, match="text_embeds must have L2-normalized rows"):
        modality_gap(images, 2 * images)
