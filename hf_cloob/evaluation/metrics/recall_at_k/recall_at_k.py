# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Image-text recall@k as a module of `evaluate`: `evaluate.load(".../metrics/recall_at_k")`."""

import datasets
import evaluate
import torch

from hf_cloob.evaluation.retrieval_metrics import recall_at_k

DESCRIPTION = "Share of queries whose right answer is among the first k, image to text and text to image."
INPUTS = """
Args:
    text_embeds: (num_texts, projection_dim), rows L2-normalized; may be added batch by batch.
    references: (num_texts,) the index of each text's image; may be added batch by batch.
    image_embeds: (num_images, projection_dim), rows L2-normalized; given to `compute`. Every image has a text.
    ks: cut-offs, (1, 5, 10) by default.

Returns:
    image_to_text_recall@1 to text_to_image_recall@10 for the default ks, fractions from 0 to 1.
"""


class RecallAtK(evaluate.Metric):
    """`hf_cloob.evaluation.retrieval_metrics.recall_at_k` for `evaluate`; its errors are raised here too."""

    def _info(self) -> evaluate.MetricInfo:
        features = datasets.Features(
            text_embeds=datasets.Sequence(datasets.Value("float32")), references=datasets.Value("int64")
        )
        return evaluate.MetricInfo(description=DESCRIPTION, inputs_description=INPUTS, citation="", features=features)

    def _compute(self, text_embeds, references, image_embeds, ks=(1, 5, 10)) -> dict[str, float]:
        embeds = [torch.as_tensor(values, dtype=torch.float32) for values in (image_embeds, text_embeds)]
        return recall_at_k(*embeds, torch.as_tensor(references), ks)
