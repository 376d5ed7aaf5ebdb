# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Odd pictures are repaired to what one sees, damaged ones told apart."""

import io
import random

import numpy as np
import pytest
from dirty_corpus import BROKEN_IMAGES, REPAIRED_IMAGES, encode, picture
from PIL import Image, ImageOps

from hf_cloob.data.bad_samples import BadSample
from hf_cloob.data.image_decoding import decode_image, on_white


@pytest.mark.parametrize("kind", REPAIRED_IMAGES)
def test_odd_pictures_become_rgb(kind):
    _, make = REPAIRED_IMAGES[kind]
    image = decode_image(make(random.Random(0)))
    assert image.mode == "RGB"
    assert image.size == ((32, 40) if kind == "EXIF rotated" else (40, 32))
    assert np.asarray(image).std() > 0 or kind == "16-bit TIFF"


@pytest.mark.parametrize("kind", BROKEN_IMAGES)
def test_damaged_pictures_are_told_apart(kind):
    _, cause, make = BROKEN_IMAGES[kind]
    with pytest.raises(BadSample) as bad:
        decode_image(make(random.Random(0)))
    assert bad.value.cause == cause


def test_cmyk_keeps_its_colors():
    image = Image.new("RGB", (16, 16), (200, 30, 60))
    pixels = np.asarray(decode_image(encode(image.convert("CMYK"), quality=100))).reshape(-1, 3).mean(axis=0)
    assert np.abs(pixels - (200, 30, 60)).max() < 6


def test_sixteen_bits_are_scaled_and_not_clipped():
    ramp = np.linspace(0, 65535, 40, dtype=np.uint16)[None].repeat(8, axis=0)
    for form in ("PNG", "TIFF"):
        pixels = np.asarray(decode_image(encode(Image.fromarray(ramp), form)))[0, :, 0].astype(int)
        assert np.abs(pixels - np.linspace(0, 255, 40)).max() <= 1


def test_the_orientation_of_a_camera_is_applied():
    image = picture(random.Random(1))
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        encoded = encode(image, "PNG", exif=exif)
        expected = ImageOps.exif_transpose(Image.open(io.BytesIO(encoded)))
        assert np.array_equal(np.asarray(decode_image(encoded)), np.asarray(expected)), orientation


def test_an_animation_gives_its_first_frame():
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    encoded = encode(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=20)
    assert decode_image(encoded).getpixel((0, 0)) == (255, 0, 0)


def test_a_reduced_jpeg_is_smaller_and_shows_the_same():
    y, x = np.mgrid[0:400, 0:600] / 400
    image = Image.fromarray(np.stack([x * 170, y * 255, 255 - y * 255], axis=-1).astype(np.uint8))
    whole, reduced = decode_image(encode(image)), decode_image(encode(image), min_side=100)
    assert whole.size == (600, 400)
    assert reduced.size == (150, 100)
    difference = np.asarray(whole.resize((150, 100), Image.Resampling.BOX), int) - np.asarray(reduced, int)
    assert np.abs(difference).mean() < 3
    assert decode_image(encode(image, "PNG"), min_side=100).size == (600, 400)


def test_files_are_read_by_their_path_and_missing_ones_are_told(tmp_path):
    (tmp_path / "a.png").write_bytes(encode(picture(random.Random(0)), "PNG"))
    assert decode_image(str(tmp_path / "a.png")).size == (40, 32)
    for missing in (tmp_path / "b.png", str(tmp_path), "a\0b", None):
        with pytest.raises(BadSample) as bad:
            decode_image(missing)
        assert bad.value.cause == "missing image"


def test_transparent_pictures_get_a_white_ground():
    clear = Image.new("RGBA", (2, 1), (0, 0, 0, 0))
    clear.putpixel((1, 0), (255, 0, 0, 255))
    assert np.asarray(on_white(clear)).tolist() == [[[255, 255, 255], [255, 0, 0]]]
    assert on_white(Image.new("L", (1, 1), 7)).getpixel((0, 0)) == (7, 7, 7)
    palette = Image.new("P", (1, 1), 0)
    palette.info["transparency"] = 0
    assert on_white(palette).getpixel((0, 0)) == (255, 255, 255)
