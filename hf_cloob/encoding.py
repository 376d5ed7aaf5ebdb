# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Embeddings for lists of images and texts: batching, padding by length, progress, numpy."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from transformers.image_utils import load_image
from transformers.utils import logging

# RoBERTa and its relatives number positions from the padding token's id on, so some of the table is never used.
POSITIONS_AFTER_PADDING = (
    "camembert",
    "data2vec-text",
    "longformer",
    "mpnet",
    "roberta",
    "roberta-prelayernorm",
    "xlm-roberta",
    "xlm-roberta-xl",
    "xmod",
)


def encode_images(
    model,
    images: Sequence,
    processor,
    batch_size: int = 64,
    convert_to_numpy: bool = False,
    show_progress: bool = False,
):
    """Embed images with a dual encoder in evaluation mode, without gradients and without retrieval.

    Args:
        model: any model with `get_image_features`.
        images: PIL images, arrays, paths or URLs, or one image or path; a column of a `datasets.Dataset` works too.
        processor: a processor with an `image_processor`, or an image processor.
        batch_size: images per forward pass.
        convert_to_numpy: return a numpy array instead of a tensor.
        show_progress: show a progress bar.

    Returns:
        (num_images, projection_dim) L2-normalized float32 embeddings on the CPU, in the order of `images`.

    Raises:
        ValueError: for no image at all.
    """
    image_processor = getattr(processor, "image_processor", processor)
    if isinstance(images, (str, os.PathLike)) or hasattr(images, "convert"):  # a PIL image
        images = [images]

    def encode(batch: list) -> torch.Tensor:
        paths = (os.fspath(image) if isinstance(image, os.PathLike) else image for image in batch)
        loaded = [load_image(image) if isinstance(image, str) else image for image in paths]
        pixel_values = image_processor(images=loaded, return_tensors="pt")["pixel_values"]
        return model.get_image_features(pixel_values=pixel_values.to(model.device, model.dtype)).pooler_output

    return _encode(model, images, encode, batch_size, convert_to_numpy, show_progress, "images")


def encode_texts(
    model,
    texts: Sequence[str],
    processor,
    batch_size: int = 64,
    truncation: bool = False,
    convert_to_numpy: bool = False,
    show_progress: bool = False,
):
    """Embed texts with a dual encoder in evaluation mode, padded to the longest of each batch.

    Texts are sorted by length first, so that little is padded; the result is in the given order.

    Args:
        model: any model with `get_text_features`.
        texts: strings, or one string.
        processor: a processor with a `tokenizer`, or a tokenizer.
        batch_size: texts per forward pass.
        truncation: cut texts that are longer than the context instead of raising.
        convert_to_numpy: return a numpy array instead of a tensor.
        show_progress: show a progress bar.

    Returns:
        (num_texts, projection_dim) L2-normalized float32 embeddings on the CPU.

    Raises:
        ValueError: for no text at all, something that is not a string, or a text longer than the context.
    """
    tokenizer = getattr(processor, "tokenizer", processor)
    texts = [texts] if isinstance(texts, str) else list(texts)
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise ValueError(f"texts[{index}] must be a string, got {type(text).__name__}: {text!r}.")
    context = context_length(model.config.text_config, tokenizer)
    encoded = tokenizer(texts, truncation=truncation, max_length=context if truncation else None) if texts else {}
    lengths = [len(ids) for ids in encoded.get("input_ids", [])]
    for text, length in zip(texts, lengths, strict=True):
        if length > context:
            raise ValueError(
                f"The text {text[:80]!r} has {length} tokens, the text tower takes at most {context}: "
                "shorten it or pass truncation=True."
            )
    order = sorted(range(len(texts)), key=lengths.__getitem__, reverse=True)

    def encode(batch: list[int]) -> torch.Tensor:
        rows = {name: [values[index] for index in batch] for name, values in encoded.items()}
        inputs = tokenizer.pad(rows, padding=True, return_tensors="pt").to(model.device)
        return model.get_text_features(**inputs).pooler_output

    embeds = _encode(model, order, encode, batch_size, False, show_progress, "texts")
    restored = torch.empty_like(embeds)
    restored[torch.tensor(order)] = embeds
    return restored.numpy() if convert_to_numpy else restored


def context_length(text_config, tokenizer=None) -> int:
    """Largest number of tokens that a text tower takes, special tokens included."""
    positions = getattr(text_config, "max_position_embeddings", None) or 0
    if positions > 0 and text_config.model_type in POSITIONS_AFTER_PADDING:
        positions -= text_config.pad_token_id + 1
    limits = [positions, getattr(tokenizer, "model_max_length", None), int(1e30)]
    return min(limit for limit in limits if limit and limit > 0)


def _encode(model, items: Sequence, encode: Callable, batch_size: int, to_numpy: bool, progress: bool, what: str):
    if len(items) == 0:
        raise ValueError(f"Got no {what} to embed.")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}.")
    starts = logging.tqdm(range(0, len(items), batch_size), desc=f"Embedding {what}", disable=not progress)
    with _evaluation_mode(model), torch.inference_mode():
        parts = [
            torch.nn.functional.normalize(encode(list(items[start : start + batch_size])).float(), dim=-1).cpu()
            for start in starts
        ]
    embeds = torch.cat(parts)
    return embeds.numpy() if to_numpy else embeds.clone()


@contextmanager
def _evaluation_mode(model) -> Iterator[None]:
    # Each module's own mode: a frozen tower may be in evaluation mode while the rest is trained.
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
