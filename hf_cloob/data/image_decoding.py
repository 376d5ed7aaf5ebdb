# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""An RGB picture of whatever the web calls one: odd modes are repaired, damage is told apart by cause."""

import io
import warnings
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

from .bad_samples import BadSample
from .remote_files import open_remote

# A picture of a few kilobytes can unpack to gigabytes. PIL itself warns from here on and refuses twice as much.
MAX_PIXELS = 89_478_485
# Resized to a shortest side of 224, a strip of 1 x 10,000 pixels would take a gigabyte.
MAX_ASPECT_RATIO = 100
_ORIENTATION = 0x0112
_SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N", "I")


def decode_image(source: bytes | str | Path | None, min_side: int | None = None) -> Image.Image:
    """Decode a picture, repair what can be repaired, and refuse the rest.

    Repaired: CMYK and other color spaces, palettes, transparency (on white), 16 bits (scaled to 8), EXIF orientation
    (applied), animations (their first frame).

    Args:
        source: the encoded picture, or the path of its file.
        min_side: decode JPEGs at an eighth, a quarter or half of their size where both sides stay at least this long:
            several times as fast. The pixels differ slightly from those of a full decoding and resizing.

    Returns:
        an RGB picture.

    Raises:
        BadSample: missing image, zero-byte image, not an image, truncated image, decompression bomb, extreme aspect
            ratio, or damaged image.
    """
    if source is None:
        raise BadSample("missing image")
    if not isinstance(source, bytes):
        source = _read(str(source))
    if not source:
        raise BadSample("zero-byte image")
    try:
        with warnings.catch_warnings():
            # PIL warns of bombs and of odd metadata; what matters is checked or raised below.
            warnings.simplefilter("ignore")
            return _decode(source, min_side)
    except BadSample:
        raise
    except Image.DecompressionBombError:
        raise BadSample("decompression bomb") from None
    except UnidentifiedImageError:
        raise BadSample("not an image") from None
    except Exception as error:  # decoders raise nearly anything on damaged files, and none may end a run
        raise BadSample("truncated image" if "truncated" in str(error).lower() else "damaged image") from None


def on_white(image: Image.Image) -> Image.Image:
    """An RGB picture of any picture; transparent parts become white, as the emoji are drawn."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def _read(path: str) -> bytes:
    try:
        if "://" not in path:
            return Path(path).read_bytes()
        with open_remote(path) as file:
            return file.read()
    except (OSError, ValueError):  # a null byte in a path is a ValueError
        raise BadSample("missing image") from None


def _decode(source: bytes, min_side: int | None) -> Image.Image:
    image = Image.open(io.BytesIO(source))
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise BadSample("decompression bomb")
    if max(width, height) > MAX_ASPECT_RATIO * min(width, height):
        raise BadSample("extreme aspect ratio")
    if min_side is not None:
        image.draft(None, (min_side, min_side))
    image.load()
    if image.getexif().get(_ORIENTATION, 1) != 1:
        image = ImageOps.exif_transpose(image)
    if image.mode in _SIXTEEN_BIT:
        image = _eight_bit(image)
    return on_white(image)


def _eight_bit(image: Image.Image) -> Image.Image:
    """PIL's own conversion clips 16 bits at 255, which leaves a white picture."""
    import numpy as np

    values = np.asarray(image)
    scaled = values >> 8 if values.dtype.itemsize == 2 else np.clip(values, 0, 65535) >> 8
    return Image.fromarray(scaled.astype(np.uint8))
