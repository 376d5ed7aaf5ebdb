# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Data for evaluate.py: the measured images are the ones that were meant, and never those that a probe learns from."""

import io
import json
import tarfile
from pathlib import Path

import pytest
from command_line import UserError
from datasets import ClassLabel, Dataset, Features
from datasets import Image as ImageFeature
from evaluation_data import load_captioned, load_classification
from PIL import Image


@pytest.fixture
def arguments(evaluate_script):
    def build(dataset_name: Path, suite: str = "classification", **flags):
        return evaluate_script.EvaluateArguments(suite=suite, dataset_name=str(dataset_name), **flags)

    return build


def png(number: int = 0) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (8, 8), (number, 0, 0)).save(data, format="PNG")
    return data.getvalue()


def write_pictures(folder: Path, *classes: str) -> Path:
    for name in classes:
        (folder / name).mkdir(parents=True)
        (folder / name / "0.png").write_bytes(png())
    return folder


def write_shard(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as shard:
        for number in range(4):
            for suffix, content in (("png", png(number)), ("cls", str(number % 2).encode())):
                member = tarfile.TarInfo(f"{number}.{suffix}")
                member.size = len(content)
                shard.addfile(member, io.BytesIO(content))


def write_layout(layout: str, folder: Path) -> Path:
    """Two classes without a training split."""
    if layout == "class folders":
        return write_pictures(folder / "test", "cat", "dog").parent
    if layout == "shards":
        write_shard(folder / "0.tar")
        (folder / "classnames.txt").write_text("cat\ndog\n")
        (folder / "zeroshot_classification_templates.txt").write_text("a {c}\n")
        return folder
    features = Features(image=ImageFeature(), label=ClassLabel(names=["cat", "dog"]))
    rows = [{"bytes": png(number), "path": None} for number in range(4)]
    Dataset.from_dict({"image": rows, "label": [0, 1, 0, 1]}, features).save_to_disk(folder)
    return folder


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        ("class folders", "has no folder of train_split 'train'"),
        ("shards", "has no folder of shards of train_split 'train'"),
        ("saved to disk", "is a single split saved to disk: it has no train_split"),
    ],
)
def test_the_measured_images_do_not_stand_in_for_missing_training_images(arguments, tmp_path, layout, message):
    folder = write_layout(layout, tmp_path)
    assert len(load_classification(arguments(folder))[1]) >= 2
    with pytest.raises(UserError, match=message):
        load_classification(arguments(folder, train_split="train"))
    with pytest.raises(UserError, match="train_split 'test' is the split that is measured"):
        load_classification(arguments(folder, train_split="test"))


def test_shards_of_a_training_split_in_a_folder_of_theirs_are_read(arguments, tmp_path):
    folder = write_layout("shards", tmp_path)
    write_shard(folder / "train" / "0.tar")
    assert len(load_classification(arguments(folder, train_split="train"))[2]) == 4


def test_folders_of_splits_are_not_taken_for_classes(arguments, tmp_path):
    write_pictures(tmp_path / "validation", "cat", "dog")
    write_pictures(tmp_path / "train", "cat", "dog")
    with pytest.raises(UserError, match="has no folder 'test', it has train, validation: pass --dataset_split"):
        load_classification(arguments(tmp_path))
    suite, dataset, _ = load_classification(arguments(tmp_path, dataset_split="validation"))
    assert suite.class_names == ("cat", "dog") and len(dataset) == 2
    with pytest.raises(UserError, match="has no folder 'val', it has train, validation"):
        load_classification(arguments(tmp_path, dataset_split="val"))
    with pytest.raises(UserError, match="has no folder of dataset_split 'val'"):
        load_classification(arguments(tmp_path / "train", dataset_split="val"))


def test_a_folder_without_data_is_named(arguments, tmp_path):
    with pytest.raises(UserError, match="holds no table, no shards and no folder of a class"):
        load_classification(arguments(tmp_path))


def test_a_class_may_have_the_name_of_a_split(arguments, tmp_path):
    suite, dataset, _ = load_classification(arguments(write_pictures(tmp_path, "train", "plane")))
    assert suite.class_names == ("plane", "train") and dataset["label"][:] == [0, 1]


def test_voc_is_found_in_its_development_kit_and_takes_no_probes(arguments, tmp_path):
    from hf_cloob.evaluation.suites import load_suite

    lists, images = (tmp_path / "VOC2007" / name for name in ("ImageSets/Main", "JPEGImages"))
    lists.mkdir(parents=True)
    images.mkdir()
    Image.new("RGB", (8, 8)).save(images / "000001.jpg")
    for place, key in enumerate(load_suite("voc2007").class_keys):
        for split in ("test", "trainval"):
            (lists / f"{key}_{split}.txt").write_text(f"000001 {1 if place < 2 else -1}\n")
    for folder in (tmp_path, tmp_path / "VOC2007"):
        assert load_classification(arguments(folder, suite="voc2007"))[1]["labels"][:] == [[0, 1]]
    with pytest.raises(UserError, match="take one class an image; .* has several"):
        load_classification(arguments(tmp_path, suite="voc2007", train_split="trainval"))


@pytest.mark.parametrize("annotations", ["beside the images", "elsewhere"])
def test_images_without_captions_ask_for_the_annotations(arguments, tmp_path, annotations):
    folder = write_pictures(tmp_path, "val2014")
    if annotations == "beside the images":
        (folder / "dataset_coco.json").write_text("{}")
    with pytest.raises(UserError, match="images without captions: pass --annotation_file with Karpathy's JSON"):
        load_captioned(arguments(folder, suite="coco"))


def test_a_folder_of_images_with_metadata_is_a_table_of_captions(arguments, tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = write_pictures(tmp_path / "data", "test")
    (folder / "test" / "metadata.jsonl").write_text(json.dumps({"file_name": "0.png", "caption": "a black square"}))
    assert load_captioned(arguments(folder, suite="retrieval"))["captions"][:] == [["a black square"]]
