# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Images of a dataset's column, one at a time, with broken ones told apart."""

import io

import pytest
import torch
from datasets import Dataset, Features, Value
from datasets import Image as ImageFeature
from PIL import Image
from transformers import CLIPImageProcessor

from hf_cloob.evaluation.image_loading import DatasetImages, PreparedImages, collate_prepared


def encoded(color) -> dict:
    data = io.BytesIO()
    Image.new("RGB", (20, 16), color).save(data, format="PNG")
    return {"bytes": data.getvalue(), "path": None}


def dataset_of(rows: list) -> Dataset:
    return Dataset.from_dict(
        {"picture": rows, "n": list(range(len(rows)))}, Features(picture=ImageFeature(), n=Value("int64"))
    )


def test_images_are_decoded_one_at_a_time_and_broken_ones_keep_their_place():
    images = DatasetImages(
        dataset_of([encoded("red"), {"bytes": b"no picture", "path": None}, encoded("blue")]), "picture"
    )
    assert len(images) == 3
    assert images[0].getpixel((0, 0)) == (255, 0, 0) and images[2].getpixel((3, 3)) == (0, 0, 255)
    size = {"size": {"shortest_edge": 8}, "crop_size": {"height": 8, "width": 8}}
    prepared = PreparedImages(images, CLIPImageProcessor(**size))
    rows, inputs, causes = collate_prepared([prepared[index] for index in range(3)])
    assert (rows, causes) == ([0, 2], ["UnidentifiedImageError"])
    assert inputs["pixel_values"].shape == (2, 3, 8, 8)
    assert collate_prepared([prepared[1]]) == ([], {}, ["UnidentifiedImageError"])


def test_other_modes_become_rgb():
    size = {"size": {"shortest_edge": 8}, "crop_size": {"height": 8, "width": 8}}
    images = [Image.new(mode, (9, 9), 200) for mode in ("L", "P", "RGB")]
    prepared = PreparedImages(images, CLIPImageProcessor(**size))
    assert [prepared[index][1]["pixel_values"].shape for index in range(3)] == [(1, 3, 8, 8)] * 3
    assert isinstance(prepared[0][1]["pixel_values"], torch.Tensor)


def test_the_fingerprint_follows_the_content_and_the_column():
    rows = [encoded("red"), encoded("blue")]
    fingerprint = DatasetImages(dataset_of(rows), "picture").fingerprint
    assert DatasetImages(dataset_of(rows), "picture").fingerprint == fingerprint
    assert DatasetImages(dataset_of(rows[::-1]), "picture").fingerprint != fingerprint
    both = dataset_of(rows).add_column("other", rows, feature=ImageFeature())
    assert DatasetImages(both, "other").fingerprint != DatasetImages(both, "picture").fingerprint


def test_the_fingerprint_follows_the_files_that_a_column_names(tmp_path):
    paths = [str(tmp_path / f"{color}.png") for color in ("red", "blue")]
    for path in paths:
        Image.new("RGB", (9, 9), "red").save(path)
    fingerprint = DatasetImages(dataset_of(paths), "picture").fingerprint
    assert DatasetImages(dataset_of(paths), "picture").fingerprint == fingerprint
    Image.new("RGB", (19, 9), "blue").save(paths[1])
    assert DatasetImages(dataset_of(paths), "picture").fingerprint != fingerprint


def test_a_missing_column_and_one_without_images_are_named():
    with pytest.raises(ValueError, match="no column 'image'; its columns are .'picture', 'n'."):
        DatasetImages(dataset_of([encoded("red")]), "image")
    with pytest.raises(ValueError, match="Column 'n' holds no images"):
        DatasetImages(dataset_of([encoded("red")]), "n")
