# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Pascal VOC 2007's figure, where an image has several classes: 11-point interpolated mean average precision."""

from collections.abc import Sequence

import torch

RECALL_POINTS = 11


def multi_hot(labels: Sequence[Sequence[int]], num_classes: int) -> torch.Tensor:
    """Turns each image's list of classes into a row: (num_images, num_classes) bool.

    Raises:
        ValueError: a label outside of 0 to num_classes - 1.
    """
    marks = torch.zeros(len(labels), num_classes, dtype=torch.bool)
    for row, own in enumerate(labels):
        for label in own:
            if not 0 <= label < num_classes:
                raise ValueError(f"labels[{row}] holds {label}; the classes are 0 to {num_classes - 1}.")
            marks[row, label] = True
    return marks


@torch.no_grad()
def eleven_point_map(
    scores: torch.Tensor, targets: torch.Tensor, ignored: torch.Tensor | None = None
) -> dict[str, float]:
    """Means, over the classes, the 11-point interpolated average precision of ranking all images by their score.

    AP = 1/11 · sum over r in {0, 0.1, …, 1} of max { precision at recall s : s >= r }, 0 where no s reaches r

    A tie counts against the model: of equal scores, images without the class come first.

    Args:
        scores: (num_images, num_classes), finite, for example cosines.
        targets: (num_images, num_classes) bool, the classes in each image.
        ignored: (num_images, num_classes) bool, images left out of a class's ranking (VOC's difficult ones).

    Returns:
        `eleven_point_map`, a fraction from 0 to 1, over the classes that have an image.

    Raises:
        ValueError: unequal shapes, scores that are not finite, no class with an image, a target that is also ignored.

    Source: Everingham et al., The Pascal Visual Object Classes (VOC) Challenge, section 4.2.1.
    """
    ignored = torch.zeros_like(targets) if ignored is None else ignored
    if scores.ndim != 2 or not scores.shape == targets.shape == ignored.shape:
        raise ValueError(
            "scores, targets and ignored must all be (num_images, num_classes); got "
            f"{tuple(scores.shape)}, {tuple(targets.shape)} and {tuple(ignored.shape)}."
        )
    targets, ignored = targets.to(scores.device).bool(), ignored.to(scores.device).bool()
    if not scores.isfinite().all():
        raise ValueError("scores hold values that are not finite.")
    if (targets & ignored).any():
        raise ValueError("An image is a target and ignored for the same class.")
    classes = targets.any(dim=0).nonzero().flatten().tolist()
    if not classes:
        raise ValueError("No class has an image in targets.")
    precisions = [
        _average_precision(scores[~ignored[:, label], label], targets[~ignored[:, label], label]) for label in classes
    ]
    return {"eleven_point_map": sum(precisions) / len(precisions)}


def _average_precision(scores: torch.Tensor, targets: torch.Tensor) -> float:
    # Images without the class are put first, and a stable sort leaves them there among equal scores.
    without_first = targets.int().sort(stable=True).indices
    order = without_first[scores[without_first].sort(descending=True, stable=True).indices]
    hits = targets[order].double().cumsum(dim=0)
    precision = hits / torch.arange(1, len(hits) + 1, dtype=torch.float64, device=hits.device)
    # Recall as whole numbers: 0.1 × 3 is above 0.3 in floating point.
    recall = (hits * (RECALL_POINTS - 1)).round().long()
    points = torch.arange(RECALL_POINTS, device=hits.device) * int(hits[-1])
    reached = recall[None, :] >= points[:, None]
    return float((precision[None, :] * reached).amax(dim=1).mean())
