# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The geometry of any dual encoder in one line: figures before and after centering, and what their picture shows.

    from hf_cloob import geometry_report

    report = geometry_report("path or hub id of a CLIP, SigLIP or CLOOB", dataset)
    print(report)

Centers are fitted to calibration pairs, never to those that are measured.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import normalize

from ..gap_closing import fit_offsets, subtract_offset
from .cached_encoder import CachedEncoder
from .geometry_metrics import geometry_metrics
from .geometry_view import PlaneView, cosine_histograms, gap_plane, plane_view, principal_plane
from .image_loading import DatasetImages
from .ranking import check_embeds
from .shift_curve import ShiftCurve, shift_curve
from .spectrum import covariance_spectrum

if TYPE_CHECKING:
    from datasets import Dataset

logger = logging.getLogger(__name__)

CENTERED = "centered_"
CALIBRATION_SHARE = 5
# The scale of models without a logit_scale: CLIP's largest.
DEFAULT_INVERSE_TEMPERATURE = 100.0
# Random pairs of picture and shift curve, which takes all scores among them 25 times.
SHOWN_PAIRS = 2000
# A direction within a cone this narrow is rounding, not geometry.
SMALLEST_SPREAD = 1e-4


@dataclass(frozen=True)
class GeometryReport:
    """What `geometry_report` found.

    Attributes:
        name: of the model.
        metrics: the flat figures of `geometry_metrics`, and the same after centering under `centered_…`; counts.
        image_spectrum, text_spectrum: (projection_dim,) eigenvalues of the covariances, as shares of their sum.
        planes: pairs in a plane: `principal` (PCA), `gap` (along the gap and across it) and, where centering is
            possible, `centered_gap` (the same plane afterwards).
        cosines: histograms of the cosines: `matched`, `mismatched`, `centered_matched`, `centered_mismatched`.
        curve: retrieval and loss while the modalities are moved along the gap.
    """

    name: str
    metrics: dict[str, float]
    image_spectrum: list[float]
    text_spectrum: list[float]
    planes: dict[str, PlaneView]
    cosines: dict[str, list[float]]
    curve: ShiftCurve

    def __str__(self) -> str:
        names = [name for name in self.metrics if f"{name}_low" in self.metrics and not name.startswith(CENTERED)]
        width = max(map(len, names))
        lines = [f"{self.name}: {self.metrics['num_pairs']:,} pairs, 95 % intervals"]
        lines.append(f"{'':{width}}  {'before':>28}  {'after centering':>28}")
        for name in names:
            cells = (with_interval(self.metrics, prefix + name) for prefix in ("", CENTERED))
            lines.append(f"{name:{width}}  " + "  ".join(f"{cell:>28}" for cell in cells))
        return "\n".join(lines)


def geometry_report(
    model_name_or_path: str | os.PathLike,
    dataset: Dataset,
    calibration_dataset: Dataset | None = None,
    image_column: str = "image",
    caption_column: str = "caption",
    batch_size: int = 64,
    num_workers: int = 0,
    seed: int = 0,
    trust_remote_code: bool = False,
    show_progress: bool = True,
) -> GeometryReport:
    """Embed the pairs of a dataset with a dual encoder and measure where both modalities lie.

    Args:
        model_name_or_path: folder or Hub id of a CLIP, SigLIP or CLOOB, with its processor.
        dataset: a `datasets.Dataset` of images and captions; a row's first caption makes the pair. A picture that
            cannot be read is left out, counted and logged.
        calibration_dataset: pairs that centering is fitted to; None takes a random fifth of `dataset` away for it.
        image_column: column of the images.
        caption_column: column of captions, strings or lists of strings.
        batch_size: images or texts in one pass.
        num_workers: processes that read and prepare images.
        seed: of the calibration pairs, the probe's split and the resamples.
        trust_remote_code: run a Hub model's own code.
        show_progress: show progress bars.

    Returns:
        [`GeometryReport`]; `geometry_page` draws one or several.

    Raises:
        ValueError: several splits, no such columns, too few pairs, or a model that is no dual encoder.
        OSError: no such model.
        ImportError: scikit-learn is missing; the extra `evaluation` brings it.
    """
    from transformers import AutoModel, AutoProcessor

    if isinstance(dataset, Mapping):
        raise ValueError(f"dataset must be one split; got a dictionary of the splits {list(dataset)}.")
    model = AutoModel.from_pretrained(model_name_or_path, trust_remote_code=trust_remote_code)
    processor = AutoProcessor.from_pretrained(model_name_or_path, trust_remote_code=trust_remote_code)
    if torch.accelerator.is_available():
        model = model.to(torch.accelerator.current_accelerator())
    encoder = CachedEncoder(
        model, batch_size=batch_size, num_workers=num_workers, truncation=True, show_progress=show_progress
    )
    if calibration_dataset is None:
        dataset, calibration_dataset = split_off_calibration(dataset, seed)
    columns = image_column, caption_column
    image_embeds, text_embeds = encode_pairs(encoder, processor, dataset, *columns)
    return measure_geometry(
        Path(model_name_or_path).name,
        image_embeds,
        text_embeds,
        *encode_pairs(encoder, processor, calibration_dataset, *columns),
        inverse_temperature=inverse_temperature_of(model),
        seed=seed,
        show_progress=show_progress,
    )


def measure_geometry(
    name: str,
    image_embeds: torch.Tensor,
    text_embeds: torch.Tensor,
    calibration_image_embeds: torch.Tensor,
    calibration_text_embeds: torch.Tensor,
    inverse_temperature: float = DEFAULT_INVERSE_TEMPERATURE,
    num_resamples: int = 500,
    seed: int = 0,
    show_progress: bool = False,
) -> GeometryReport:
    """The report on embeddings that are there already.

    Args:
        name: of the model, for table and picture.
        image_embeds: (num_pairs, projection_dim), rows L2-normalized; more than ten pairs.
        text_embeds: (num_pairs, projection_dim), rows L2-normalized; row i belongs to image i.
        calibration_image_embeds, calibration_text_embeds: (num_calibration, projection_dim), rows L2-normalized, other
            images and texts: the centers and the gap vector are theirs.
        inverse_temperature: t of the InfoNCE in the shift curve.
        num_resamples: for the intervals.
        seed: of the probe's split, the resamples and the pairs that are drawn.
        show_progress: show progress bars.

    Raises:
        ValueError: embeddings that do not fit each other, are not finite or not normalized; too few pairs.
    """
    pairs = check_embeds("image_embeds", image_embeds), check_embeds("text_embeds", text_embeds)
    calibration = calibration_image_embeds, calibration_text_embeds
    options = {"num_resamples": num_resamples, "seed": seed, "show_progress": show_progress}
    metrics = geometry_metrics(*pairs, **options)
    spectra = (covariance_spectrum(embeds)[0] for embeds in pairs)
    image_spectrum, text_spectrum = ((values / values.sum().clamp(min=1e-12)).tolist() for values in spectra)

    rows = torch.randperm(len(image_embeds), generator=torch.Generator().manual_seed(seed))[:SHOWN_PAIRS]
    shown = [embeds[rows] for embeds in pairs]
    gap_vector = 2 * fit_offsets(*calibration, method="shift")[0]
    plane = gap_plane(*shown, gap_vector)
    planes = {"principal": plane_view(*shown, principal_plane(*shown)), "gap": plane_view(*shown, plane)}
    cosines = cosine_histograms(*shown)
    curve = shift_curve(*shown, gap_vector, inverse_temperature)

    centered = centered_embeds(*pairs, *fit_offsets(*calibration))
    if centered:
        found = geometry_metrics(*centered, **options)
        metrics |= {CENTERED + name: value for name, value in found.items()}
        shown = [embeds[rows] for embeds in centered]
        planes[f"{CENTERED}gap"] = plane_view(*shown, plane)
        cosines |= {CENTERED + name: shares for name, shares in cosine_histograms(*shown).items()}
    metrics |= {
        "num_pairs": len(image_embeds),
        "num_calibration_pairs": len(calibration_image_embeds),
        "projection_dim": image_embeds.shape[1],
        "inverse_temperature": inverse_temperature,
    }
    return GeometryReport(name, metrics, image_spectrum, text_spectrum, planes, cosines, curve)


def centered_embeds(
    image_embeds: torch.Tensor, text_embeds: torch.Tensor, image_offset: torch.Tensor, text_offset: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor] | None:
    """l2norm(x - image_offset) and l2norm(y - text_offset), or None, logged, where a modality is a single point."""
    sides = ((image_embeds, image_offset), (text_embeds, text_offset))
    offset = [subtract_offset(embeds, center.to(embeds)) for embeds, center in sides]
    for side, embeds in zip(("images", "texts"), offset, strict=True):
        if embeds.norm(dim=1).median() < SMALLEST_SPREAD:
            logger.warning("The embeddings of the %s have collapsed to one point: nothing is left to center.", side)
            return None
    return normalize(offset[0], dim=-1), normalize(offset[1], dim=-1)


def encode_pairs(
    encoder: CachedEncoder,
    processor: Any,
    dataset: Dataset,
    image_column: str = "image",
    caption_column: str = "caption",
) -> tuple[torch.Tensor, torch.Tensor]:
    """Embed each readable image and its first caption: two (num_pairs, projection_dim), L2-normalized.

    Raises:
        ValueError: no such column, or no row with a readable image and a caption.
    """
    if caption_column not in dataset.column_names:
        raise ValueError(f"The dataset has no column {caption_column!r}; its columns are {dataset.column_names}.")
    captions = [_first_caption(value) for value in dataset[caption_column]]
    with_caption = [row for row, caption in enumerate(captions) if caption]
    if not with_caption:
        raise ValueError(f"No row has a caption in column {caption_column!r}.")
    if len(with_caption) < len(captions):
        logger.warning("%d of %d rows left out: no caption.", len(captions) - len(with_caption), len(captions))
        dataset = dataset.select(with_caption)
    image_embeds, rows = encoder.encode_readable_images(DatasetImages(dataset, image_column), processor)
    return image_embeds, encoder.encode_texts([captions[with_caption[row]] for row in rows.tolist()], processor)


def split_off_calibration(dataset: Dataset, seed: int = 0) -> tuple[Dataset, Dataset]:
    """What is measured, and the random fifth that the centers are fitted to."""
    order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(seed)).tolist()
    size = len(order) // CALIBRATION_SHARE
    if not size:
        raise ValueError(f"a dataset of {len(order)} pairs is too small to calibrate with a part of it.")
    return dataset.select(sorted(order[size:])), dataset.select(sorted(order[:size]))


def inverse_temperature_of(model: torch.nn.Module) -> float:
    """t = exp(logit_scale) of a model, or CLIP's largest where there is none."""
    scale = getattr(model, "logit_scale", None)
    return DEFAULT_INVERSE_TEMPERATURE if scale is None else scale.detach().float().exp().item()


def with_interval(metrics: dict[str, float], name: str) -> str:
    """A figure with its interval, "0.52 [0.50, 0.54]"; a dash where there is none."""
    if name not in metrics:
        return "-"
    value, low, high = (metrics[name + end] for end in ("", "_low", "_high"))
    if isinstance(low, int):
        return f"{value} [{low}, {high}]"
    value, low, high = (round(number, 3) + 0.0 for number in (value, low, high))  # no -0.000
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"


def _first_caption(value: str | Sequence[str | None] | None) -> str | None:
    texts = [value] if isinstance(value, str) else value or []
    return next((text for text in texts if text and text.strip()), None)
