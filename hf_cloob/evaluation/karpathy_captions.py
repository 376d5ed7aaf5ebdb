# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Flickr30k and COCO captions on Karpathy's split: one JSON file of captions beside the folder of images."""

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import datasets

logger = logging.getLogger(__name__)


def read_karpathy(
    annotation_file: str | Path, image_folder: str | Path, split: str = "test", captions_per_image: int | None = 5
) -> "datasets.Dataset":
    """Reads one of Karpathy's splits: images with several captions each.

    Args:
        annotation_file: dataset_flickr30k.json or dataset_coco.json: `images`, each with `filename`, `split`,
            `sentences[].raw` and, for COCO, `filepath`.
        image_folder: holds the files, in the folder `filepath` or without it.
        split: "train", "val", "test"; COCO also has "restval".
        captions_per_image: the first so many of each image; None: all. Five make COCO's test split 25,000 captions
            of 5,000 images; ten of its captions are sixth or seventh ones.

    Returns:
        Columns image and captions (list of strings), in the file's order.

    Raises:
        ValueError: a file that does not read, an unknown split, an image that is not there or has no caption.

    Source: Karpathy & Fei-Fei, Deep Visual-Semantic Alignments for Generating Image Descriptions (arXiv 1412.2306).
    """
    import datasets

    if captions_per_image is not None and captions_per_image < 1:
        raise ValueError(f"captions_per_image is {captions_per_image}; give at least 1, or None for all.")
    records = _records(annotation_file)
    chosen = [record for record in records if record.get("split") == split]
    if not chosen:
        splits = sorted({str(record.get("split")) for record in records})
        raise ValueError(f"{annotation_file} has no split {split!r}; its splits are {splits}.")
    files = [_image_file(Path(image_folder), record) for record in chosen]
    missing = [record["filename"] for record, file in zip(chosen, files, strict=True) if file is None]
    if missing:
        raise ValueError(
            f"{len(missing)} of {len(chosen)} images of split {split!r} are not in {image_folder}, the first is "
            f"{missing[0]}. A part of a gallery would give too high a recall."
        )
    captions = [_captions(record, captions_per_image) for record in chosen]
    if [] in captions:
        raise ValueError(f"{chosen[captions.index([])]['filename']} has no caption in {annotation_file}.")
    features = datasets.Features({"image": datasets.Image(), "captions": datasets.List(datasets.Value("string"))})
    return datasets.Dataset.from_dict({"image": list(map(str, files)), "captions": captions}, features=features)


def _records(annotation_file: str | Path) -> list[dict[str, Any]]:
    try:
        records = json.loads(Path(annotation_file).read_text(encoding="utf-8"))["images"]
        complete = all("filename" in record and "sentences" in record for record in records)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{annotation_file} does not read as Karpathy's JSON: {error!r}") from error
    if not complete:
        raise ValueError(f"An image of {annotation_file} has no filename or no sentences.")
    return records


def _image_file(folder: Path, record: dict[str, Any]) -> Path | None:
    candidates = [folder / record.get("filepath", "") / record["filename"], folder / record["filename"]]
    return next((path for path in candidates if path.is_file()), None)


def _captions(record: dict[str, Any], limit: int | None) -> list[str]:
    # White space alone is changed: a blank caption would be a query that no image answers.
    texts = [" ".join(sentence["raw"].split()) for sentence in record["sentences"]]
    return [text for text in texts if text][:limit]
