# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What goes into a memory, and what a search is asked to leave out, checked before any of it is used."""

from collections.abc import Sequence

import torch

MEMORY_DTYPE = torch.float16
# Stands for "no entry" among ids.
NO_ENTRY = -1
# A row of bfloat16 is within 0.4 % of unit norm.
NORM_TOLERANCE = 0.01
ROWS_AT_ONCE = 65_536


def checked_embeds(
    image_embeds: torch.Tensor, text_embeds: torch.Tensor, projection_dim: int | None = None, place: str = ""
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return both matrices as tensors in the memory's number format.

    Args:
        image_embeds: (memory_size, projection_dim), L2-normalized, tensor or array.
        text_embeds: the same of the texts.
        projection_dim: the width they must have, if it is settled.
        place: where they are from, for the message.

    Raises:
        ValueError: if they are empty, differ in shape, or hold rows that are not finite or not of unit norm.
    """
    image_embeds, text_embeds = (torch.as_tensor(embeds).detach() for embeds in (image_embeds, text_embeds))
    shapes = tuple(image_embeds.shape), tuple(text_embeds.shape)
    if image_embeds.dim() != 2 or shapes[0] != shapes[1]:
        raise ValueError(
            "image_embeds and text_embeds must both have the shape (memory_size, projection_dim) and the same number "
            f"of rows, got {shapes[0]} and {shapes[1]}{place}."
        )
    if 0 in shapes[0]:
        raise ValueError(f"A memory needs at least one entry, got embeddings of shape {shapes[0]}{place}.")
    if projection_dim is not None and shapes[0][1] != projection_dim:
        raise ValueError(f"This memory has projection_dim {projection_dim}, got embeddings of {shapes[0][1]}{place}.")
    if image_embeds.device != text_embeds.device:
        raise ValueError(f"image_embeds is on {image_embeds.device}, text_embeds on {text_embeds.device}: use one.")
    return tuple(
        _in_memory_format(embeds, name, place)
        for embeds, name in ((image_embeds, "image_embeds"), (text_embeds, "text_embeds"))
    )


def _in_memory_format(embeds: torch.Tensor, name: str, place: str) -> torch.Tensor:
    if not embeds.is_floating_point():
        raise ValueError(f"{name}{place} must be floating point, got {embeds.dtype}.")
    for start in range(0, len(embeds), ROWS_AT_ONCE):
        norms = embeds[start : start + ROWS_AT_ONCE].float().norm(dim=1)
        # Comparisons with NaN are false.
        if not (wrong := (norms - 1).abs() > NORM_TOLERANCE).any() and torch.isfinite(norms).all():
            continue
        row = int((wrong | ~torch.isfinite(norms)).nonzero()[0])
        found = "NaN or infinite values" if not torch.isfinite(norms[row]) else f"norm {norms[row]:.4g}"
        raise ValueError(
            f"Row {start + row} of {name}{place} has {found}: rows must be finite and L2-normalized "
            "(torch.nn.functional.normalize(embeds, dim=-1))."
        )
    return embeds.to(MEMORY_DTYPE).contiguous()


def checked_ids(ids: Sequence[int] | torch.Tensor | None, memory_size: int, place: str = "") -> torch.Tensor:
    """Return ids as (memory_size,) int64, 0 ... memory_size - 1 for None.

    Raises:
        ValueError: for another number of ids, ids that are no whole numbers, negative or repeated.
    """
    if ids is None:
        return torch.arange(memory_size)
    ids = torch.as_tensor(ids)
    if ids.dtype.is_floating_point or ids.dtype.is_complex or ids.dtype == torch.bool:
        raise ValueError(f"ids{place} must be whole numbers, got {ids.dtype}.")
    if ids.shape != (memory_size,):
        raise ValueError(f"ids{place} must have the shape ({memory_size},), one for each entry, got {(*ids.shape,)}.")
    ids = ids.to(torch.int64)
    ascending = ids if (ids.diff() > 0).all() else ids.sort().values
    if ascending[0] < 0:
        raise ValueError(f"ids{place} must be at least 0 ({NO_ENTRY} stands for no entry), got {int(ascending[0])}.")
    if (repeated := ascending.diff() == 0).any():
        raise ValueError(
            f"ids{place} must be different, {int(repeated.sum())} repeat, the first are "
            f"{ascending[1:][repeated][:5].tolist()}."
        )
    return ids


def checked_captions(captions: Sequence[str | None] | None, memory_size: int) -> Sequence[str | None]:
    """Return one caption, or None, for each entry.

    Raises:
        ValueError: for another number of captions, or one that is no string.
    """
    if captions is None:
        return [None] * memory_size
    if isinstance(captions, str) or len(captions) != memory_size:
        given = f"the single string {captions!r}" if isinstance(captions, str) else f"{len(captions)} captions"
        raise ValueError(f"captions and embeddings must match: got {given} for {memory_size} entries.")
    captions = list(captions)
    for index, caption in enumerate(captions):
        if not (caption is None or isinstance(caption, str)):
            raise ValueError(f"captions[{index}] must be a string or None, got {caption!r}.")
    return captions


def checked_exclusions(exclude_ids: torch.Tensor | Sequence | None, num_queries: int) -> torch.Tensor | None:
    """Return ids that queries must not find as (num_queries, e) int64.

    Raises:
        ValueError: for another number of rows, or ids that are no whole numbers.
    """
    if exclude_ids is None:
        return None
    exclude_ids = torch.as_tensor(exclude_ids)
    if exclude_ids.dtype.is_floating_point or exclude_ids.dtype == torch.bool:
        raise ValueError(f"exclude_ids must be whole numbers, got {exclude_ids.dtype}.")
    if exclude_ids.dim() not in (1, 2) or len(exclude_ids) != num_queries:
        raise ValueError(
            f"exclude_ids must have the shape ({num_queries},) or ({num_queries}, e), one row for each query, got "
            f"{tuple(exclude_ids.shape)}."
        )
    return exclude_ids.to(torch.int64).reshape(num_queries, -1)


def check_same_encoder(found: str | None, expected: str | None, where: str) -> None:
    """Raise ValueError if both fingerprints are known and differ."""
    if found is not None and expected is not None and found != expected:
        raise ValueError(
            f"This memory was made by another encoder: its fingerprint is {found}, that of {where} is {expected}. "
            "Neighbors would mean nothing; build the memory with this encoder (RecoMemory.build)."
        )
