# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""A built corpus is found again, is whole or absent, and says what it lacks."""

import logging

import numpy as np
import pytest
from datasets import Dataset, Features, Image
from PIL import Image as PillowImage

from hf_cloob.data.dataset_cache import build_once, corpus_folder, png_cell, read_report, write_report


def test_another_size_or_ingredient_is_another_folder(tmp_path):
    ingredients = [1, {"package": "1.0"}]
    folder = corpus_folder(tmp_path, "flags", 64, ingredients)
    assert folder.parent == tmp_path / "datasets" and folder.name.startswith("flags-64px-")
    assert folder == corpus_folder(tmp_path, "flags", 64, [1, {"package": "1.0"}])
    others = [corpus_folder(tmp_path, "flags", 32, ingredients), corpus_folder(tmp_path, "flags", 64, [2])]
    assert len({folder, *others}) == 3


def test_a_built_folder_is_not_built_again(tmp_path):
    folder = tmp_path / "datasets" / "corpus"
    build_once(folder, lambda aside: (aside / "rows").touch())
    build_once(folder, lambda aside: pytest.fail("built twice"))
    assert [path.name for path in folder.parent.rglob("*")] == ["corpus", "rows"]


def test_the_first_of_two_builds_at_once_stays(tmp_path):
    folder = tmp_path / "datasets" / "corpus"

    def build(aside):
        (aside / "late").touch()
        folder.mkdir()
        (folder / "early").touch()

    build_once(folder, build)
    assert [path.name for path in folder.parent.rglob("*")] == ["corpus", "early"]


def test_an_interrupted_build_leaves_nothing_behind(tmp_path):
    def build(aside):
        (aside / "half").touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_once(tmp_path / "datasets" / "corpus", build)
    assert not list((tmp_path / "datasets").iterdir())


def test_a_report_is_read_back_and_warns_of_what_was_unreadable(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        write_report(tmp_path, {"unreadable": []})
        assert read_report(tmp_path, "flag") == {"unreadable": []}
        assert not caplog.records
        write_report(tmp_path, {"unreadable": [{"icon": "ox"}]})
        read_report(tmp_path, "flag")
    assert "1 flag drawings could not be read" in caplog.text


def test_a_picture_comes_back_from_its_cell_pixel_by_pixel():
    picture = PillowImage.effect_noise((16, 16), 64).convert("RGB")
    table = Dataset.from_list([{"image": png_cell(picture)}], features=Features({"image": Image()}))
    assert (np.asarray(table[0]["image"]) == np.asarray(picture)).all()
