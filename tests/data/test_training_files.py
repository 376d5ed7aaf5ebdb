# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Files and folders as users name them: patterns, kinds, usual columns, and mistakes that are named."""

import random

import pytest
from dirty_corpus import (
    Planted,
    encode,
    picture,
    plan,
    write_folder,
    write_json_lines,
    write_parquet,
    write_table,
    write_tars,
)

from hf_cloob.data.image_decoding import decode_image
from hf_cloob.data.training_files import choose_columns, expand, open_files, open_folder

PLAIN = [pair for pair in plan(0, 0, 12)]
CAPTIONS = sorted(pair.caption.decode() for pair in PLAIN)


def captions(source):
    """Of all pairs, whose pictures must be there."""
    items = [item for shard in range(source.num_shards) for item in source.read(shard, 0)]
    assert all(decode_image(item.image).size == (40, 32) for item in items)
    return sorted(caption for item in items for caption in item.captions)


@pytest.mark.parametrize(
    "form", ["tar", "parquet", "open_clip", "cloob", "jsonl", "folder", "metadata.csv", "metadata.jsonl"]
)
def test_every_form_gives_the_same_pairs(form, tmp_path, monkeypatch):
    if form == "tar":
        write_tars(PLAIN, tmp_path, 3)
        source = open_files(str(tmp_path / "{000..002}.tar"))
    elif form == "parquet":
        write_parquet(PLAIN[:5], tmp_path / "a.parquet")
        write_parquet(PLAIN[5:], tmp_path / "b.parquet")
        source = open_files(str(tmp_path / "*.parquet"))
    elif form == "open_clip":
        source = open_files(str(write_table(PLAIN, tmp_path / "train.csv")))
    elif form == "cloob":
        # Commas, and paths from the folder where training is started.
        (tmp_path / "tables").mkdir()
        table = write_table(PLAIN, tmp_path / "train.csv", ("path", "caption"), ",")
        monkeypatch.chdir(tmp_path)
        source = open_files(str(table.rename(tmp_path / "tables" / "train.csv")))
    elif form == "jsonl":
        source = open_files(str(write_json_lines(PLAIN, tmp_path / "train.jsonl", ("image", "caption"))))
    elif form == "folder":
        source = open_folder(str(write_folder(PLAIN, tmp_path / "pictures")))
    elif form == "metadata.csv":
        write_table(PLAIN, tmp_path / form, ("file_name", "text"), ",")
        source = open_folder(str(tmp_path))
    else:
        write_json_lines(PLAIN, tmp_path / form)
        source = open_folder(str(tmp_path))
    assert captions(source) == CAPTIONS


def test_a_caption_in_quotes_may_hold_separators_and_lines(tmp_path):
    odd = [Planted("", encode(picture(random.Random(0))), b'a "red", round\nhat', None)]
    assert captions(open_files(str(write_table(odd, tmp_path / "a.csv", separator=",")))) == ['a "red", round hat']


def test_captions_that_look_like_numbers_or_nothing_stay_text(tmp_path):
    odd = [Planted("", PLAIN[0].image, text, None) for text in (b"12", b"NA", b"null", b"1e3")]
    assert captions(open_files(str(write_table(odd, tmp_path / "a.csv")))) == ["12", "1e3", "NA", "null"]


def test_braces_and_wildcards_are_expanded_in_order_and_missing_files_are_named(tmp_path):
    for name in ("b10.tar", "b09.tar", "c.tar"):
        (tmp_path / name).touch()
    assert expand(f"{tmp_path}/b{{09..10}}.tar") == [f"{tmp_path}/b09.tar", f"{tmp_path}/b10.tar"]
    assert expand(f"{tmp_path}/*.tar") == [f"{tmp_path}/{name}.tar" for name in ("b09", "b10", "c")]
    assert expand("http://host/{0..1}.tar") == ["http://host/0.tar", "http://host/1.tar"]
    with pytest.raises(ValueError, match="there is no file .*b11.tar"):
        expand(f"{tmp_path}/b{{09..11}}.tar")
    with pytest.raises(ValueError, match=r"there is no file .*\*.csv"):
        expand(f"{tmp_path}/*.csv")


def test_files_of_several_kinds_or_of_none_are_refused(tmp_path):
    for name in ("a.tar", "a.csv", "a.pkl"):
        (tmp_path / name).touch()
    with pytest.raises(ValueError, match=r"must be files of one kind that end in .tar, .*; got \.pkl, table, tar"):
        open_files(f"{tmp_path}/*")


def test_a_name_stands_for_itself_and_a_default_for_what_is_usual():
    assert choose_columns(["filepath", "title"], "image", ["caption"]) == ("filepath", ["title"])
    assert choose_columns(["image", "path", "caption", "alt"], "path", ["alt", "caption"]) == (
        "path",
        ["alt", "caption"],
    )
    assert choose_columns(["x"], "image", ["caption"]) == ("image", ["caption"])


def test_a_table_without_the_columns_says_which_it_has(tmp_path):
    table = write_table(PLAIN, tmp_path / "a.csv", ("foo", "bar"))
    with pytest.raises(ValueError, match=r"no column 'image' \(image_column\); its columns are \['foo', 'bar'\]"):
        open_files(str(table))


def test_a_folder_without_pairs_says_what_it_holds(tmp_path):
    (tmp_path / "0.tar").touch()
    with pytest.raises(ValueError, match="is no image folder: it holds 0 images and 0 .txt files"):
        open_folder(str(tmp_path))
