# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The picture of the geometry: both modalities in their colors, a row a model, nothing lost on odd models."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import normalize

from hf_cloob.evaluation.geometry_page import CURVES, FOOTER, HEADER, ROW, geometry_page
from hf_cloob.evaluation.geometry_report import GeometryReport, measure_geometry

BLUE, ORANGE = (37, 99, 168), (217, 119, 6)
INCH = 110


def report(gap: float, name: str = "a model") -> GeometryReport:
    def pairs(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        generator = torch.Generator().manual_seed(seed)
        images, texts = normalize(0.1 * torch.randn(2, 60, 6, generator=generator) + torch.eye(6)[5], dim=-1)
        return normalize(images + gap * torch.eye(6)[0], dim=-1), normalize(texts - gap * torch.eye(6)[0], dim=-1)

    return measure_geometry(name, *pairs(0), *pairs(1), num_resamples=20)


def where(path, color, left: float, right: float) -> np.ndarray:
    """Columns of the pixels of a color (those of points: nearly that, on white) in the first model's row."""
    page = np.asarray(Image.open(path).convert("RGB")).astype(int)
    rows = slice(int((HEADER + 0.9) * INCH), int((HEADER + ROW - 0.6) * INCH))
    part = page[rows, int(left * INCH) : int(right * INCH)]
    return np.nonzero(np.abs(part - color).max(axis=-1) < 12)[1]


def test_a_page_has_a_row_for_each_model(tmp_path):
    for number in (1, 3):
        path = geometry_page([report(0.3, f"model {index}") for index in range(number)], tmp_path / "new" / "page.png")
        with Image.open(path) as page:
            height = (HEADER + ROW * number + CURVES + FOOTER) * INCH
            assert page.width == 13 * INCH and page.height == pytest.approx(height, abs=1)


def test_a_gap_keeps_the_colors_apart_and_centering_brings_them_together(tmp_path):
    path = geometry_page([report(0.6)], tmp_path / "page.png", "Apart")
    # The second and the third plane: along the gap, as trained and centered.
    apart = [where(path, color, 5.6, 7.5) for color in (BLUE, ORANGE)]
    assert len(apart[0]) > 50 and len(apart[1]) > 50
    assert apart[0].max() < apart[1].min()
    together = [where(path, color, 7.75, 9.6) for color in (BLUE, ORANGE)]
    assert abs(together[0].mean() - together[1].mean()) < 15


def test_more_models_than_colors_a_long_name_and_one_without_a_centered_view(tmp_path):
    odd = report(0.1, "a name of a model that is much too long for its column of the page")
    metrics = {name: value for name, value in odd.metrics.items() if not name.startswith("centered_")}
    planes = {name: view for name, view in odd.planes.items() if name != "centered_gap"}
    cosines = {name: shares for name, shares in odd.cosines.items() if not name.startswith("centered_")}
    odd = replace(odd, metrics=metrics, planes=planes, cosines=cosines, image_spectrum=[0.0] * 6)
    others = [report(0.1, f"$model_{number}$") for number in range(7)]
    assert geometry_page([odd, *others], tmp_path / "page.png", "$x_1$ & more").is_file()


def test_a_page_of_nothing_is_refused(tmp_path):
    with pytest.raises(ValueError, match="at least one report"):
        geometry_page([], tmp_path / "page.png")
