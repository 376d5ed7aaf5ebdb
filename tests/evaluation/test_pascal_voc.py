# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Pascal VOC's lists become several labels an image, with the difficult ones apart."""

from pathlib import Path

import pytest
from PIL import Image

from hf_cloob.evaluation.pascal_voc import read_voc
from hf_cloob.evaluation.suites import ZeroShotSuite, load_suite


@pytest.fixture
def folder(tmp_path) -> Path:
    lists, images = tmp_path / "ImageSets" / "Main", tmp_path / "JPEGImages"
    lists.mkdir(parents=True)
    images.mkdir()
    for name in ("000001", "000002"):
        Image.new("RGB", (4, 4)).save(images / f"{name}.jpg")
    for key in load_suite("voc2007").class_keys:
        marks = {"dog": (" 1", " 0"), "person": ("-1", " 1"), "sheep": (" 1", "-1")}.get(key, ("-1", "-1"))
        (lists / f"{key}_test.txt").write_text(f"000001 {marks[0]}\n000002 {marks[1]}\n")
    return tmp_path


def test_marks_become_labels_and_difficult_ones_are_apart(folder):
    suite = load_suite("voc2007")
    dataset = read_voc(folder, suite)
    named = [[suite.class_names[label] for label in labels] for labels in dataset["labels"][:]]
    assert named == [["dog", "sheep"], ["person"]]
    assert dataset["ignored"][:] == [[], [suite.class_names.index("dog")]]
    assert dataset[1]["image"].size == (4, 4)


def test_what_is_not_there_is_refused(folder):
    suite = load_suite("voc2007")
    with pytest.raises(ValueError, match="aeroplane_val.txt is not there"):
        read_voc(folder, suite, split="val")
    (folder / "JPEGImages" / "000002.jpg").unlink()
    with pytest.raises(ValueError, match="1 of 2 images of split 'test' are not there, the first is .*000002.jpg"):
        read_voc(folder, suite)
    (folder / "ImageSets" / "Main" / "cow_test.txt").write_text("000001\n")
    with pytest.raises(ValueError, match="A line of .*cow_test.txt is '000001'"):
        read_voc(folder, suite)
    with pytest.raises(ValueError, match="no class keys"):
        read_voc(folder, ZeroShotSuite("own", "Own", ("dog",), (), ("{}",), "eleven_point_map"))
