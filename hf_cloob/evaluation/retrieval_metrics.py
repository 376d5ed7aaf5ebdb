# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Image-text retrieval: recall@k in both directions, several captions an image, in bounded memory."""

from collections.abc import Sequence

import torch
from tqdm.auto import tqdm

from .ranking import TIE_TOLERANCE, check_embeds, check_indices, check_ks, check_positive, check_same_dim


@torch.no_grad()
def recall_at_k(
    image_embeds: torch.Tensor,
    text_embeds: torch.Tensor,
    text_to_image: torch.Tensor,
    ks: Sequence[int] = (1, 5, 10),
    image_chunk_size: int = 2048,
    text_chunk_size: int = 4096,
    show_progress: bool = False,
) -> dict[str, float]:
    """Share of queries whose right answer is among the first k, image to text and text to image.

    An image's query is right at k when ANY of its captions is: when fewer than k captions of other images reach the
    score of its best one. A caption's query is right at k when fewer than k other images reach its own image's
    score. Both are exact counts over the whole gallery. A tie (scores within 1e-6) counts against the model.

    Args:
        image_embeds: (num_images, projection_dim), rows L2-normalized; every image has at least one caption.
        text_embeds: (num_texts, projection_dim), rows L2-normalized.
        text_to_image: (num_texts,) int64, the image of each caption, in any order.
        ks: cut-offs.
        image_chunk_size, text_chunk_size: one block of scores has these sides. The whole matrix is never formed:
            beside the embeddings about 5 bytes × image_chunk_size × text_chunk_size are held.
        show_progress: show a progress bar over the images.

    Returns:
        `image_to_text_recall@1` … `text_to_image_recall@10`, fractions from 0 to 1.

    Raises:
        ValueError: embeddings of different projection_dim, not finite or not normalized; a caption of an image that
            is not there; an image without captions; a k below 1.
    """
    ks = check_ks(ks)
    check_positive(image_chunk_size=image_chunk_size, text_chunk_size=text_chunk_size)
    image_embeds, text_embeds = check_embeds("image_embeds", image_embeds), check_embeds("text_embeds", text_embeds)
    check_same_dim(image_embeds=image_embeds, text_embeds=text_embeds)
    num_images = len(image_embeds)
    text_embeds = text_embeds.to(image_embeds)
    text_to_image = check_indices("text_to_image", text_to_image, len(text_embeds), num_images, "the images")
    text_to_image = text_to_image.to(image_embeds.device)
    captions = torch.bincount(text_to_image, minlength=num_images)
    if not captions.all():
        missing = (captions == 0).nonzero().flatten()
        raise ValueError(f"{missing.numel()} images have no caption in text_to_image, the first is {int(missing[0])}.")

    # Autocast would score in half precision, where cosines of many captions coincide.
    with torch.autocast(image_embeds.device.type, enabled=False):
        own = _own_scores(image_embeds, text_embeds, text_to_image, text_chunk_size)
        best = own.new_full((num_images,), -torch.inf).scatter_reduce_(0, text_to_image, own, "amax")
        texts_ahead, images_ahead = _count_ahead(
            image_embeds, text_embeds, text_to_image, best, own, image_chunk_size, text_chunk_size, show_progress
        )
    metrics = {f"image_to_text_recall@{k}": float((texts_ahead < k).double().mean()) for k in ks}
    return metrics | {f"text_to_image_recall@{k}": float((images_ahead < k).double().mean()) for k in ks}


def _own_scores(
    image_embeds: torch.Tensor, text_embeds: torch.Tensor, text_to_image: torch.Tensor, chunk_size: int
) -> torch.Tensor:
    """Scores each caption with its own image: (num_texts,)."""
    chunks = zip(text_embeds.split(chunk_size), text_to_image.split(chunk_size), strict=True)
    return torch.cat([(texts * image_embeds[images]).sum(dim=-1) for texts, images in chunks])


def _count_ahead(
    image_embeds: torch.Tensor,
    text_embeds: torch.Tensor,
    text_to_image: torch.Tensor,
    best: torch.Tensor,
    own: torch.Tensor,
    image_chunk_size: int,
    text_chunk_size: int,
    show_progress: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Counts the captions of other images that reach each image's `best`, and the other images that reach `own`.

    Own pairs are left out by their place, not by their score, so rounding between the block's product and `own`
    cannot put a right answer ahead of itself. One product of a block serves both directions.
    """
    texts_ahead = torch.zeros(len(image_embeds), dtype=torch.int64, device=image_embeds.device)
    images_ahead = torch.zeros(len(text_embeds), dtype=torch.int64, device=image_embeds.device)
    tops = range(0, len(image_embeds), image_chunk_size)
    for top in tqdm(tops, desc="Ranking", unit="block", disable=not show_progress, leave=False):
        images = slice(top, top + image_chunk_size)
        for left in range(0, len(text_embeds), text_chunk_size):
            texts = slice(left, left + text_chunk_size)
            scores = image_embeds[images] @ text_embeds[texts].T
            rows = text_to_image[texts] - top
            columns = ((rows >= 0) & (rows < len(scores))).nonzero().flatten()
            scores[rows[columns], columns] = -torch.inf
            # Counting in int32 takes a third of the time that the default takes on a CPU.
            texts_ahead[images] += (scores >= best[images, None] - TIE_TOLERANCE).sum(dim=1, dtype=torch.int32)
            images_ahead[texts] += (scores >= own[None, texts] - TIE_TOLERANCE).sum(dim=0, dtype=torch.int32)
    return texts_ahead, images_ahead
