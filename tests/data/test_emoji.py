# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The emoji corpus as built from the real packages."""

import hashlib
import json
import logging
import shutil

import numpy as np
import pytest

from hf_cloob.data import emoji as emoji_module
from hf_cloob.data.dataset_cache import corpus_folder
from hf_cloob.data.emoji import SPLITS, emoji_classes, load_emoji
from hf_cloob.data.emoji_concepts import EmojiConcept
from hf_cloob.data.emoji_packages import EMOJI_FAMILIES
from hf_cloob.data.emoji_protocol import WITHHELD_SUBGROUPS
from hf_cloob.data.npm_packages import default_cache_dir

CONCEPT = EmojiConcept("ox", "1F402", "ox", ("bull",), ("ox", "bull"), "animals-nature", "animal-mammal")


def test_the_splits_have_the_protocols_sizes(emoji):
    sizes = {split: len(emoji[split]) for split in SPLITS}
    assert sizes == {"train": 4515, "selection": 660, "test_seen": 674, "test_unseen": 250}


def test_noto_is_never_trained_on_and_alone_is_tested_on(emoji):
    assert set(emoji["train"]["family"]) == {"twemoji", "openmoji", "fluent", "fxemoji"}
    for split in ("selection", "test_seen", "test_unseen"):
        assert set(emoji[split]["family"]) == {"noto"}


def test_withheld_concepts_are_in_no_other_split(emoji):
    concepts = {split: set(emoji[split]["concept"]) for split in SPLITS}
    assert not concepts["test_unseen"] & (concepts["train"] | concepts["selection"] | concepts["test_seen"])
    assert not concepts["selection"] & concepts["test_seen"]
    assert concepts["selection"] | concepts["test_seen"] <= concepts["train"]
    assert not set(WITHHELD_SUBGROUPS) & set(emoji["train"]["subgroup"])
    assert set(emoji["test_unseen"]["subgroup"]) == set(WITHHELD_SUBGROUPS)


def test_no_flag_and_no_skin_tone_is_in_the_corpus(emoji):
    for split in SPLITS:
        assert "flags" not in emoji[split]["group"]
        assert not any(f"1F3F{digit}" in code for code in emoji[split]["hexcode"] for digit in "BCDEF")


def test_no_caption_of_a_seen_concept_names_a_withheld_one(emoji):
    withheld = {label.lower() for label in emoji["test_unseen"]["label"]}
    for split in ("train", "selection", "test_seen"):
        captions = {caption.lower() for own in emoji[split]["captions"] for caption in own}
        assert not captions & withheld


def test_every_row_has_its_label_first_and_no_caption_twice(emoji):
    for split in SPLITS:
        for label, captions in zip(emoji[split]["label"], emoji[split]["captions"], strict=True):
            assert captions[0] == label
            assert len(set(captions)) == len(captions)


def test_no_family_shows_one_picture_under_two_names(emoji):
    for split in SPLITS:
        table = emoji[split]
        keys = [
            (family, hashlib.sha256(image.tobytes()).hexdigest())
            for family, image in zip(table["family"], table["image"], strict=True)
        ]
        assert len(set(keys)) == len(keys)


def test_pictures_are_drawings_on_white(emoji):
    for row in emoji["train"].select(range(0, len(emoji["train"]), 500)):
        pixels = np.asarray(row["image"])
        assert pixels.shape == (64, 64, 3)
        assert pixels.std() > 5
        assert (pixels[0, 0] == 255).all() or (pixels[0] == pixels[0, 0]).all()


def test_known_emoji_look_as_they_should(emoji):
    rows = {row["label"]: row for row in emoji["selection"]} | {row["label"]: row for row in emoji["test_seen"]}
    red, green, blue = np.asarray(rows["red apple"]["image"])[40, 32].astype(int)
    assert red > green + 50 and red > blue + 50
    red, green, blue = np.asarray(rows["green apple"]["image"])[40, 32].astype(int)
    assert green > blue + 50


def test_classes_are_all_concepts_in_one_order(emoji):
    classes = emoji_classes(emoji)
    assert len(classes.concepts) == len(set(classes.concepts)) == len(classes.captions) == 1586
    assert sum(classes.unseen) == 250
    unseen = {name for name, withheld in zip(classes.concepts, classes.unseen, strict=True) if withheld}
    assert unseen == set(emoji["test_unseen"]["concept"])
    assert classes.labels[0] == classes.captions[0][0] == "grinning face"


def test_an_unreadable_drawing_is_skipped_and_reported():
    report = {"unreadable": [], "ambiguous": []}
    collection = {"icons": {"ox": {"body": "<path d='M0 0"}}, "width": 16, "height": 16}
    assert emoji_module._render_family("twemoji", collection, {"1f402": "ox"}, [CONCEPT], 32, report) == []
    assert [(entry["family"], entry["icon"]) for entry in report["unreadable"]] == [("twemoji", "ox")]


def test_unreadable_drawings_are_logged_whenever_the_corpus_is_loaded(emoji, tmp_path, caplog):
    source = corpus_folder(default_cache_dir(), "emoji", 64, emoji_module._ingredients())
    folder = tmp_path / "datasets" / source.name
    shutil.copytree(source, folder)
    report = json.loads((folder / "build_report.json").read_text())
    report["unreadable"] = [{"family": "noto", "icon": "ox", "cause": "?"}]
    (folder / "build_report.json").write_text(json.dumps(report))
    with caplog.at_level(logging.WARNING):
        load_emoji(tmp_path)
    assert "1 emoji drawings could not be read" in caplog.text


def test_a_failed_build_leaves_no_dataset_behind(emoji, tmp_path):
    shutil.copytree(default_cache_dir() / "npm", tmp_path / "npm")
    noto = tmp_path / "npm" / EMOJI_FAMILIES["noto"].tarball_name
    noto.write_bytes(noto.read_bytes()[:-100])
    with pytest.raises(ValueError, match="iconify-json-noto"):
        load_emoji(tmp_path)
    assert not list((tmp_path / "datasets").iterdir())


def test_a_senseless_image_size_is_refused(tmp_path):
    with pytest.raises(ValueError, match="image_size must be at least 8 pixels, got 0"):
        load_emoji(tmp_path, image_size=0)
