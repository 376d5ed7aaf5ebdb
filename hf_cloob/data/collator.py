# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Samples to a batch: captions padded to the longest of the batch, pictures stacked, unreadable ones counted."""

from collections import Counter
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class ImageTextCollator:
    """Collate the samples of `ImageTextPairs`.

    Args:
        tokenizer: any tokenizer with a padding token.
        max_length: longer captions are cut to it, their closing token kept; at most the text tower's context length.
        placeholder: a sample in the place of a batch of which none can be read. The batch then has all fields and no
            row: a process goes on in step with the others, with nothing to add. Without it such a batch is an error.

    Raises:
        ValueError: the tokenizer has no padding token, or `max_length` leaves no room for a word.
    """

    def __init__(
        self, tokenizer: "PreTrainedTokenizerBase", max_length: int, placeholder: dict[str, Any] | None = None
    ):
        if tokenizer.pad_token is None:
            raise ValueError(f"The tokenizer {type(tokenizer).__name__} has no padding token; set tokenizer.pad_token")
        num_special = tokenizer.num_special_tokens_to_add()
        if max_length <= num_special:
            raise ValueError(f"max_length must exceed the {num_special} special tokens of a caption, got {max_length}")
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.placeholder = placeholder

    def __call__(self, samples: list[dict[str, Any]]) -> dict[str, Any]:
        """A batch: pixel_values (batch_size, num_channels, image_size, image_size) float32, input_ids and
        attention_mask (batch_size, sequence_length), text (batch_size strings), index (batch_size,), and `skipped`:
        cause -> number of samples.

        Samples with strong views add strong_pixel_values (batch_size, num_strong_views, num_channels, image_size,
        image_size) or strong_canvas (batch_size, num_channels, canvas_size, canvas_size), strong_input_ids and
        strong_attention_mask (batch_size, num_strong_views, strong_sequence_length), and strong_text (batch_size
        lists of num_strong_views strings).

        Raises:
            ValueError: no sample of the batch is readable, and there is no placeholder.
        """
        skipped = dict(Counter(sample["skipped"] for sample in samples if "skipped" in sample))
        kept = [sample for sample in samples if "skipped" not in sample]
        if not kept and self.placeholder is not None:
            batch = self([self.placeholder])
            return {name: value[:0] for name, value in batch.items() if name != "skipped"} | {"skipped": skipped}
        if not kept:
            indices = [sample["index"] for sample in samples]
            raise ValueError(f"None of the {len(samples)} samples {indices[:8]} … could be read: {skipped}")
        texts = [sample["text"] for sample in kept]
        batch = {
            "pixel_values": torch.stack([sample["pixel_values"] for sample in kept]),
            **self._tokens(texts),
            "text": texts,
            "index": torch.tensor([sample["index"] for sample in kept]),
            "skipped": skipped,
        }
        if "strong_texts" in kept[0]:
            batch |= self._strong_views(kept)
        return batch

    def _strong_views(self, samples: list[dict[str, Any]]) -> dict[str, Any]:
        texts = [sample["strong_texts"] for sample in samples]
        tokens = self._tokens([text for own in texts for text in own])
        pictures = next(name for name in ("strong_pixel_values", "strong_canvas") if name in samples[0])
        return {
            pictures: torch.stack([sample[pictures] for sample in samples]),
            **{f"strong_{name}": ids.view(len(texts), len(texts[0]), -1) for name, ids in tokens.items()},
            "strong_text": texts,
        }

    def _tokens(self, texts: list[str]) -> dict[str, torch.Tensor]:
        tokens = self.tokenizer(
            texts,
            padding="longest",
            truncation=True,
            max_length=self.max_length,
            return_tensors="pt",
            return_token_type_ids=False,
            return_attention_mask=True,
        )
        return {name: tokens[name] for name in ("input_ids", "attention_mask")}
