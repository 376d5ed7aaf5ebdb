# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""CloobProcessor: an image processor and a tokenizer that travel with the model."""

from transformers import ProcessorMixin


class CloobProcessor(ProcessorMixin):
    """Prepare images and texts for a [`CloobModel`].

    Args:
        image_processor: any image processor of transformers.
        tokenizer: any tokenizer of transformers.

    `processor(text=..., images=..., padding=True, return_tensors="pt")` returns the model's inputs; padding goes to
    the longest text of the batch.
    """

    _auto_class = "AutoProcessor"

    def __init__(self, image_processor=None, tokenizer=None, **kwargs):
        super().__init__(image_processor, tokenizer)


__all__ = ["CloobProcessor"]
