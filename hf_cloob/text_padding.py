# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The length that a text tower was trained on: SigLIP reads its last position, padding included."""

# transformers knows them by this part of model_type, and so does its zero-shot pipeline.
FIXED_LENGTH_FAMILY = "siglip"


def padded_as_trained(model, tokenizer):
    """A tokenizer for `encoding.encode_texts` that pads as the model was trained.

    SigLIP pools the state of the last position and was trained on texts padded to its whole context (64), so padding
    to the longest of a batch changes its embeddings. Other models read up to the end of the text, and the tokenizer
    itself is returned.

    Args:
        model: any model with `config.model_type`; a fixed length is `config.text_config.max_position_embeddings`.
        tokenizer: the model's tokenizer.

    Source: SigLIP (Zhai et al. 2023, arXiv 2303.15343) as released; transformers pads it the same way.
    """
    if FIXED_LENGTH_FAMILY not in model.config.model_type:
        return tokenizer
    return _FixedLengthTokenizer(tokenizer, model.config.text_config.max_position_embeddings)


class _FixedLengthTokenizer:
    """A tokenizer whose `pad` always pads to one length."""

    def __init__(self, tokenizer, length: int):
        # Not `tokenizer`: encode_texts would take the attribute of that name for the tokenizer.
        self._tokenizer = tokenizer
        self.model_max_length = length

    def __call__(self, texts: list[str], **kwargs):
        return self._tokenizer(texts, **kwargs)

    def pad(self, rows: dict, padding: bool, return_tensors: str):
        return self._tokenizer.pad(
            rows, padding="max_length", max_length=self.model_max_length, return_tensors=return_tensors
        )
