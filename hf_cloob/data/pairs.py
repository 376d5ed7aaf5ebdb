# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Image-text pairs as a torch dataset in which a sample is a pure function of its key (epoch, index)."""

import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image

from .bad_samples import BadSample
from .image_decoding import decode_image
from .sources import clean_captions

if TYPE_CHECKING:
    import datasets

SampleKey = tuple[int, int]
ImageTransform = Callable[[Image.Image, random.Random], torch.Tensor]

_MASK = (1 << 64) - 1


class ImageTextPairs(torch.utils.data.Dataset):
    """Pairs of a normalised dataset, drawn by key: neither workers, nor resuming, nor the number of processes matter.

    Every random choice of a sample (its caption, its augmentation) comes from a generator seeded by (seed, epoch,
    index).

    Args:
        dataset: columns image, captions (label or main caption first) and maybe concept, as `load_pairs` and
            `load_emoji` return them; other columns are ignored.
        transform: takes (RGB picture, random.Random) and returns pixel values (num_channels, image_size, image_size).
        seed: the run's seed.
        first_caption_share: probability of a row's first caption; the others share the rest. None draws all alike, 1
            takes always the first.
        keep_decoded: keep each picture in memory once it is decoded, in every worker: for small corpora of small
            pictures, where decoding is a good part of a sample's cost.

    Raises:
        ValueError: a column is missing or a row has no caption.
    """

    def __init__(
        self,
        dataset: "datasets.Dataset",
        transform: ImageTransform,
        seed: int = 0,
        first_caption_share: float | None = None,
        keep_decoded: bool = False,
    ):
        from datasets import Image as ImageFeature

        if first_caption_share is not None and not 0 <= first_caption_share <= 1:
            raise ValueError(f"first_caption_share must be from 0 to 1, got {first_caption_share}.")
        missing = [column for column in ("image", "captions") if column not in dataset.column_names]
        if missing:
            raise ValueError(
                f"The pairs lack the columns {missing}; there are {dataset.column_names}. See load_pairs."
            )
        self.transform = transform
        self.seed = seed
        self.first_caption_share = first_caption_share
        # Encoded pictures: a broken one then fails where it is decoded, not in the middle of reading a row.
        self._images = dataset.select_columns(["image"]).cast_column("image", ImageFeature(decode=False))
        self._decoded: dict[int, Image.Image] | None = {} if keep_decoded else None
        # Python lists: the sampler asks for the keys of a million samples, one by one.
        self._captions = [clean_captions(captions) for captions in dataset["captions"][:]]
        empty = [index for index, captions in enumerate(self._captions) if not captions]
        if empty:
            raise ValueError(f"{len(empty)} rows have no caption, the first is row {empty[0]}. See load_pairs.")
        # Prefixes keep a concept's id apart from another pair's caption that reads the same.
        self._caption_keys = [
            [f"caption:{normalize_caption(caption)}" for caption in captions] for captions in self._captions
        ]
        concepts = dataset["concept"][:] if "concept" in dataset.column_names else [None] * len(self._captions)
        self._concept_keys = [() if concept is None else (f"concept:{concept}",) for concept in concepts]

    def __len__(self) -> int:
        return len(self._captions)

    def __getitem__(self, key: SampleKey) -> dict[str, Any]:
        """The sample of one key: pixel_values, text and index; or, unreadable, `skipped` (the cause) and index."""
        epoch, index = key
        try:
            image = self._image(index)
        except BadSample as bad:
            return {"skipped": bad.cause, "index": index}
        rng = random.Random(sample_seed(self.seed, epoch, index))
        text = self._captions[index][self._drawn(epoch, index)]
        return {"pixel_values": self.transform(image, rng), "text": text, "index": index}

    def placeholder(self) -> dict[str, Any]:
        """A sample of no pair, with the fields and shapes of the others; see `ImageTextCollator`."""
        image = Image.new("RGB", (64, 64), "white")
        return {"pixel_values": self.transform(image, random.Random(0)), "text": "", "index": -1}

    def duplicate_keys(self, epoch: int, index: int) -> tuple[str, ...]:
        """What no other pair of its batch may share: its concept, if it has one, and the caption drawn for it."""
        return (self._caption_keys[index][self._drawn(epoch, index)], *self._concept_keys[index])

    def _image(self, index: int) -> Image.Image:
        if self._decoded is not None and index in self._decoded:
            return self._decoded[index]
        encoded = self._images[index]["image"] or {"bytes": None, "path": None}
        image = decode_image(encoded["path"] if encoded["bytes"] is None else encoded["bytes"])
        if self._decoded is not None:
            self._decoded[index] = image
        return image

    def _drawn(self, epoch: int, index: int) -> int:
        mixed = sample_seed(self.seed, epoch, index)
        return drawn_caption(len(self._captions[index]), mixed, self.first_caption_share)


def drawn_caption(num_captions: int, mixed: int, first_caption_share: float | None) -> int:
    """Which of a row's captions the 64 random bits of `sample_seed` draw; see `ImageTextPairs`."""
    if num_captions == 1:
        return 0
    # The two halves of the mix are independent draws.
    if first_caption_share is None:
        return (mixed >> 32) % num_captions
    if (mixed & 0xFFFFFFFF) < first_caption_share * 2**32:
        return 0
    return 1 + (mixed >> 32) % (num_captions - 1)


def sample_seed(seed: int, epoch: int, index: int) -> int:
    """Mix a run's seed, an epoch and an index into 64 bits (splitmix64's finalizer after each of them).

    Far cheaper than seeding a generator, which matters where only a caption is drawn.
    """
    state = 0
    for value in (seed, epoch, index):
        state = (state + value + 0x9E3779B97F4A7C15) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        state ^= state >> 31
    return state


def normalize_caption(caption: str) -> str:
    """A caption as it is compared: case, whitespace and closing punctuation do not make another caption."""
    return " ".join(caption.casefold().split()).rstrip(" .!?")
