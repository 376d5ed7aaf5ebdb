# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""From a dataset of pictures and captions to the embeddings of a memory."""

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

import torch
from transformers.image_utils import load_image
from transformers.utils import logging

from .encoding import encode_images, encode_texts
from .reco_fingerprint import encoder_fingerprint
from .reco_memory_checks import MEMORY_DTYPE
from .text_padding import padded_as_trained

logger = logging.get_logger(__name__)


class NoUsableRow(ValueError):
    """A dataset of which not a single row has a readable picture and a caption."""


class EmbeddedPairs(NamedTuple):
    """The usable rows of a dataset.

    Args:
        image_embeds: (num_pairs, projection_dim), L2-normalized, in the memory's number format.
        text_embeds: the same of the captions.
        rows: (num_pairs,) their row numbers in the dataset.
        captions: their captions.
        fingerprint: of the encoder.
    """

    image_embeds: torch.Tensor
    text_embeds: torch.Tensor
    rows: torch.Tensor
    captions: list[str]
    fingerprint: str


def embed_pairs(
    model, processor, dataset, image_column: str, caption_column: str, batch_size: int, show_progress: bool
) -> EmbeddedPairs:
    """Embed every row that has a readable picture and a caption; see `RecoMemory.build` for the arguments.

    Raises:
        ValueError: for a missing column.
        NoUsableRow: a ValueError, for a dataset without a single usable row.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}.")
    # A model that looks things up would put what it found into the memory.
    encoder = model.base if model.config.model_type == "reco" else model
    tokenizer = padded_as_trained(encoder, getattr(processor, "tokenizer", processor))
    skipped: Counter[str] = Counter()
    usable = _usable_rows(dataset, image_column, caption_column, skipped)
    total = len(dataset) if hasattr(dataset, "__len__") else None
    image_embeds, text_embeds, rows, captions, seen = [], [], [], [], 0
    with logging.tqdm(total=total, desc="Embedding pairs", unit="pair", disable=not show_progress) as progress:
        while batch := list(islice(usable, batch_size)):
            batch_rows, images, texts = zip(*batch, strict=True)
            image_embeds.append(encode_images(encoder, images, processor, batch_size).to(MEMORY_DTYPE))
            text_embeds.append(encode_texts(encoder, texts, tokenizer, batch_size, True).to(MEMORY_DTYPE))
            rows.extend(batch_rows)
            captions.extend(texts)
            # Counted here: transformers' bar, where bars are disabled, has no count.
            progress.update(rows[-1] + 1 - seen)
            seen = rows[-1] + 1
    if not rows:
        raise NoUsableRow(f"The dataset has no usable row: {_in_words(skipped) or 'it is empty'}.")
    if skipped:
        logger.warning(f"{sum(skipped.values())} rows are not in the memory: {_in_words(skipped)}.")
    return EmbeddedPairs(
        torch.cat(image_embeds), torch.cat(text_embeds), torch.tensor(rows), captions, encoder_fingerprint(encoder)
    )


def _usable_rows(dataset, image_column: str, caption_column: str, skipped: Counter) -> Iterator[tuple]:
    """Row number, picture and caption of the rows that have both; the others are counted by their cause."""
    for number, row in enumerate(_rows(dataset)):
        if isinstance(row, Exception):
            skipped[f"unreadable ({type(row).__name__})"] += 1
            continue
        for argument, column in (("image_column", image_column), ("caption_column", caption_column)):
            if column not in row:
                raise ValueError(f"Row {number} has no column {column!r} ({argument}); its columns are {list(row)}.")
        caption = row[caption_column]
        if isinstance(caption, (list, tuple)):
            caption = next(iter(caption), None)
        if not (isinstance(caption, str) and caption.strip()):
            skipped["no caption"] += 1
            continue
        try:
            image = row[image_column]
            # load_image decodes, so that a damaged file fails here and not in the middle of a batch.
            image = image if hasattr(image, "shape") else load_image(image)
        except Exception as error:  # decoders raise nearly anything on damaged files, and none may end the building
            skipped[f"unreadable image ({type(error).__name__})"] += 1
            continue
        yield number, image, caption


def _rows(dataset) -> Iterable:
    """The rows of a dataset; of one that has a length, an exception in place of each row that cannot be read."""
    if not hasattr(dataset, "__len__"):
        yield from dataset
        return
    for number in range(len(dataset)):
        try:
            row = dataset[number]
        except Exception as error:  # a dataset decodes its pictures as it reads them
            row = error
        yield row


def _in_words(skipped: Counter) -> str:
    return ", ".join(f"{count} {cause}" for cause, count in skipped.most_common())
