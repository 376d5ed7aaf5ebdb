# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The geometry of one or several models on one picture: where both modalities lie, and what the gap is worth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .contact_sheet import fitted_text
from .geometry_report import CENTERED, GeometryReport
from .geometry_view import NUM_BINS, PlaneView
from .plot_style import FAINT, INK, MUTED, SERIES, new_figure, percent, plot_style, save_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes

IMAGES, TEXTS = SERIES[0], SERIES[1]
MODELS = (SERIES[3], SERIES[2], SERIES[5], SERIES[4], "#0e7490", "#a16207")
# The page's measures, in inches.
WIDTH, HEADER, ROW, CURVES, FOOTER = 13.0, 0.95, 2.75, 3.3, 0.35
LEFT, FIGURES, PANEL = 0.35, 3.05, 2.0
LINKED_PAIRS = 25
SMALLEST_RECALL_SPAN = 10
EDGES = [2 * number / NUM_BINS - 1 for number in range(NUM_BINS + 1)]
# What is seen of each plane: a title and what its axes are.
PLANES = {
    "principal": ("Principal axes", "PCA"),
    "gap": ("Along the gap", "→ gap, ↑ PCA"),
    "centered_gap": ("Along the gap, centered", "→ gap, ↑ PCA"),
}
# What the picture tells in numbers: a figure's name, its words, and whether it is a share.
HEADLINES = (
    ("modality_gap", "distance of the centers", False),
    ("linear_separability", "images told from texts", True),
    ("relative_modality_gap", "relative gap", False),
    ("matched_cosine", "cosine, matched", False),
    ("mismatched_cosine", "cosine, mismatched", False),
    ("image_to_text_recall@1", "image → text recall@1", True),
    ("text_to_image_recall@1", "text → image recall@1", True),
    ("image_effective_rank", "effective rank, images", False),
    ("text_effective_rank", "effective rank, texts", False),
    ("image_to_text_hubness", "hubness of the texts", False),
)


def geometry_page(reports: Sequence[GeometryReport], path: str | Path, title: str = "Geometry") -> Path:
    """Draws a row for each model, and below what compares them.

    A row: figures, both modalities before and after centering, cosines. Below: eigenvalue spectra, and recall and loss
    while the modalities are moved along the gap.

    Args:
        reports: of `geometry_report`, one to six read well; on the same pairs.
        path: the PNG to write; its folder is created.
        title: headline.

    Returns:
        The path written.

    Raises:
        ValueError: no report.
        ImportError: matplotlib is missing.
    """
    if not reports:
        raise ValueError("a page needs at least one report.")
    height = HEADER + ROW * len(reports) + CURVES + FOOTER
    with plot_style():
        figure = new_figure(WIDTH, height)

        def panel(left: float, top: float, width: float, tall: float) -> Axes:
            return figure.add_axes((left / WIDTH, 1 - (top + tall) / height, width / WIDTH, tall / height))

        figure.text(LEFT / WIDTH, 1 - 0.35 / height, title, fontsize=14, fontweight="bold", parse_math=False)
        figure.text(LEFT / WIDTH, 1 - 0.6 / height, _subtitle(reports), color=MUTED, parse_math=False)
        limit = 1.06 * max(abs(x) for report in reports for view in report.planes.values() for x in _coordinates(view))
        span = _cosine_span(reports)
        for row, report in enumerate(reports):
            top, color = HEADER + ROW * row, MODELS[row % len(MODELS)]
            _draw_figures(panel(LEFT, top, FIGURES - 0.35, ROW - 0.35), report, color)
            left = LEFT + FIGURES
            for number, (name, (title, axes)) in enumerate(PLANES.items()):
                if name in report.planes:
                    view, title, legend = report.planes[name], "" if row else title, row == number == 0
                    _draw_points(panel(left, top + 0.2, PANEL, PANEL), view, limit, title, axes, legend)
                left += PANEL + 0.15
            left += 0.45
            _draw_cosines(panel(left, top + 0.2, WIDTH - left - LEFT, PANEL), report.cosines, span, row == 0)
        top, wide = HEADER + ROW * len(reports) + 0.45, (WIDTH - 2 * LEFT - 3 * 0.65) / 3
        spectra, recalls, losses = (
            panel(LEFT + 0.65 + number * (wide + 0.65), top, wide, CURVES - 1.0) for number in range(3)
        )
        _draw_spectra(spectra, reports)
        _draw_curve(recalls, reports, "recalls", "Recall@1 as the modalities are moved")
        _draw_curve(losses, reports, "losses", "InfoNCE as the modalities are moved")
        note = (
            "Moved: along the gap, normalized again, at each model's own temperature. Dot: the model as trained; "
            "at 0 its centers meet, left of 0 they have crossed."
        )
        figure.text(0.5, 0.12 / height, note, ha="center", fontsize=8, color=MUTED)
        return save_png(figure, path)


def _subtitle(reports: Sequence[GeometryReport]) -> str:
    metrics = reports[0].metrics
    return (
        f"{metrics['num_pairs']:,} pairs of image and caption; centers fitted to {metrics['num_calibration_pairs']:,} "
        "other pairs.  Figures: as trained → centered."
    )


def _coordinates(view: PlaneView):
    return (x for points in (view.image_points, view.text_points) for point in points for x in point)


def _draw_figures(panel: Axes, report: GeometryReport, color: str) -> None:
    panel.axis("off")
    panel.set(xlim=(0, 1), ylim=(len(HEADLINES) + 1.4, -0.4))
    fitted_text(panel, 0, 0, report.name, FIGURES - 0.35, fontsize=12, fontweight="bold", color=color)
    for line, (name, words, is_share) in enumerate(HEADLINES):
        y = line + 1.4
        panel.text(0, y, words, va="center", color=MUTED)
        before, after = (_number(report.metrics.get(prefix + name), is_share) for prefix in ("", CENTERED))
        panel.text(0.76, y, before, va="center", ha="right")
        panel.text(0.8, y, "→", va="center", ha="center", color=FAINT)
        panel.text(1, y, after, va="center", ha="right", color=MUTED)


def _number(value: float | None, is_share: bool) -> str:
    if value is None:
        return "–"
    if is_share:
        return percent(value)
    text = f"{value:.0f}" if abs(value) >= 10 else f"{round(value, 2) + 0.0:.2f}"  # no -0.00
    return text.replace("-", "−")


def _cosine_span(reports: Sequence[GeometryReport]) -> tuple[float, float]:
    """The cosines that any model has."""
    shares = (shares for report in reports for shares in report.cosines.values())
    occupied = [EDGES[number] for shares in shares for number, share in enumerate(shares) if share > 1e-4]
    return min(occupied) - 0.05, max(occupied) + 0.07


def _draw_points(panel: Axes, view: PlaneView, limit: float, title: str, axes: str, legend: bool) -> None:
    pairs = zip(view.image_points[:LINKED_PAIRS], view.text_points[:LINKED_PAIRS], strict=True)
    for (x, y), (to_x, to_y) in pairs:
        panel.plot([x, to_x], [y, to_y], color=FAINT, lw=0.7, zorder=1)
    for points, color, words in ((view.image_points, IMAGES, "images"), (view.text_points, TEXTS, "texts")):
        panel.scatter(*zip(*points, strict=True), s=9, color=color, alpha=0.55, lw=0, label=words, zorder=2)
        center = [sum(axis) / len(points) for axis in zip(*points, strict=True)]
        panel.plot(*center, "o", ms=9, color=color, mec="white", mew=1.4, zorder=3)
    panel.set(xlim=(-limit, limit), ylim=(-limit, limit), xticks=[], yticks=[])
    panel.set_title(title)
    panel.set_xlabel(f"{axes} · {percent(view.explained)} of the variance", fontsize=7.5, labelpad=3)
    for spine in panel.spines.values():
        spine.set_visible(True)
    if legend:
        panel.legend(loc="upper right", fontsize=8, handletextpad=0.1, borderaxespad=0.1, markerscale=1.6)


def _draw_cosines(panel: Axes, cosines: dict[str, list[float]], span: tuple[float, float], first: bool) -> None:
    for name, color in (("mismatched", MUTED), ("matched", SERIES[2])):
        shares = [100 * share for share in cosines[name]]
        panel.stairs(shares, EDGES, color=color, fill=True, alpha=0.35, label=name)
        if CENTERED + name in cosines:
            shares = [100 * share for share in cosines[CENTERED + name]]
            panel.stairs(shares, EDGES, color=color, lw=1.2, label="centered")
    highest = 100 * max(map(max, cosines.values()))
    panel.set(xlim=span, ylim=(0, highest * (1.35 if first else 1.08)))
    panel.set_title("Cosines of images and texts" if first else "")
    panel.yaxis.set_major_formatter("{x:g} %")
    panel.grid(axis="x", visible=False)
    if first:
        panel.legend(fontsize=8, borderaxespad=0.1, ncols=2, loc="upper left", columnspacing=1.2)


def _draw_spectra(panel: Axes, reports: Sequence[GeometryReport]) -> None:
    for report, color in zip(reports, MODELS * len(reports), strict=False):
        for side, dashes in (("image", "-"), ("text", (0, (4, 2)))):
            shares = getattr(report, f"{side}_spectrum")
            # Below, it is rounding.
            kept = [100 * share for share in shares if share > 1e-7]
            panel.plot(range(1, len(kept) + 1), kept, color=color, ls=dashes, lw=1.5)
            count = int(report.metrics[f"{side}_eigenvalues_99"])
            if 0 < count <= len(kept):
                panel.plot(count, kept[count - 1], "o", color=color, ms=5, mec="white", mew=0.8, zorder=3)
        panel.plot([], [], color=color, lw=2.5, label=report.name)
    panel.plot([], [], color=INK, lw=1.2, label="images")
    panel.plot([], [], color=INK, lw=1.2, ls=(0, (4, 2)), label="texts")
    panel.plot([], [], "o", color=INK, ms=5, mec="white", label="99 % of the variance up to here")
    panel.set_yscale("log")
    panel.yaxis.set_major_formatter("{x:g} %")
    panel.set_title("Eigenvalues of the covariances")
    panel.set_xlabel("eigenvalue, largest first")
    panel.legend(fontsize=8, loc="lower left")


def _draw_curve(panel: Axes, reports: Sequence[GeometryReport], values: str, title: str) -> None:
    for report, color in zip(reports, MODELS * len(reports), strict=False):
        curve = report.curve
        figures = [100 * value if values == "recalls" else value for value in getattr(curve, values)]
        panel.plot(curve.distances, figures, color=color, lw=1.8, label=report.name)
        own = min(range(len(curve.shifts)), key=lambda number: abs(curve.shifts[number]))
        panel.plot(curve.distances[own], figures[own], "o", color=color, ms=8, mec="white", mew=1.2, zorder=3)
    panel.axvline(0, color=INK, lw=0.8, zorder=1)
    if values == "recalls":
        panel.yaxis.set_major_formatter("{x:g} %")
        _at_least(panel, SMALLEST_RECALL_SPAN)
    panel.set_title(title)
    panel.set_xlabel("signed distance of the centers")


def _at_least(panel: Axes, span: float) -> None:
    """Widens an axis that would magnify noise."""
    low, high = panel.get_ylim()
    missing = max(0.0, span - (high - low)) / 2
    panel.set_ylim(low - missing, high + missing)
