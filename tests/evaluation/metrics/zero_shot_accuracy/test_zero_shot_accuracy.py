# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The metric module of zero-shot accuracy against a hand-made case and the function that it wraps."""

import pytest
import torch
from torch.nn import functional as F

from hf_cloob.evaluation.zero_shot import zero_shot_metrics


def test_a_hand_made_case_has_its_known_answer(load_metric):
    class_embeds = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    image_embeds = [[1.0, 0.0, 0.0], [0.6, 0.8, 0.0], [0.8, 0.6, 0.0], [0.0, 0.0, 1.0]]
    metric = load_metric("zero_shot_accuracy")
    found = metric.compute(image_embeds=image_embeds, references=[0, 1, 1, 2], class_embeds=class_embeds, ks=[1, 2])
    assert found == {
        "top1": 0.75,
        "top2": 1.0,
        "mean_per_class_top1": pytest.approx(2.5 / 3),
        "mean_per_class_top2": 1,
    }


def test_batches_add_up_to_the_functions_figures(load_metric):
    images, classes = F.normalize(torch.randn(30, 8), dim=-1), F.normalize(torch.randn(7, 8), dim=-1)
    targets = torch.randint(0, 7, (30,))
    metric = load_metric("zero_shot_accuracy")
    for rows in torch.arange(30).split(11):
        metric.add_batch(image_embeds=images[rows], references=targets[rows])
    assert metric.compute(class_embeds=classes) == zero_shot_metrics(images, classes, targets)


def test_a_mistake_is_named_as_by_the_function(load_metric):
    with pytest.raises(ValueError, match=r"targets\[1\] is 2; the classes are 0 to 1"):
        load_metric("zero_shot_accuracy").compute(
            image_embeds=torch.eye(2), references=[0, 2], class_embeds=torch.eye(2)
        )
