# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Corpora that are rendered once: where a built one lies, how it comes there whole, and what its build reported."""

import hashlib
import io
import json
import logging
import os
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

logger = logging.getLogger(__name__)

REPORT_NAME = "build_report.json"


def corpus_folder(cache_dir: Path, name: str, image_size: int, ingredients: Any) -> Path:
    """The folder of a corpus rendered at `image_size` pixels; other ingredients make another folder.

    Args:
        ingredients: whatever the content follows from, JSON-serializable: pinned packages, lists, a version.

    Raises:
        ValueError: `image_size` is below 8.
    """
    if image_size < 8:
        raise ValueError(f"image_size must be at least 8 pixels, got {image_size}")
    fingerprint = hashlib.sha256(json.dumps(ingredients).encode()).hexdigest()[:12]
    return cache_dir / "datasets" / f"{name}-{image_size}px-{fingerprint}"


def build_once(folder: Path, build: Callable[[Path], None]) -> None:
    """Let `build` fill `folder` unless it is there: built aside and renamed, so what looks finished is finished."""
    if folder.exists():
        return
    aside = folder.parent / f".building-{uuid.uuid4().hex}"
    aside.mkdir(parents=True)
    try:
        build(aside)
        try:
            os.replace(aside, folder)
        except OSError:
            # Another process finished the same build first.
            if not folder.exists():
                raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def write_report(folder: Path, report: dict[str, Any]) -> None:
    """Keep what a build left out beside its dataset; `report["unreadable"]` lists the drawings that failed."""
    (folder / REPORT_NAME).write_text(json.dumps(report, indent=1), encoding="utf-8")


def read_report(folder: Path, corpus: str) -> dict[str, Any]:
    """The report of a build; warns of drawings of this corpus that could not be read, whenever it is loaded."""
    report = json.loads((folder / REPORT_NAME).read_text(encoding="utf-8"))
    if report["unreadable"]:
        logger.warning("%d %s drawings could not be read: %s", len(report["unreadable"]), corpus, report["unreadable"])
    return report


def png_cell(image: Image.Image) -> dict[str, Any]:
    """A picture as a cell of an `Image` column, its PNG inside the dataset."""
    png = io.BytesIO()
    image.save(png, format="PNG")
    return {"bytes": png.getvalue(), "path": None}
