# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Rows to pairs: columns of every kind, lines of JSON, pairs of files."""

import datasets
import pyarrow as pa
import pytest

from hf_cloob.data.row_readers import ColumnReader, FilePairReader, JsonLineReader, beside


def read(reader, table):
    return list(reader.pairs(table, [f"row {number}" for number in range(len(table))]))


def test_several_columns_lists_and_class_labels_are_all_captions_of_their_row():
    features = datasets.Features(
        {
            "picture": datasets.Value("string"),
            "title": datasets.Value("string"),
            "tags": datasets.List(datasets.Value("string")),
            "kind": datasets.ClassLabel(names=["cat", "dog"]),
        }
    )
    rows = {"picture": ["a.jpg", "b.jpg"], "title": ["A", None], "tags": [["x", "y"], []], "kind": [1, -1]}
    dataset = datasets.Dataset.from_dict(rows, features=features)
    reader = ColumnReader(features, "picture", ["title", "tags", "kind"], "rows")
    first, second = read(reader, dataset.with_format("arrow")[:])
    assert first.captions == ["A", "x", "y", "dog"]
    assert (second.cause, second.place) == ("missing caption", "row 1")


def test_bytes_that_are_not_utf_8_spoil_their_row_only():
    captions = pa.array([b"good", b"caf\xe9", b"\xc3\xa9"], pa.binary()).view(pa.string())
    table = pa.table({"image": pa.array([b"1", b"2", b"3"]), "caption": captions})
    features = {"image": datasets.Value("binary"), "caption": datasets.Value("string")}
    one, two, three = read(ColumnReader(features, "image", ["caption"], "rows"), table)
    assert (one.captions, two.cause, three.captions) == (["good"], "caption not UTF-8", ["\u00e9"])


def test_captions_that_are_no_text_are_refused():
    table = pa.table({"image": pa.array([b"1"]), "caption": pa.array([3])})
    features = {"image": datasets.Value("binary"), "caption": datasets.Value("int64")}
    with pytest.raises(ValueError, match="Column 'caption' of rows must hold strings or lists of strings"):
        read(ColumnReader(features, "image", ["caption"], "rows"), table)


def test_a_missing_column_is_named_with_those_that_are_there():
    with pytest.raises(ValueError, match=r"rows has no column 'text' \(caption_column\); its columns are \['image'\]"):
        ColumnReader({"image": datasets.Value("binary")}, "image", ["text"], "rows")


def test_lines_of_json_that_are_none_are_one_bad_pair_each(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"x")
    lines = [
        '{"file": "a.jpg", "t": ["one", "two"]}',
        '{"file": "a.jpg',
        "[1]",
        "",
        '{"t": "x"}',
        '{"file": 3, "t": "x"}',
    ]
    items = read(JsonLineReader("file", ["t"], tmp_path), pa.table({"text": lines}))
    assert (items[0].image, items[0].captions) == (str(tmp_path / "a.jpg"), ["one", "two"])
    assert [item.cause for item in items[1:]] == ["broken JSON"] * 3 + ["missing image"] * 2


def test_pairs_of_files_need_both(tmp_path):
    (tmp_path / "a.txt").write_text("a cat")
    table = pa.table(
        {
            "image": pa.array(["a.jpg", None, "c.jpg"], pa.string()),
            "caption_file": pa.array([str(tmp_path / "a.txt"), "b.txt", None], pa.string()),
        }
    )
    good, no_image, no_caption = read(FilePairReader(), table)
    assert good.captions == ["a cat"]
    assert (no_image.cause, no_caption.cause) == ("missing image", "missing caption")
    assert (no_image.place, no_caption.place) == ("b.txt", "c.jpg")


def test_paths_are_those_beside_the_table_where_they_exist(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"x")
    assert beside("a.jpg", tmp_path) == str(tmp_path / "a.jpg")
    assert beside("b.jpg", tmp_path) == "b.jpg"
    assert beside("http://host/a.jpg", tmp_path) == "http://host/a.jpg"
    assert beside(" ", tmp_path) is None
