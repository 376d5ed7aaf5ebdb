# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The length that a text tower was trained on: SigLIP reads its last position, padding included."""

import torch
from torch.nn import functional as F

# transformers knows them by this part of model_type, and so does its zero-shot pipeline.
FIXED_LENGTH_FAMILY = "siglip"


def padded_as_trained(model, tokenizer):
    """A tokenizer for `encoding.encode_texts` that pads as the model was trained.

    SigLIP pools the state of the last position and was trained on texts padded to its whole context (64), so padding
    to the longest of a batch changes its embeddings. Other models read up to the end of the text, and the tokenizer
    itself is returned.

    Args:
        model: any model with `config.model_type`; a fixed length is `config.text_config.max_position_embeddings`. Of
            a [`RecoForZeroShot`], its base counts.
        tokenizer: the model's tokenizer.

    Source: SigLIP (Zhai et al. 2023, arXiv 2303.15343) as released; transformers pads it the same way.
    """
    config = getattr(model.config, "base_config", model.config)
    if FIXED_LENGTH_FAMILY not in config.model_type:
        return tokenizer
    return _FixedLengthTokenizer(tokenizer, config.text_config.max_position_embeddings)


def pad_tokens_as_trained(
    config, input_ids: torch.Tensor, attention_mask: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The same for tokens that were padded to the longest text only, as the zero-shot pipeline does by default.

    Args:
        config: configuration of the model.
        input_ids: (batch_size, num_tokens).
        attention_mask: (batch_size, num_tokens), or None if the tokenizer makes none.

    Returns:
        input_ids and attention_mask, of a fixed-length model (batch_size, context), otherwise as they are.
    """
    if FIXED_LENGTH_FAMILY not in config.model_type:
        return input_ids, attention_mask
    missing = max(0, config.text_config.max_position_embeddings - input_ids.shape[1])
    if attention_mask is not None:
        attention_mask = F.pad(attention_mask, (0, missing))
    return F.pad(input_ids, (0, missing), value=config.text_config.pad_token_id), attention_mask


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
