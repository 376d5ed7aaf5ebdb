# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Checks and precision shared by every loss: what a pair of embeddings and a scale must look like before any maths."""

import math

import torch


def full_precision(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Cast half-precision tensors to float32 and leave float32 and float64 alone; all results share the widest dtype.

    Scores of unit vectors times an inverse temperature of 100 lose two decimal digits in bfloat16, so every product,
    softmax and logarithm of this package is computed in at least float32.
    """
    dtype = torch.float32
    for tensor in tensors:
        dtype = torch.promote_types(dtype, tensor.dtype)
    return tuple(tensor.to(dtype) for tensor in tensors)


def checked_pair(
    image_embeds: torch.Tensor, text_embeds: torch.Tensor, minimum: int = 2, names=("image_embeds", "text_embeds")
) -> tuple[torch.Tensor, torch.Tensor]:
    """Validate two (batch_size, projection_dim) matrices of matching rows and return them in the wider dtype.

    Raises:
        ValueError: for shapes that differ or are not 2-d, fewer than `minimum` pairs, different devices, integer
            dtypes, or (on the CPU, where looking costs no synchronization) values that are not finite.
    """
    first, second = names
    if image_embeds.dim() != 2 or image_embeds.shape != text_embeds.shape:
        raise ValueError(
            f"{first} and {second} must both have the shape (batch_size, projection_dim) and the same number of rows, "
            f"got {tuple(image_embeds.shape)} and {tuple(text_embeds.shape)}."
        )
    if image_embeds.shape[0] < minimum:
        raise ValueError(
            f"This loss needs at least {minimum} pairs in the global batch, got {image_embeds.shape[0]}: "
            "a pair alone has nothing to be contrasted with. Raise the batch size, or drop the last incomplete batch "
            "(dataloader_drop_last / drop_last=True), in evaluation too."
        )
    if image_embeds.device != text_embeds.device:
        raise ValueError(f"{first} is on {image_embeds.device} and {second} on {text_embeds.device}: use one device.")
    checked_finite(image_embeds, first)
    checked_finite(text_embeds, second)
    dtype = torch.promote_types(image_embeds.dtype, text_embeds.dtype)
    return image_embeds.to(dtype), text_embeds.to(dtype)


def checked_finite(embeds: torch.Tensor, name: str) -> torch.Tensor:
    """Raise ValueError if embeddings are not floating point or, on the CPU, not finite; name the rows."""
    if not embeds.is_floating_point():
        raise ValueError(f"{name} must be floating point, got {embeds.dtype}.")
    if embeds.device.type == "cpu" and not torch.compiler.is_compiling():
        finite = torch.isfinite(embeds.detach())
        if not finite.all():
            rows = (~finite).reshape(embeds.shape[0], -1).any(dim=1).nonzero().flatten().tolist()
            raise ValueError(
                f"{name} holds NaN or infinite values in {len(rows)} of {embeds.shape[0]} rows, the first are "
                f"{rows[:5]}; embeddings must be finite."
            )
    return embeds


def checked_scale(scale: float | torch.Tensor, name: str, like: torch.Tensor) -> torch.Tensor:
    """Return a positive scale as a 0-d tensor like `like` but at least float32; see `checked_number`.

    Raises:
        ValueError: if a Python number is not finite and positive, or a tensor has more than one element.
    """
    if not isinstance(scale, torch.Tensor) and not (math.isfinite(scale) and scale > 0):
        raise ValueError(f"{name} must be a finite number above 0, got {scale}.")
    return checked_number(scale, name, like)


def checked_number(number: float | torch.Tensor, name: str, like: torch.Tensor) -> torch.Tensor:
    """Return a number as a 0-d tensor on `like`'s device and of its dtype, or float32 if that is half precision.

    A Python number is checked. A tensor is only reshaped and cast: reading its value would synchronize the device.

    Raises:
        ValueError: if a Python number is not finite, or a tensor has more than one element.
    """
    dtype = torch.promote_types(like.dtype, torch.float32)
    if isinstance(number, torch.Tensor):
        if number.numel() != 1:
            raise ValueError(f"{name} must be a float or a tensor with one element, got shape {tuple(number.shape)}.")
        return number.reshape(()).to(device=like.device, dtype=dtype)
    if not math.isfinite(number):
        raise ValueError(f"{name} must be a finite number, got {number}.")
    return torch.tensor(float(number), dtype=dtype, device=like.device)
