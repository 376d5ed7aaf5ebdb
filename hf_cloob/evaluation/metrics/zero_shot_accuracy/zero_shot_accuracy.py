# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Zero-shot accuracy as a module of `evaluate`: `evaluate.load(".../metrics/zero_shot_accuracy")`."""

import datasets
import evaluate
import torch

from hf_cloob.evaluation.zero_shot import zero_shot_metrics

DESCRIPTION = "Share of images whose class is among the k classes of highest cosine, over images and over classes."
INPUTS = """
Args:
    image_embeds: (num_images, projection_dim), rows L2-normalized; may be added batch by batch.
    references: (num_images,) each image's class; may be added batch by batch.
    class_embeds: (num_classes, projection_dim), rows L2-normalized; given to `compute`.
    ks: cut-offs, (1, 5) by default.

Returns:
    top1, top5, mean_per_class_top1, mean_per_class_top5 for the default ks, fractions from 0 to 1.
"""
CITATION = (
    "Radford et al. 2021, Learning Transferable Visual Models From Natural Language Supervision, arXiv 2103.00020"
)


class ZeroShotAccuracy(evaluate.Metric):
    """`hf_cloob.evaluation.zero_shot.zero_shot_metrics` for `evaluate`; its errors are raised here too."""

    def _info(self) -> evaluate.MetricInfo:
        features = datasets.Features(
            image_embeds=datasets.Sequence(datasets.Value("float32")), references=datasets.Value("int64")
        )
        return evaluate.MetricInfo(
            description=DESCRIPTION, inputs_description=INPUTS, citation=CITATION, features=features
        )

    def _compute(self, image_embeds, references, class_embeds, ks=(1, 5)) -> dict[str, float]:
        embeds = [torch.as_tensor(values, dtype=torch.float32) for values in (image_embeds, class_embeds)]
        return zero_shot_metrics(*embeds, torch.as_tensor(references), ks)
