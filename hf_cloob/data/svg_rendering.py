# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Drawings of Iconify's JSON collections as pictures on white."""

import io
from typing import Any

from PIL import Image


def iconify_svg(collection: dict[str, Any], name: str) -> str:
    """The SVG document of one icon of an Iconify collection (its `icons.json`).

    Args:
        collection: the parsed `icons.json`: `icons` (name -> body and own box), and the box shared by all.
        name: an icon's own name; aliases are not followed.

    Raises:
        KeyError: the collection has no such icon.
    """
    icon = collection["icons"][name]
    left, top, width, height = (
        icon.get(key, collection.get(key, default))
        for key, default in (("left", 0), ("top", 0), ("width", 16), ("height", 16))
    )
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{left} {top} {width} {height}">{icon["body"]}</svg>'
    )


def render_svg(svg: str, image_size: int) -> Image.Image:
    """Draw an SVG on a white square, its aspect kept and centered, as an RGB picture (image_size, image_size).

    Raises:
        ValueError: the SVG cannot be read.
        ImportError: resvg-py is not installed.
    """
    try:
        import resvg_py
    except ImportError as error:
        raise ImportError("Drawing SVGs needs resvg-py: pip install hf_cloob[emoji]") from error

    # System fonts would make the pictures depend on the machine. resvg keeps the aspect within width x height only
    # if the document itself has that size: a size given from outside would stretch the drawing.
    sized = svg.replace("<svg ", f'<svg width="{image_size}" height="{image_size}" ', 1)
    png = resvg_py.svg_to_bytes(svg_string=sized, background="#ffffff", skip_system_fonts=True)
    return Image.open(io.BytesIO(bytes(png))).convert("RGB")
