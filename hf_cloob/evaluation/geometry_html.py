# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The geometry of one or several models as a page of its own: picture, all figures with intervals, their meaning."""

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory

from .geometry_page import geometry_page
from .geometry_report import CENTERED, GeometryReport, with_interval

# The side "image" stands for both.
MEANINGS = {
    "modality_gap": "Distance of the center of the images from that of the texts. 0: one; on few pairs never quite.",
    "linear_separability": "Accuracy of a logistic regression that tells images from texts of unseen pairs. "
    "1: disjoint, 0.5: not to be told apart.",
    "relative_modality_gap": "Distance of matched pairs as a share of it and of the distances within the modalities. "
    "0: pairs coincide, 0.5: as far apart as any two images or texts.",
    "matched_cosine": "Mean cosine of an image and its caption.",
    "mismatched_cosine": "Mean cosine of an image and another one's caption.",
    "alignment": "Mean squared distance of an image and its caption.",
    "image_uniformity": "Log of the mean Gaussian potential among images; 0: one point, −4: spread over the sphere.",
    "cross_modal_uniformity": "The same between images and the captions of others.",
    "image_to_text_hubness": "Skewness of how often a text is among the ten nearest of an image. "
    "Large: a few texts are near everything.",
    "image_to_text_recall@1": "Share of images whose caption is the nearest of all (first captions only).",
    "image_effective_rank": "How many directions of equal variance would be as spread out as the images.",
    "image_eigenvalues_90": "How many eigenvalues of the covariance make up 90 % of the variance.",
}
STYLE = """
body { font: 15px/1.5 "DejaVu Sans", sans-serif; color: #1f2328; max-width: 1300px; margin: 2em auto; padding: 0 1em }
img { max-width: 100% } table { border-collapse: collapse; margin: 1.5em 0 }
th, td { padding: .25em .9em; border-bottom: 1px solid #eceff3; text-align: right; font-variant-numeric: tabular-nums }
th:first-child, td:first-child { text-align: left } .centered { color: #6b7280 } .note { color: #6b7280 }
"""


def geometry_html(reports: Sequence[GeometryReport], path: str | Path, title: str = "Geometry") -> Path:
    """Writes `geometry_page`'s picture and a table of all figures, in one file without anything beside it.

    Args:
        reports: of `geometry_report`, on the same pairs.
        path: the HTML file to write; its folder is created.
        title: headline.

    Returns:
        The path written.

    Raises:
        ValueError: no report.
        ImportError: matplotlib is missing.
    """
    path = Path(path)
    with TemporaryDirectory() as folder:
        png = geometry_page(reports, Path(folder) / "page.png", title).read_bytes()
    picture = base64.b64encode(png).decode("ascii")
    meanings = (f"<dt><code>{escape(name)}</code></dt><dd>{escape(text)}</dd>" for name, text in MEANINGS.items())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        "<!DOCTYPE html>\n<html lang='en'><meta charset='utf-8'>"
        f"<title>{escape(title)}</title><style>{STYLE}</style>\n"
        f"<img alt='{escape(title, quote=True)}' src='data:image/png;base64,{picture}'>\n{_table(reports)}\n"
        "<p class='note'>95 % intervals from resampled pairs, not adjusted for the number of figures. "
        "Centered: each modality's mean over other pairs taken away, normalized again; "
        "where those are few, a small gap remains or arises.</p>\n"
        f"<dl>{''.join(meanings)}</dl></html>\n",
        encoding="utf-8",
    )
    return path


def _table(reports: Sequence[GeometryReport]) -> str:
    metrics = reports[0].metrics
    names = [name for name in metrics if f"{name}_low" in metrics and not name.startswith(CENTERED)]
    heads = "".join(f"<th colspan='2'>{escape(report.name)}</th>" for report in reports)
    states = "<th>as trained</th><th class='centered'>centered</th>" * len(reports)
    rows = []
    for name in names:
        cells = "".join(
            f"<td>{with_interval(report.metrics, name)}</td>"
            f"<td class='centered'>{with_interval(report.metrics, CENTERED + name)}</td>"
            for report in reports
        )
        rows.append(f"<tr><td><code>{escape(name)}</code></td>{cells}</tr>")
    return f"<table><tr><th></th>{heads}</tr><tr><th></th>{states}</tr>\n" + "\n".join(rows) + "</table>"
