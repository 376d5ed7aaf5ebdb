# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The shipped suites hold what they say, and a user's own names and templates replace them."""

import json
from dataclasses import fields

import pytest

from hf_cloob.evaluation.prompts import fill_templates
from hf_cloob.evaluation.suite_readers import place_classes
from hf_cloob.evaluation.suites import (
    DATA_FOLDER,
    ZeroShotSuite,
    load_retrieval_suite,
    load_suite,
    load_suite_folder,
    read_class_names,
    read_templates,
    suite_names,
    suite_table,
)

# As the datasets' own papers count.
NUM_CLASSES = {
    "birdsnap": 500,
    "caltech101": 101,
    "cifar10": 10,
    "cifar100": 100,
    "country211": 211,
    "cub_2011": 200,
    "dtd": 47,
    "fgvc_aircraft": 100,
    "flowers102": 102,
    "food101": 101,
    "gtsrb": 43,
    "imagenet": 1000,
    "imagenet_v2": 1000,
    "oxford_pets": 37,
    "places365": 365,
    "stanford_cars": 196,
    "stanford_dogs": 120,
    "sun397": 397,
    "ucf101": 101,
    "voc2007": 20,
}


def test_every_suite_is_shipped_with_its_number_of_classes_but_oven():
    assert set(suite_names()) == {*NUM_CLASSES, "oven"}
    assert {name: len(load_suite(name).class_names) for name in NUM_CLASSES} == NUM_CLASSES


@pytest.mark.parametrize("name", NUM_CLASSES)
def test_names_and_keys_of_a_suite_are_clean_and_tell_its_classes_apart(name):
    suite = load_suite(name)
    assert len(set(suite.class_names)) == len(suite.class_names)
    assert [text for text in suite.class_names if text != " ".join(text.split()) or "_" in text] == []
    # What a reader places by key and what it places by name are the same labels.
    for keys in (suite.class_keys, suite.class_names):
        assert list(place_classes(keys, suite, where="test").values()) == list(range(len(keys)))
    assert len(fill_templates(suite.class_names, suite.templates)) == len(suite.class_names)


@pytest.mark.parametrize(
    ("name", "label", "key", "class_name"),
    [
        ("imagenet", 0, "n01440764", "tench"),
        ("imagenet", 134, "n02012849", "crane (bird)"),
        ("imagenet", 999, "n15075141", "toilet tissue"),
        ("imagenet_v2", 2, "2", "great white shark"),
        ("cifar10", 1, "automobile", "automobile"),
        ("cifar100", 1, "aquarium_fish", "aquarium fish"),
        ("country211", 210, "ZW", "Zimbabwe"),
        ("cub_2011", 199, "200.Common_Yellowthroat", "Common Yellowthroat"),
        ("flowers102", 50, "51", "petunia"),
        ("gtsrb", 14, "00014", "Stop"),
        ("oxford_pets", 36, "yorkshire_terrier", "yorkshire terrier"),
        ("stanford_dogs", 119, "n02116738-African_hunting_dog", "African hunting dog"),
        ("sun397", 8, "a/apartment_building/outdoor", "apartment building outdoor"),
        ("ucf101", 100, "YoYo", "Yo Yo"),
        ("voc2007", 19, "tvmonitor", "tv monitor"),
    ],
)
def test_labels_count_as_the_dataset_counts(name, label, key, class_name):
    suite = load_suite(name)
    assert (suite.class_keys[label], suite.class_names[label]) == (key, class_name)


def test_datasets_that_number_sorted_folders_are_sorted():
    # Readers elsewhere number these folders by sorting them.
    for name in (
        "birdsnap",
        "caltech101",
        "country211",
        "cub_2011",
        "dtd",
        "fgvc_aircraft",
        "imagenet",
        "sun397",
        "stanford_dogs",
    ):
        assert list(load_suite(name).class_keys) == sorted(load_suite(name).class_keys), name


def test_stanford_dogs_are_synsets_of_imagenet_and_v2_has_its_names():
    imagenet = dict(zip(load_suite("imagenet").class_keys, load_suite("imagenet").class_names, strict=True))
    assert {key.split("-")[0] for key in load_suite("stanford_dogs").class_keys} < set(imagenet)
    assert load_suite("imagenet_v2").class_names == load_suite("imagenet").class_names


def test_shipped_names_say_where_they_are_from():
    for name in NUM_CLASSES:
        suite = load_suite(name)
        assert suite.source and suite.license in ("Apache-2.0", "MIT"), name


def test_every_data_file_holds_the_fields_of_its_suite_and_no_other():
    common = {"title", "split", "num_images", "hub_dataset", "task"}
    zero_shot = common | {"classes", "edits", "ignored_keys", "license", "metric", "source", "templates"}
    retrieval = common | {"num_captions", "annotation_file"}
    for file in DATA_FOLDER.glob("*.json"):
        record = json.loads(file.read_text(encoding="utf-8"))
        expected = zero_shot if record["task"] == "zero-shot" else retrieval
        assert set(record) - {"needs"} == expected, file.name
        assert ("needs" in record) == (record.get("classes", ()) is None), file.name
    assert {field.name for field in fields(ZeroShotSuite)} >= zero_shot - {"task", "classes"}


def test_the_table_of_the_data_folder_is_the_data():
    readme = (DATA_FOLDER / "README.md").read_text(encoding="utf-8")
    assert readme.endswith(f"\n\n{suite_table()}")
    assert "| `food101` | Food-101 | 101 | yes | `top1` | test (25,250) |" in suite_table()


def test_retrieval_suites_have_karpathys_sizes():
    sizes = {name: load_retrieval_suite(name) for name in suite_names("retrieval")}
    assert {name: (suite.num_images, suite.num_captions) for name, suite in sizes.items()} == {
        "coco": (5000, 25000),
        "flickr30k": (1000, 5000),
    }


def test_a_suite_without_names_asks_for_a_file_and_takes_it(tmp_path):
    with pytest.raises(ValueError, match=r"'oven' are not shipped: its entities.*classnames\.txt"):
        load_suite("oven")
    (tmp_path / "classnames.txt").write_text("Mount Fuji\nEiffel Tower\n", encoding="utf-8")
    suite = load_suite("oven", tmp_path)
    assert (suite.class_names, suite.class_keys) == (("Mount Fuji", "Eiffel Tower"), ())
    assert suite.source.endswith("classnames.txt")


def test_files_of_a_folder_replace_names_and_templates_and_keep_fitting_keys(tmp_path):
    shipped = load_suite("cifar10")
    templates = tmp_path / "zeroshot_classification_templates.txt"
    templates.write_text("a blurry {c}.\r\n\r\nthe {}\r\n", encoding="utf-8")
    assert load_suite("cifar10", tmp_path).class_names == shipped.class_names
    assert load_suite("cifar10", tmp_path).templates == ("a blurry {}.", "the {}")
    own = [f"thing {index}" for index in range(10)]
    (tmp_path / "classnames.txt").write_text("\n".join(own), encoding="utf-8")
    assert load_suite("cifar10", tmp_path).class_names == tuple(own)
    assert load_suite("cifar10", tmp_path).class_keys == shipped.class_keys
    (tmp_path / "classnames.txt").write_text("\n".join(own[:9]), encoding="utf-8")
    assert load_suite("cifar10", tmp_path).class_keys == ()


def test_a_folder_alone_makes_a_suite(tmp_path):
    with pytest.raises(ValueError, match="no classnames.txt and no zeroshot_classification_templates.txt"):
        load_suite_folder(tmp_path)
    (tmp_path / "classnames.txt").write_text("forest\nriver\n", encoding="utf-8")
    (tmp_path / "zeroshot_classification_templates.txt").write_text("{c} from above", encoding="utf-8")
    suite = load_suite_folder(tmp_path, metric="mean_per_class_top1")
    assert (suite.name, suite.class_names) == (tmp_path.name, ("forest", "river"))
    with pytest.raises(ValueError, match="'accuracy'; allowed"):
        load_suite_folder(tmp_path, metric="accuracy")


@pytest.mark.parametrize(
    ("load", "name", "message"),
    [
        (load_suite, "imagnet", "No zero-shot suite 'imagnet'. The suites are birdsnap"),
        (load_suite, "coco", "use load_retrieval_suite"),
        (load_retrieval_suite, "imagenet", "The suites are coco, flickr30k"),
    ],
)
def test_unknown_suites_are_refused_with_the_list(load, name, message):
    with pytest.raises(ValueError, match=message):
        load(name)


@pytest.mark.parametrize(
    ("read", "content", "message"),
    [
        (read_class_names, b"cat\n\ndog\n", "Line 2 of .* is blank"),
        (read_class_names, b"\n \n", "no class name"),
        (read_class_names, b"\xff\xfe", "does not read as UTF-8"),
        (read_templates, b"a photo of {c}\na photo\n", "Template 2 of .* is 'a photo'"),
        (read_templates, b"{c} and {}\n", "exactly one"),
        (read_templates, b"\n", "holds no template"),
    ],
)
def test_files_that_would_shift_labels_or_lose_names_are_refused(read, content, message, tmp_path):
    path = tmp_path / "lines.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read(path)


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ValueError, match="is not a folder"):
        load_suite("cifar10", tmp_path / "absent")
