# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The metric module of the modality gap against a hand-made case and the function that it wraps."""

import pytest
import torch
from torch.nn import functional as F

from hf_cloob.evaluation.geometry import modality_gap


def test_opposite_points_have_the_largest_gap(load_metric):
    found = load_metric("modality_gap").compute(image_embeds=[[1.0, 0.0]] * 3, text_embeds=[[-1.0, 0.0]] * 3)
    assert found == {"modality_gap": pytest.approx(2.0)}


def test_batches_add_up_to_the_functions_figure(load_metric):
    images, texts = F.normalize(torch.randn(20, 8), dim=-1), F.normalize(torch.randn(20, 8) + 1, dim=-1)
    metric = load_metric("modality_gap")
    for rows in torch.arange(20).split(7):
        metric.add_batch(image_embeds=images[rows], text_embeds=texts[rows])
    assert metric.compute() == {"modality_gap": modality_gap(images, texts)}
