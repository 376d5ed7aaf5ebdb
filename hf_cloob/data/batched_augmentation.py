# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The strong image augmentation for whole batches, by kornia: on a GPU it frees the workers, on a CPU they are faster.

Pure torch: torchvision is not needed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

from .pairs import sample_seed
from .strong_image_augmentation import SOLARIZE_THRESHOLD, StrongTransform

if TYPE_CHECKING:
    from torch.utils.data import DataLoader


@dataclass(frozen=True)
class CanvasTransform:
    """A picture's central square at one size, in 8 bits: what a worker sends where a batch is augmented later.

    Args:
        canvas_size: side in pixels; somewhat more than the views', which are cut from it (256 for 224).
    """

    canvas_size: int

    def __call__(self, image: Image.Image) -> torch.Tensor:
        """Levels (num_channels, canvas_size, canvas_size) in uint8."""
        width, height = image.size
        short = min(width, height)
        left, top = (width - short) / 2, (height - short) / 2
        size = (self.canvas_size, self.canvas_size)
        square = image.resize(size, Image.Resampling.BICUBIC, box=(left, top, left + short, top + short))
        return torch.from_numpy(np.array(square)).permute(2, 0, 1).contiguous()


class BatchedAugmentation:
    """The parts of a `StrongTransform`, each picture of a batch with its own draws, through kornia.

    Differs from it in what a batch asks for: the four color changes have one random order a batch; crops are resampled
    bicubically without antialiasing, and start at whole pixels; the blur is the Gaussian itself, cut at 4 standard
    deviations; levels are not rounded between the parts.

    Args:
        transform: amounts, probabilities, size, mean and std.

    Raises:
        ImportError: kornia is missing.
        ValueError: the transform has an affine map, which only the workers do.
    """

    def __init__(self, transform: StrongTransform):
        if transform.rotation or transform.translation or transform.zoom:
            raise ValueError("batched augmentation has no rotation, translation and zoom: leave them to the workers")
        try:
            import kornia.augmentation as K
        except ImportError as error:
            raise ImportError("Augmenting batches needs kornia: pip install hf_cloob[gpu]") from error
        side = transform.image_size
        jitter = dict(zip(("brightness", "contrast", "saturation", "hue"), transform.color_jitter, strict=True))
        # Between two levels, so that rounding does not decide.
        threshold = (SOLARIZE_THRESHOLD - 0.5) / 255
        self.mean, self.std = transform.mean, transform.std
        crop = K.RandomResizedCrop(
            (side, side),
            transform.crop_scale,
            transform.crop_ratio,
            resample="BICUBIC",
            align_corners=False,
            cropping_mode="resample",
        )
        # A part with the probability 0 is left out; kornia would compute some of them all the same.
        parts = {
            "color_jitter_probability": lambda p: K.ColorJitter(**jitter, p=p),
            "grayscale": lambda p: K.RandomGrayscale(p=p),
            "blur": lambda p: K.RandomGaussianBlur(_kernel_size(transform), transform.blur_sigma, p=p),
            "solarize": lambda p: K.RandomSolarize((threshold, threshold), (0.0, 0.0), p=p),
            "horizontal_flip": lambda p: K.RandomHorizontalFlip(p=p),
        }
        self.steps = [
            crop,
            *(make(getattr(transform, name)) for name, make in parts.items() if getattr(transform, name)),
        ]

    @torch.no_grad()
    def __call__(self, canvas: torch.Tensor, seed: int) -> torch.Tensor:
        """Augment pictures (batch_size, num_channels, height, width), uint8 or float in [0, 1].

        The draws are a function of `seed`, the batch's shape and nothing else; torch's own generators are left alone.

        Returns:
            Normalised pixel values (batch_size, num_channels, image_size, image_size) in float32.
        """
        images = canvas.float() / 255 if canvas.dtype == torch.uint8 else canvas.float()
        # kornia draws on the CPU from torch's generator, on every device; only that one is put back.
        with torch.random.fork_rng(devices=[]), torch.autocast(images.device.type, enabled=False):
            torch.default_generator.manual_seed(seed)
            for step in self.steps:
                images = step(images).clamp(0, 1)
        mean, std = (torch.tensor(values, device=images.device)[:, None, None] for values in (self.mean, self.std))
        return (images - mean) / std


class AugmentedBatches:
    """The batches of a loader with `strong_pixel_values` made on a device from their `strong_canvas`.

    A view is a function of (seed, step, process, place in the batch): a run that resumes draws what it would have
    drawn, another number of processes draws something else.

    Args:
        loader: batches of `ImageTextCollator`; its `strong_canvas` is taken out of each.
        augmentation: of the views.
        num_strong_views: views a pair.
        device: where they are made.
        seed: the run's seed.
        first_step: number of the loader's first batch in the run.
        process_index: this process.
    """

    def __init__(
        self,
        loader: "DataLoader",
        augmentation: BatchedAugmentation,
        num_strong_views: int,
        device: torch.device,
        seed: int = 0,
        first_step: int = 0,
        process_index: int = 0,
    ):
        self.loader, self.augmentation, self.num_strong_views = loader, augmentation, num_strong_views
        self.device, self.seed, self.first_step, self.process_index = device, seed, first_step, process_index

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for step, batch in enumerate(self.loader, start=self.first_step):
            canvas = batch.pop("strong_canvas").to(self.device, non_blocking=True)
            repeated = canvas.repeat_interleave(self.num_strong_views, dim=0)
            views = self.augmentation(repeated, sample_seed(self.seed, step, self.process_index))
            yield batch | {"strong_pixel_values": views.view(len(canvas), self.num_strong_views, *views.shape[1:])}


def _kernel_size(transform: StrongTransform) -> tuple[int, int]:
    # Odd, and below the picture's side, which the border is reflected from.
    size = 2 * min(int(4 * transform.blur_sigma[1] + 0.5), (transform.image_size - 1) // 2) + 1
    return size, size
