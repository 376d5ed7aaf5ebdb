# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Any dataset becomes the columns image, captions and concept, or there is one clear error."""

import io
import logging

import datasets
import pytest
from PIL import Image

from hf_cloob.data.sources import clean_captions, dataset_names, load_pairs, normalize_pairs


def png(color="red"):
    file = io.BytesIO()
    Image.new("RGB", (4, 4), color).save(file, "PNG")
    return file.getvalue()


def table(captions, **columns):
    images = [{"bytes": png(), "path": None}] * len(captions)
    features = datasets.Features({"picture": datasets.Image()})
    pairs = datasets.Dataset.from_dict({"picture": images}, features=features)
    for name, values in {"text": captions, **columns}.items():
        pairs = pairs.add_column(name, values)
    return pairs


def test_strings_become_lists_of_one_clean_caption():
    pairs = normalize_pairs(table(["  a   red\nsquare ", "dog"]), "picture", "text")
    assert pairs.column_names == ["image", "captions"]
    assert pairs["captions"][:] == [["a red square"], ["dog"]]
    assert pairs[0]["image"].size == (4, 4)


def test_lists_keep_their_order_and_lose_repetitions_and_blanks():
    assert clean_captions(["b", " ", None, "a  c", "b", "a c"]) == ["b", "a c"]
    pairs = normalize_pairs(table([["b", "a", "b"], ["", "c"]]), "picture", "text")
    assert pairs["captions"][:] == [["b", "a"], ["c"]]


def test_rows_without_a_caption_are_dropped_counted_and_logged(caplog):
    with caplog.at_level(logging.WARNING):
        pairs = normalize_pairs(table(["a", "", None, "  ", "e"], id=[1, 2, 3, 4, 5]), "picture", "text", "id")
    assert pairs["captions"][:] == [["a"], ["e"]]
    assert pairs["concept"][:] == ["1", "5"]
    assert "3 of 5 rows dropped: empty caption" in caplog.text


def test_a_dataset_with_empty_captions_only_is_an_error():
    with pytest.raises(ValueError, match="No row of the dataset has a caption: all 2 in 'text' are empty"):
        normalize_pairs(table(["", " "]), "picture", "text")


@pytest.mark.parametrize("argument", ["image_column", "caption_column", "concept_column"])
def test_a_missing_column_is_named_with_the_columns_there_are(argument):
    columns = {"image_column": "picture", "caption_column": "text", argument: "none_such"}
    with pytest.raises(
        ValueError, match=rf"no column 'none_such' \({argument}\); its columns are \['picture', 'text'\]"
    ):
        normalize_pairs(table(["a"]), **columns)


def test_a_caption_column_of_numbers_is_an_error():
    with pytest.raises(ValueError, match="Column 'text' of the dataset must hold strings"):
        normalize_pairs(table([1, 2]), "picture", "text")


def test_a_class_label_gives_its_name():
    pairs = table([0, 1]).cast_column("text", datasets.ClassLabel(names=["cat", "dog"]))
    assert normalize_pairs(pairs, "picture", "text")["captions"][:] == [["cat"], ["dog"]]


def test_paths_and_bytes_are_pictures(tmp_path):
    (tmp_path / "a.png").write_bytes(png("blue"))
    for value in (str(tmp_path / "a.png"), png("blue")):
        pairs = normalize_pairs(datasets.Dataset.from_dict({"image": [value], "caption": ["blue"]}))
        assert pairs[0]["image"].getpixel((0, 0)) == (0, 0, 255)


def test_numbers_are_no_pictures():
    with pytest.raises(ValueError, match="Column 'image' of the dataset must hold images, paths or bytes"):
        normalize_pairs(datasets.Dataset.from_dict({"image": [1.5], "caption": ["blue"]}))


def test_a_folder_saved_to_disk_is_read_by_split(tmp_path):
    datasets.DatasetDict({"half": table(["a"])}).save_to_disk(str(tmp_path))
    assert load_pairs(str(tmp_path), split="half", image_column="picture", caption_column="text").num_rows == 1
    with pytest.raises(ValueError, match=r"no split 'train'; its splits are \['half'\]"):
        load_pairs(str(tmp_path), image_column="picture", caption_column="text")


def test_a_folder_of_pictures_with_metadata_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "a.png").write_bytes(png())
    (folder / "metadata.jsonl").write_text('{"file_name": "a.png", "caption": "a red square"}\n')
    pairs = load_pairs(str(folder))
    assert pairs["captions"][:] == [["a red square"]]
    assert pairs[0]["image"].getpixel((0, 0)) == (255, 0, 0)


def test_a_dataset_that_is_nowhere_is_named(tmp_path):
    with pytest.raises(ValueError, match="No dataset .*nowhere"):
        load_pairs(str(tmp_path / "nowhere"))


def test_several_datasets_become_one_in_their_order(tmp_path):
    for name, captions in (("one", ["a", "", "c"]), ("two", [["d", "e"]])):
        datasets.DatasetDict({"train": table(captions)}).save_to_disk(str(tmp_path / name))
    both = load_pairs(f"{tmp_path / 'one'}, {tmp_path / 'two'}", image_column="picture", caption_column="text")
    assert both["captions"][:] == [["a"], ["c"], ["d", "e"]] and both[2]["image"].size == (4, 4)


def test_a_folder_with_a_comma_in_its_name_is_one_dataset(tmp_path):
    datasets.DatasetDict({"train": table(["a"])}).save_to_disk(str(tmp_path / "a,b"))
    assert dataset_names(str(tmp_path / "a,b")) == [str(tmp_path / "a,b")]
    assert load_pairs(str(tmp_path / "a,b"), image_column="picture", caption_column="text").num_rows == 1
    with pytest.raises(ValueError, match="names with commas between them, got 'emoji,'"):
        dataset_names("emoji,")


def test_the_packages_own_corpora_are_read_by_name_with_their_own_columns(emoji, tmp_path):
    datasets.DatasetDict({"selection": table(["a"])}).save_to_disk(str(tmp_path))
    both = load_pairs(f"emoji,{tmp_path}", split="selection", image_column="picture", caption_column="text")
    assert both["captions"][:] == [*emoji["selection"]["captions"], ["a"]]
    alone = load_pairs("emoji", split="test_unseen", caption_column="text", concept_column="id")
    assert alone["concept"][:] == emoji["test_unseen"]["concept"][:]
    with pytest.raises(ValueError, match="emoji has no split 'test'; its splits are"):
        load_pairs("emoji", split="test")


def test_the_emoji_corpus_goes_through_the_same_door(emoji):
    pairs = normalize_pairs(emoji["selection"], caption_column="captions", concept_column="concept")
    assert pairs.column_names == ["image", "captions", "concept"]
    assert len(pairs) == len(emoji["selection"])
