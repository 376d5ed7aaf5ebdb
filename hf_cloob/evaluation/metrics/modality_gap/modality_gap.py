# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The modality gap as a module of `evaluate`: `evaluate.load(".../metrics/modality_gap")`."""

import datasets
import evaluate
import torch

from hf_cloob.evaluation.geometry import modality_gap

DESCRIPTION = "Distance between the centers of the image and of the text embeddings, from 0 (no gap) to 2."
INPUTS = """
Args:
    image_embeds: (num_pairs, projection_dim), rows L2-normalized; may be added batch by batch.
    text_embeds: (num_pairs, projection_dim), rows L2-normalized; may be added batch by batch.

Returns:
    modality_gap
"""
CITATION = "Liang et al. 2022, Mind the Gap: Understanding the Modality Gap, arXiv 2203.02053"


class ModalityGap(evaluate.Metric):
    """`hf_cloob.evaluation.geometry.modality_gap` for `evaluate`; its errors are raised here too."""

    def _info(self) -> evaluate.MetricInfo:
        vectors = datasets.Sequence(datasets.Value("float32"))
        return evaluate.MetricInfo(
            description=DESCRIPTION,
            inputs_description=INPUTS,
            citation=CITATION,
            features=datasets.Features(image_embeds=vectors, text_embeds=vectors),
        )

    def _compute(self, image_embeds, text_embeds) -> dict[str, float]:
        embeds = [torch.as_tensor(values, dtype=torch.float32) for values in (image_embeds, text_embeds)]
        return {"modality_gap": modality_gap(*embeds)}
