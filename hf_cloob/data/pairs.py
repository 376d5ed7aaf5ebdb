# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Image-text pairs as a torch dataset in which a sample is a pure function of its key (epoch, index)."""

import random
from collections.abc import Callable
from dataclasses import dataclass
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
TextTransform = Callable[[str, random.Random], str]

_MASK = (1 << 64) - 1


@dataclass(frozen=True)
class StrongViews:
    """Further augmented versions of every pair, beside the one that it always has.

    Args:
        number: strong views a pair.
        transform: of their pictures; None if they are made elsewhere, from `canvas`.
        text_transform: of their captions, which start from the pair's own; None leaves them as they are.
        canvas: the picture as `BatchedAugmentation` takes it, once a pair; None with `transform`.

    Raises:
        ValueError: fewer than one view, or not exactly one of `transform` and `canvas`.
    """

    number: int
    transform: ImageTransform | None = None
    text_transform: TextTransform | None = None
    canvas: Callable[[Image.Image], torch.Tensor] | None = None

    def __post_init__(self):
        if self.number < 1:
            raise ValueError(f"number of strong views must be at least 1, got {self.number}")
        if (self.transform is None) == (self.canvas is None):
            raise ValueError("strong views need either a transform or a canvas")


@dataclass(frozen=True)
class SampleMaker:
    """What a pair gives the collator; all that is random comes from generators seeded by (seed, epoch, index).

    An augmentation of captions or further views never change the draws of the pair's picture.

    Args:
        transform: takes (RGB picture, random.Random) and returns pixel values (num_channels, image_size, image_size).
        seed: the run's seed.
        text_transform: takes (caption, random.Random) and returns the caption to train on; None leaves it as it is.
        strong_views: further views of each pair; None adds nothing.
    """

    transform: ImageTransform
    seed: int
    text_transform: TextTransform | None = None
    strong_views: StrongViews | None = None

    def __call__(self, image: Image.Image, caption: str, key: SampleKey) -> dict[str, Any]:
        """pixel_values and text; with strong views also strong_texts (a list of `number` captions), and
        strong_pixel_values (number, num_channels, image_size, image_size), or else strong_canvas (num_channels,
        canvas_size, canvas_size).
        """
        seed = sample_seed(self.seed, *key)
        rng = random.Random(seed)
        pixel_values = self.transform(image, rng)
        text = caption if self.text_transform is None else self.text_transform(caption, rng)
        sample = {"pixel_values": pixel_values, "text": text}
        return sample if self.strong_views is None else sample | strong_sample(image, caption, self.strong_views, seed)


class ImageTextPairs(torch.utils.data.Dataset):
    """Pairs of a normalised dataset, drawn by key: neither workers, nor resuming, nor the number of processes matter.

    Every random choice of a sample (its caption, its augmentation) comes from generators seeded by (seed, epoch,
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
        text_transform: takes (caption, random.Random) and returns the caption to train on; None leaves it as it is.
        strong_views: further views of each pair; None adds nothing.

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
        text_transform: TextTransform | None = None,
        strong_views: StrongViews | None = None,
    ):
        from datasets import Image as ImageFeature

        if first_caption_share is not None and not 0 <= first_caption_share <= 1:
            raise ValueError(f"first_caption_share must be from 0 to 1, got {first_caption_share}.")
        missing = [column for column in ("image", "captions") if column not in dataset.column_names]
        if missing:
            raise ValueError(
                f"The pairs lack the columns {missing}; there are {dataset.column_names}. See load_pairs."
            )
        self.make_sample = SampleMaker(transform, seed, text_transform, strong_views)
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
        """The sample of one key, see `SampleMaker`, and its index; or, unreadable, `skipped` (the cause) and index."""
        epoch, index = key
        try:
            image = self._image(index)
        except BadSample as bad:
            return {"skipped": bad.cause, "index": index}
        caption = self._captions[index][self._drawn(epoch, index)]
        return self.make_sample(image, caption, key) | {"index": index}

    def placeholder(self) -> dict[str, Any]:
        """A sample of no pair, with the fields and shapes of the others; see `ImageTextCollator`."""
        return self.make_sample(Image.new("RGB", (64, 64), "white"), "", (0, 0)) | {"index": -1}

    def duplicate_keys(self, epoch: int, index: int) -> tuple[str, ...]:
        """What no other pair of its batch may share: its concept, if it has one, and the caption drawn for it, as it
        is before any augmentation."""
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


def strong_sample(image: Image.Image, caption: str, views: StrongViews, seed: int) -> dict[str, Any]:
    """What the strong views add to a sample; each view has a generator of its own, its picture is drawn first."""
    pictures, texts = [], []
    for view in range(1, views.number + 1):
        rng = random.Random(sample_seed(seed, view, 0))
        if views.transform is not None:
            pictures.append(views.transform(image, rng))
        texts.append(caption if views.text_transform is None else views.text_transform(caption, rng))
    if views.canvas is not None:
        return {"strong_canvas": views.canvas(image), "strong_texts": texts}
    return {"strong_pixel_values": torch.stack(pictures), "strong_texts": texts}


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
