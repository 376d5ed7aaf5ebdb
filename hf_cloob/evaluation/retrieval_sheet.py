# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Retrieval both ways on one page: the texts that pictures find, and the pictures that texts find."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from .contact_sheet import fitted_text
from .plot_style import FAINT, INK, MUTED, RIGHT, new_figure, plot_style, save_png
from .ranking import check_embeds, check_indices, check_same_dim

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from PIL.Image import Image

MAX_QUERIES = 24
# The page's measures, in inches.
MARGIN, HEADER, SECTION, FOOTER, GUTTER = 0.35, 0.85, 0.4, 0.4, 0.45
PICTURE, GAP, ROW = 1.0, 0.14, 0.2
TEXT_WIDTH, QUERY_WIDTH, SCORE_WIDTH = 2.6, 2.0, 0.4
LETTER = 0.09  # width of a letter of a query


def retrieval_sheet(
    images: Sequence[Image],
    texts: Sequence[str],
    image_embeds: torch.Tensor,
    text_embeds: torch.Tensor,
    text_to_image: torch.Tensor,
    path: str | Path,
    title: str,
    image_queries: Sequence[int],
    text_queries: Sequence[int],
    k: int = 5,
) -> Path:
    """Draws what some pictures and some texts find, best first, the right ones in green.

    Args:
        images: num_images PIL images; only those on the page are read.
        texts: num_texts texts.
        image_embeds: (num_images, projection_dim), rows L2-normalized.
        text_embeds: (num_texts, projection_dim), rows L2-normalized.
        text_to_image: (num_texts,) int64, the image of each text.
        path: the PNG to write; its folder is created.
        title: headline.
        image_queries: rows of `images` to look texts up for, 1 to 24.
        text_queries: rows of `texts` to look pictures up for, 1 to 24.
        k: how many answers a query gets; at most as many as there are.

    Returns:
        The path written.

    Raises:
        ValueError: embeddings, texts or queries that do not fit each other, k below 1, too many queries.
        ImportError: matplotlib is missing.
    """
    image_embeds, text_embeds = check_embeds("image_embeds", image_embeds), check_embeds("text_embeds", text_embeds)
    check_same_dim(image_embeds=image_embeds, text_embeds=text_embeds)
    owners = check_indices("text_to_image", text_to_image, len(text_embeds), len(image_embeds), "the images").tolist()
    if len(images) != len(image_embeds) or len(texts) != len(text_embeds):
        raise ValueError(
            f"got {len(images)} images for {len(image_embeds)} image_embeds and {len(texts)} texts for "
            f"{len(text_embeds)} text_embeds."
        )
    for name, queries in (("image_queries", image_queries), ("text_queries", text_queries)):
        if not 1 <= len(queries) <= MAX_QUERIES:
            raise ValueError(f"{name} must name 1 to {MAX_QUERIES} rows; got {len(queries)}.")
    if k < 1:
        raise ValueError(f"k must be at least 1; got {k}.")
    image_queries = check_indices("image_queries", image_queries, None, len(images), "the images").tolist()
    text_queries = check_indices("text_queries", text_queries, None, len(texts), "the texts").tolist()
    found_texts = _nearest(image_embeds[image_queries], text_embeds, k)
    found_images = _nearest(text_embeds[text_queries], image_embeds, k)

    card_width = PICTURE + GAP + TEXT_WIDTH + SCORE_WIDTH
    strip_width = QUERY_WIDTH + min(k, len(images)) * (PICTURE + GAP) - GAP
    card_height, strip_height = max(PICTURE, ROW * min(k, len(texts))) + 2 * GAP, PICTURE + GAP + 0.2
    columns = max(1, round((strip_width + GUTTER) / (card_width + GUTTER)))
    width = 2 * MARGIN + max(columns * (card_width + GUTTER) - GUTTER, strip_width)
    second = HEADER + SECTION + -(-len(image_queries) // columns) * card_height
    height = second + SECTION + len(text_queries) * strip_height + FOOTER
    with plot_style():
        figure = new_figure(width, height)
        page = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
        page.axis("off")
        page.text(MARGIN, 0.42, title, fontsize=14, fontweight="bold", va="center", parse_math=False)
        hits = [
            any(owners[text] == query for text, _ in row)
            for query, row in zip(image_queries, found_texts, strict=True)
        ]
        _section(page, HEADER, "Image to text", hits, k, f"{len(texts):,} texts")
        for index, (query, row) in enumerate(zip(image_queries, found_texts, strict=True)):
            left = MARGIN + index % columns * (card_width + GUTTER)
            top = HEADER + SECTION + index // columns * card_height
            _draw_picture(page, images[query], left, top, FAINT)
            answers = [(texts[text], score, owners[text] == query) for text, score in row]
            _draw_texts(page, answers, left + PICTURE + GAP, top)
        hits = [
            any(image == owners[query] for image, _ in row)
            for query, row in zip(text_queries, found_images, strict=True)
        ]
        _section(page, second, "Text to image", hits, k, f"{len(images):,} images")
        for index, (query, row) in enumerate(zip(text_queries, found_images, strict=True)):
            top = second + SECTION + index * strip_height
            answers = [(images[image], score, image == owners[query]) for image, score in row]
            _draw_strip(page, texts[query], answers, width - MARGIN, top)
        note = "Numbers: cosine. Green: the text or picture that belongs to the query."
        page.text(MARGIN, height - 0.2, note, fontsize=8, color=MUTED, va="center")
        return save_png(figure, path)


def _nearest(queries: torch.Tensor, gallery: torch.Tensor, k: int) -> list[list[tuple[int, float]]]:
    scores, rows = (queries @ gallery.to(queries).T).topk(min(k, len(gallery)), dim=1)
    return [list(zip(*pair, strict=True)) for pair in zip(rows.tolist(), scores.tolist(), strict=True)]


def _section(page: Axes, top: float, name: str, hits: list[bool], k: int, gallery: str) -> None:
    page.text(MARGIN, top + 0.08, name, fontsize=11, fontweight="bold", va="center")
    summary = f"right among the first {k} of {gallery} for {sum(hits)} of {len(hits)} queries"
    page.text(MARGIN + 1.25, top + 0.08, summary, color=MUTED, va="center")


def _draw_texts(page: Axes, answers: list[tuple[str, float, bool]], left: float, top: float) -> None:
    for rank, (text, score, right) in enumerate(answers):
        middle = top + ROW * (rank + 0.5)
        ink = {"color": RIGHT, "fontweight": "bold"} if right else {"color": INK}
        fitted_text(page, left, middle, text, TEXT_WIDTH - 0.08, **ink)
        color = RIGHT if right else MUTED
        page.text(left + TEXT_WIDTH + SCORE_WIDTH, middle, f"{score:.2f}", ha="right", va="center", color=color)


def _draw_strip(page: Axes, query: str, answers: list[tuple[Image, float, bool]], end: float, top: float) -> None:
    start = end - len(answers) * (PICTURE + GAP) + GAP
    lines = textwrap.wrap(query, int((start - MARGIN - 0.2) / LETTER), max_lines=3, placeholder=" …") or [""]
    for row, line in enumerate(lines):
        middle = top + PICTURE / 2 + ROW * (row - (len(lines) - 1) / 2)
        fitted_text(page, MARGIN, middle, line, start - MARGIN - 0.15, fontsize=10, fontweight="bold")
    for rank, (image, score, right) in enumerate(answers):
        left = start + rank * (PICTURE + GAP)
        _draw_picture(page, image, left, top, RIGHT if right else FAINT)
        color = RIGHT if right else MUTED
        page.text(left + PICTURE / 2, top + PICTURE + 0.1, f"{score:.2f}", ha="center", va="center", color=color)


def _draw_picture(page: Axes, image: Image, left: float, top: float, frame: str) -> None:
    import numpy as np
    from matplotlib.patches import Rectangle

    scale = (PICTURE - 0.1) / max(image.size)
    width, height = image.width * scale, image.height * scale
    x, y = left + (PICTURE - width) / 2, top + (PICTURE - height) / 2
    extent = (x, x + width, y + height, y)
    page.imshow(np.asarray(image.convert("RGB")), extent=extent, aspect="auto", interpolation="bicubic", zorder=2)
    line = 2.4 if frame == RIGHT else 0.8
    page.add_patch(Rectangle((left, top), PICTURE, PICTURE, fill=False, edgecolor=frame, linewidth=line, zorder=3))
