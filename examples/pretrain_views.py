# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What pretrain.py makes of a pair: its augmented picture and caption, and its strong views."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from command_line import UserError, user_errors

# Cut from a picture that is somewhat larger, as 224 pixels are from 256.
CANVAS_PER_IMAGE_SIZE = 8 / 7


@dataclass(frozen=True)
class ImageTransforms:
    """Pictures to pixel values: of the pair itself, and of its strong views, of one size."""

    pair: Any
    strong: Any

    @property
    def image_size(self) -> int:
        """The side of what they give, in pixels."""
        return self.strong.image_size


def build_image_transforms(args, image_size: int, mean: tuple[float, ...], std: tuple[float, ...]) -> ImageTransforms:
    """The transforms of the flags; the affine map's flags hold for weak and strong alike, in the workers."""
    from hf_cloob.data.image_augmentation import TrainingTransform
    from hf_cloob.data.strong_image_augmentation import StrongTransform

    frame = image_size, mean, std
    affine = {name: getattr(args, name) for name in ("rotation", "translation", "zoom")}
    colors = {name: getattr(args, name) for name in ("brightness", "contrast", "saturation", "hue")}
    weak = TrainingTransform(
        *frame, crop_scale=tuple(args.crop_scale), horizontal_flip=args.horizontal_flip, **affine, **colors
    )
    probabilities = ("color_jitter_probability", "grayscale", "blur", "solarize")
    with user_errors("strong augmentation:"):
        strong = StrongTransform(
            *frame,
            crop_scale=tuple(args.strong_crop_scale),
            color_jitter=tuple(args.color_jitter),
            horizontal_flip=args.strong_horizontal_flip,
            **affine,
            **{name: getattr(args, name) for name in probabilities},
        )
    return ImageTransforms(strong if args.image_augmentation == "strong" else weak, strong)


def build_views(args, strong_transform, captions: Callable[[], list[str]]) -> dict[str, Any]:
    """What `SampleMaker` makes of captions and of further views: its text_transform and strong_views.

    Args:
        strong_transform: of the strong views' pictures.
        captions: gives those that may be drawn, of a stream the first; the synonyms of their words are looked up once.
    """
    from hf_cloob.data.batched_augmentation import CanvasTransform
    from hf_cloob.data.pairs import StrongViews
    from hf_cloob.data.text_augmentation import StrongTextAugmentation, WeakTextAugmentation, vocabulary
    from hf_cloob.data.wordnet import synonym_table

    wanted = {args.text_augmentation, args.strong_text_augmentation if args.num_strong_views else "none"}
    transforms = {"none": None, "weak": WeakTextAugmentation()}
    if "strong" in wanted:
        try:
            transforms["strong"] = StrongTextAugmentation(synonym_table(vocabulary(captions()), args.wordnet_folder))
        except RuntimeError as error:
            raise UserError(f"the synonyms of text_augmentation strong: {error}") from error
    views = None
    if args.num_strong_views:
        texts = transforms[args.strong_text_augmentation]
        if args.augment_on_device:
            canvas = CanvasTransform(round(strong_transform.image_size * CANVAS_PER_IMAGE_SIZE))
            views = StrongViews(args.num_strong_views, text_transform=texts, canvas=canvas)
        else:
            views = StrongViews(args.num_strong_views, strong_transform, texts)
    return {"text_transform": transforms[args.text_augmentation], "strong_views": views}


def augmented_on_device(args, loader, strong_transform, first_batch: int, accelerator):
    """The loader; with augment_on_device one that makes the strong views' pictures on the accelerator."""
    if not args.augment_on_device:
        return loader
    from hf_cloob.data.batched_augmentation import AugmentedBatches, BatchedAugmentation

    return AugmentedBatches(
        loader,
        BatchedAugmentation(strong_transform),
        args.num_strong_views,
        accelerator.device,
        seed=args.seed,
        first_step=first_batch,
        process_index=accelerator.process_index,
    )
