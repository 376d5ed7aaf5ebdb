# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The page of the geometry as HTML: the picture inside, every figure and interval in the table, names escaped."""

import base64
import io
import re
from html.parser import HTMLParser

import torch
from PIL import Image
from torch.nn.functional import normalize

from hf_cloob.evaluation.geometry_html import MEANINGS, geometry_html
from hf_cloob.evaluation.geometry_report import CENTERED, measure_geometry, with_interval


class Cells(HTMLParser):
    def __init__(self, text: str):
        super().__init__()
        self.rows: list[list[str]] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th") and self.rows:
            self.rows[-1].append("")

    def handle_data(self, data):
        if self.rows and self.rows[-1] and data.strip():
            self.rows[-1][-1] += data


def unit_rows(seed: int) -> torch.Tensor:
    return normalize(torch.randn(40, 6, generator=torch.Generator().manual_seed(seed)), dim=-1)


def test_the_page_holds_the_picture_and_every_figure_of_every_model(tmp_path):
    reports = [
        measure_geometry(name, *(unit_rows(seed + number) for number in range(4)), num_resamples=20)
        for name, seed in (("first", 0), ("<second>", 9))
    ]
    text = geometry_html(reports, tmp_path / "new" / "page.html", 'A "title" & more').read_text(encoding="utf-8")
    picture = re.search(r"src='data:image/png;base64,([^']+)'", text).group(1)
    with Image.open(io.BytesIO(base64.b64decode(picture))) as page:
        assert page.format == "PNG" and page.width > 1000
    assert "<second>" not in text and 'alt=\'A "title"' not in text
    heads, states, *rows = Cells(text[text.index("<table>") : text.index("</table>")]).rows
    assert heads == ["", "first", "<second>"] and states[1:] == ["as trained", "centered"] * 2
    names = [name.removesuffix("_low") for name in reports[0].metrics if name.endswith("_low")]
    names = [name for name in names if not name.startswith(CENTERED)]
    expected = [
        [name, *(with_interval(report.metrics, prefix + name) for report in reports for prefix in ("", CENTERED))]
        for name in names
    ]
    assert rows == expected
    assert set(MEANINGS) <= set(names)
