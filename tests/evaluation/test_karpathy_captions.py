# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Karpathy's JSON beside real images becomes images with captions; a part of a gallery is refused."""

import json
from pathlib import Path

import pytest
from PIL import Image

from hf_cloob.evaluation.karpathy_captions import read_karpathy


def record(filename: str, split: str, captions: list[str], **more) -> dict:
    return {"filename": filename, "split": split, "sentences": [{"raw": text} for text in captions], **more}


@pytest.fixture
def annotations(tmp_path) -> Path:
    images = tmp_path / "images"
    (images / "val2014").mkdir(parents=True)
    Image.new("RGB", (4, 4), (10, 0, 0)).save(images / "val2014" / "a.png")
    Image.new("RGB", (4, 4), (11, 0, 0)).save(images / "b.png")
    six = [f"caption {number} " for number in range(6)]
    records = [
        record("c.png", "train", ["not here"]),
        record("b.png", "test", ["a  dog\nruns", " "], filepath="val2014"),
        record("a.png", "test", six, filepath="val2014"),
    ]
    path = tmp_path / "dataset_coco.json"
    path.write_text(json.dumps({"images": records, "dataset": "coco"}))
    return path


def test_a_split_is_read_in_the_files_order_with_five_captions_an_image(annotations):
    dataset = read_karpathy(annotations, annotations.parent / "images")
    assert [row["image"].getpixel((0, 0))[0] for row in dataset] == [11, 10]
    assert dataset["captions"][:] == [["a dog runs"], [f"caption {number}" for number in range(5)]]


def test_all_captions_are_read_when_asked(annotations):
    dataset = read_karpathy(annotations, annotations.parent / "images", captions_per_image=None)
    assert [len(captions) for captions in dataset["captions"][:]] == [1, 6]


def test_what_would_change_the_gallery_is_refused(annotations):
    images = annotations.parent / "images"
    with pytest.raises(ValueError, match=r"no split 'val'; its splits are \['test', 'train'\]"):
        read_karpathy(annotations, images, split="val")
    with pytest.raises(ValueError, match="1 of 1 images of split 'train' are not in .*, the first is c.png"):
        read_karpathy(annotations, images, split="train")
    with pytest.raises(ValueError, match="captions_per_image is 0"):
        read_karpathy(annotations, images, captions_per_image=0)
    annotations.write_text(json.dumps({"images": [record("b.png", "test", [" "])]}))
    with pytest.raises(ValueError, match="b.png has no caption"):
        read_karpathy(annotations, images)


@pytest.mark.parametrize("content", ["", "[]", '{"images": [1]}', '{"images": [{"filename": "a.png"}]}'])
def test_a_file_of_another_form_is_refused(content, annotations):
    annotations.write_text(content)
    with pytest.raises(ValueError, match="dataset_coco.json"):
        read_karpathy(annotations, annotations.parent)
