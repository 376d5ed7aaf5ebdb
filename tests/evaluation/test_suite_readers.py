# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Real images on disk come back with the suite's labels; what cannot be placed is refused."""

import logging
from pathlib import Path

import datasets
import pytest
from PIL import Image

from hf_cloob.evaluation.suite_readers import label_rows, read_hub_dataset, read_image_folder
from hf_cloob.evaluation.suites import ZeroShotSuite, load_suite

SUITE = ZeroShotSuite(
    name="drawings",
    title="Drawings",
    class_names=("tench", "crane (bird)", "apartment building outdoor"),
    class_keys=("n01440764", "n02012849", "a/apartment_building/outdoor"),
    templates=("a photo of a {}",),
    metric="top1",
    num_images=4,
    ignored_keys=("BACKGROUND",),
)


def save(path: Path, color: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), (color, 0, 0)).save(path)


def colors(dataset: datasets.Dataset) -> list[tuple[int, int]]:
    return [(row["image"].getpixel((0, 0))[0], row["label"]) for row in dataset]


@pytest.fixture
def folder(tmp_path) -> Path:
    root = tmp_path / "images"
    save(root / "n02012849" / "b.png", 10)
    save(root / "n02012849" / "a.bmp", 11)
    save(root / "Tench" / "c.png", 12)
    save(root / "a" / "apartment_building" / "outdoor" / "d.png", 13)
    save(root / "BACKGROUND" / "e.png", 14)
    save(root / ".cache" / "f.png", 15)
    (root / "readme.txt").write_text("no image")
    return root


def test_folders_are_placed_by_key_or_name_and_sorted_by_label(folder, caplog):
    with caplog.at_level(logging.WARNING):
        dataset = read_image_folder(folder, SUITE)
    assert colors(dataset) == [(12, 0), (11, 1), (10, 1), (13, 2)]
    assert dataset.features["label"] == datasets.Value("int64")
    assert caplog.messages == []


def test_a_part_of_a_suite_is_reported(folder, caplog):
    (folder / "Tench" / "c.png").unlink()
    with caplog.at_level(logging.WARNING):
        read_image_folder(folder, SUITE)
    assert any("3 images, but Drawings has 4" in message for message in caplog.messages)
    assert any("1 of 3 classes have no image" in message for message in caplog.messages)


def test_a_list_chooses_the_images_of_a_split(folder, tmp_path):
    listed = tmp_path / "test.txt"
    listed.write_text("Tench/c\nn02012849/b.png\n")
    assert colors(read_image_folder(folder, SUITE, file_list=listed)) == [(12, 0), (10, 1)]
    listed.write_text("Tench/absent\n")
    with pytest.raises(ValueError, match="lists 'Tench/absent', which is not in"):
        read_image_folder(folder, SUITE, file_list=listed)


def test_names_of_the_user_win_over_shipped_keys(tmp_path):
    # The same ten words in another order: a folder named "airplane" is what the user calls airplane.
    reordered = tuple(reversed(load_suite("cifar10").class_names))
    (tmp_path / "classnames.txt").write_text("\n".join(reordered))
    save(tmp_path / "images" / "airplane" / "a.png", 20)
    dataset = read_image_folder(tmp_path / "images", load_suite("cifar10", tmp_path))
    assert colors(dataset) == [(20, 9)]


def test_numbered_folders_are_not_sorted_as_text(tmp_path):
    save(tmp_path / "10" / "a.png", 30)
    save(tmp_path / "9" / "a.png", 31)
    assert colors(read_image_folder(tmp_path, load_suite("imagenet_v2"))) == [(31, 9), (30, 10)]


def test_folders_that_are_no_class_and_images_outside_of_any_are_refused(folder):
    save(folder / "unicorn" / "a.png", 1)
    with pytest.raises(ValueError, match="1 of 5 classes of .* not in suite 'drawings', for example 'unicorn'"):
        read_image_folder(folder, SUITE)
    save(folder / "loose.png", 1)
    with pytest.raises(ValueError, match="loose.png lies in no class's folder"):
        read_image_folder(folder, SUITE)


def test_the_folder_above_the_classes_is_told_where_they_are(folder):
    with pytest.raises(ValueError, match=f"They are in {folder}: give that folder"):
        read_image_folder(folder.parent, SUITE)
    save(folder.parent / "others" / "a.png", 1)
    with pytest.raises(ValueError, match="are not in suite 'drawings'.*'n01440764', .*outdoor'.$"):
        read_image_folder(folder.parent, SUITE)


def test_an_empty_or_absent_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match="holds no image of suite 'drawings'"):
        read_image_folder(tmp_path, SUITE)
    with pytest.raises(ValueError, match="not a folder of images"):
        read_image_folder(tmp_path / "absent", SUITE)


def labelled(labels: list, feature) -> datasets.Dataset:
    images = [Image.new("RGB", (4, 4), (index, 0, 0)) for index in range(len(labels))]
    features = datasets.Features({"webp": datasets.Image(), "cls": feature, "other": datasets.Value("string")})
    return datasets.Dataset.from_dict({"webp": images, "cls": labels, "other": ["x"] * len(labels)}, features=features)


COLUMNS = {"image_column": "webp", "label_column": "cls"}


def test_class_labels_are_placed_by_their_names_whatever_their_order():
    names = datasets.ClassLabel(names=["Crane_bird", "BACKGROUND", "tench"])
    dataset = label_rows(labelled([0, 2, 1, 0], names), SUITE, **COLUMNS)
    assert colors(dataset) == [(0, 1), (1, 0), (3, 1)]
    assert dataset.column_names == ["image", "label"]


def test_strings_are_placed_by_name_and_numbers_only_when_asked():
    strings = labelled(["n01440764", "crane bird"], datasets.Value("string"))
    assert colors(label_rows(strings, SUITE, **COLUMNS)) == [(0, 0), (1, 1)]
    numbers = labelled([2, 0], datasets.Value("int32"))
    with pytest.raises(ValueError, match="have no names .* pass label_order='suite'"):
        label_rows(numbers, SUITE, **COLUMNS)
    assert colors(label_rows(numbers, SUITE, **COLUMNS, label_order="suite")) == [(0, 2), (1, 0)]


@pytest.mark.parametrize(
    ("labels", "feature", "options", "message"),
    [
        ([0, -1], datasets.ClassLabel(names=["tench"]), {}, "rows without a label"),
        ([0], datasets.ClassLabel(names=["unicorn"]), {}, "'unicorn'"),
        ([3], datasets.Value("int64"), {"label_order": "suite"}, "has the label 3; suite 'drawings' has 0 to 2"),
        ([0], datasets.Value("int64"), {"label_order": "index"}, "allowed: 'names', 'suite'"),
        ([0], datasets.Value("int64"), {"label_column": "label"}, "no column 'label'"),
        ([0], datasets.ClassLabel(names=["BACKGROUND"]), {}, "no row of suite 'drawings'"),
    ],
)
def test_labels_that_are_no_class_are_refused(labels, feature, options, message):
    with pytest.raises(ValueError, match=message):
        label_rows(labelled(labels, feature), SUITE, **{**COLUMNS, **options})


def test_a_dataset_on_disk_is_read_by_its_split(tmp_path):
    data = labelled([1, 0], datasets.ClassLabel(names=["tench", "crane bird"]))
    datasets.DatasetDict({"test": data}).save_to_disk(tmp_path / "saved")
    assert colors(read_hub_dataset(str(tmp_path / "saved"), SUITE, **COLUMNS)) == [(0, 1), (1, 0)]
    with pytest.raises(ValueError, match=r"no split 'val'; its splits are \['test'\]"):
        read_hub_dataset(str(tmp_path / "saved"), SUITE, split="val", **COLUMNS)
    with pytest.raises(ValueError, match="No dataset"):
        read_hub_dataset(str(tmp_path / "absent"), SUITE)
