# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Suite geometry of evaluate.py: where images and texts of one or several checkpoints lie, on the same pairs."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from evaluation_data import OWN_CAPTIONS, load_captioned

# Of the emoji, what is measured and what the centers are fitted to: two halves of a style that was never trained on.
EMOJI_MEASURED, EMOJI_CALIBRATION = "test_seen", "selection"


def load_geometry_pairs(args) -> tuple:
    """The pairs to measure and those to calibrate with: columns image and captions."""
    from hf_cloob.data.emoji import load_emoji
    from hf_cloob.evaluation.geometry_report import split_off_calibration

    if not args.dataset_name:
        emoji = load_emoji()
        return emoji[EMOJI_MEASURED], emoji[EMOJI_CALIBRATION]
    return split_off_calibration(load_captioned(replace(args, suite=OWN_CAPTIONS)))


def compare_geometry(args, encoders: Iterable[tuple], data: tuple, is_main: bool) -> tuple[dict, dict]:
    """The geometry of each checkpoint, one model in memory at a time; several checkpoints' figures carry their names.

    Args:
        args: flags.
        encoders: an encoder and a processor for each checkpoint.
        data: the pairs to measure and those to calibrate with.
        is_main: False only embeds.
    """
    from hf_cloob.evaluation.geometry_html import geometry_html
    from hf_cloob.evaluation.geometry_page import geometry_page
    from hf_cloob.evaluation.geometry_report import encode_pairs, inverse_temperature_of, measure_geometry

    reports = []
    for name, (encoder, processor) in zip(short_names(args.checkpoint), encoders, strict=True):
        measured, calibration = (encode_pairs(encoder, processor, pairs, "image", "captions") for pairs in data)
        if is_main:
            scale = inverse_temperature_of(encoder.model)
            reports.append(measure_geometry(name, *measured, *calibration, scale, show_progress=True))
    if not is_main:
        return {}, {}
    print(*reports, sep="\n\n")
    title = f"Geometry: {Path(args.dataset_name).name}" if args.dataset_name else "Geometry: emoji of Noto"
    pictures = {"geometry.png": geometry_page, "geometry.html": geometry_html}
    return joined_metrics(reports), {name: partial(draw, reports, title=title) for name, draw in pictures.items()}


def joined_metrics(reports: Sequence) -> dict:
    """One checkpoint's figures as they are, several checkpoints' with their names in front."""
    if len(reports) == 1:
        return reports[0].metrics
    return {f"{report.name}_{name}": value for report in reports for name, value in report.metrics.items()}


def short_names(checkpoints: Sequence[str]) -> list[str]:
    """The checkpoints' last names, with as many of the folders before as it takes to tell them apart."""
    parts = [Path(checkpoint).parts for checkpoint in checkpoints]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["_".join(part.strip("/") for part in path[-length:]) for path in parts]
        if max(Counter(names).values()) == 1:
            break
    return names
