# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""One look for every picture of the package, and how a figure is made and saved."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, MUTED, FAINT, RIGHT = "#1f2328", "#6b7280", "#cdd5de", "#2e8b57"
SERIES = ("#2563a8", "#d97706", "#2e8b57", "#9333a8", "#6b7280", "#b91c1c")
STYLE = {
    "font.family": "DejaVu Sans",  # ships with matplotlib: the same page on every machine
    "font.size": 9.0,
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": MUTED,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#eceff3",
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "legend.frameon": False,
    "legend.handlelength": 1.4,
    "lines.solid_capstyle": "round",
    "figure.dpi": 110.0,
    "savefig.dpi": 110.0,
}


def plot_style() -> Any:
    try:
        from matplotlib import rc_context
    except ImportError as error:
        raise ImportError("drawing needs matplotlib: pip install 'hf_cloob[plots]'") from error
    return rc_context(STYLE)


def new_figure(width: float, height: float) -> Figure:
    # Agg by hand, not pyplot: no window system, and a caller's backend and open figures stay as they are.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def save_png(figure: Figure, path: str | Path) -> Path:
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png")
    return path


def percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share < 0.1 else f"{100 * share:.0f} %"
