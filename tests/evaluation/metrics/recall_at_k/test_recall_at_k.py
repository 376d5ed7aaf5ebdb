# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The metric module of recall against a hand-made case and the function that it wraps."""

import torch
from torch.nn import functional as F

from hf_cloob.evaluation.retrieval_metrics import recall_at_k


def test_a_hand_made_case_has_its_known_answer(load_metric):
    images = [[1.0, 0.0], [0.0, 1.0]]
    texts = [[0.8, 0.6], [0.6, 0.8], [0.0, 1.0]]
    metric = load_metric("recall_at_k")
    # Text 1 belongs to image 0 and lies nearer to image 1.
    found = metric.compute(text_embeds=texts, references=[0, 0, 1], image_embeds=images, ks=[1, 2])
    assert found["image_to_text_recall@1"] == 1.0 and found["text_to_image_recall@2"] == 1.0
    assert found["text_to_image_recall@1"] == 2 / 3


def test_batches_add_up_to_the_functions_figures(load_metric):
    images, texts = F.normalize(torch.randn(20, 8), dim=-1), F.normalize(torch.randn(50, 8), dim=-1)
    owners = torch.arange(50) % 20
    metric = load_metric("recall_at_k")
    for rows in torch.arange(50).split(16):
        metric.add_batch(text_embeds=texts[rows], references=owners[rows])
    assert metric.compute(image_embeds=images) == recall_at_k(images, texts, owners)
