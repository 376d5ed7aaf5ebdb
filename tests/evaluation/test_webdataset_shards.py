# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Real tar shards in CLIP_benchmark's layout come back whole, and nothing in them is unpickled."""

import io
import logging
import os
import pickle
import tarfile
from pathlib import Path

import numpy
import pytest
from PIL import Image

from hf_cloob.evaluation.suites import ZeroShotSuite, load_suite_folder
from hf_cloob.evaluation.webdataset_shards import read_webdataset, read_webdataset_captions


def image(color: int, form: str = "webp") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), (color, 0, 0)).save(buffer, form, **({"lossless": True} if form == "webp" else {}))
    return buffer.getvalue()


def array(values: list) -> bytes:
    buffer = io.BytesIO()
    numpy.save(buffer, numpy.array(values))
    return buffer.getvalue()


def write_shard(path: Path, members: dict[str, bytes], mode: str = "w") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


class Bomb:
    """Unpickling it would raise."""

    def __reduce__(self):
        return (exec, ("raise SystemExit('unpickled')",))


@pytest.fixture
def folder(tmp_path) -> Path:
    root = tmp_path / "wds_small"
    root.mkdir()
    (root / "classnames.txt").write_text("cat\ndog\ndog\n")
    (root / "zeroshot_classification_templates.txt").write_text("a photo of a {c}.\n")
    first = {"s0.webp": image(10), "s0.cls": b"2\n", "s1.cls": b"0", "s1.png": image(11, "png")}
    write_shard(root / "test" / "0.tar", first | {"s1.pkl": pickle.dumps(Bomb()), "s1.pyd": pickle.dumps(Bomb())})
    for shard in range(1, 10):
        write_shard(root / "test" / f"{shard}.tar", {f"r{shard}.jpg": image(0, "jpeg"), f"r{shard}.cls": b"0"})
    write_shard(root / "test" / "10.tar", {"s.0.webp": image(12), "t.webp": image(13), "t.cls": b"1"})
    (root / "test" / "nshards.txt").write_text("11")
    return root


def test_shards_come_back_in_order_with_their_labels(folder, tmp_path, caplog):
    suite = load_suite_folder(folder)
    with caplog.at_level(logging.WARNING):
        dataset = read_webdataset(folder, suite, cache_dir=tmp_path / "cache")
    assert dataset.column_names == ["image", "label"]
    samples = [(row["image"].getpixel((0, 0))[0], row["label"]) for row in dataset]
    assert samples == [(10, 2), (11, 0), *[(0, 0)] * 9, (13, 1)]
    assert suite.class_names[samples[0][1]] == "dog"
    assert any("1 samples left out" in message for message in caplog.messages)


def test_shards_replaced_under_their_names_are_read_again(folder, tmp_path):
    suite = load_suite_folder(folder)
    shard = folder / "test" / "10.tar"
    # Bitmaps: all of one size, so that only the time of change tells the shards apart.
    for color in (98, 99):
        write_shard(shard, {"t.png": image(color, "bmp"), "t.cls": b"1"})
        os.utime(shard, ns=(color, color))
        dataset = read_webdataset(folder, suite, cache_dir=tmp_path / "cache")
        assert dataset[-1]["image"].getpixel((0, 0))[0] == color


def test_arrays_mark_several_classes_an_image(folder, tmp_path):
    for shard in (folder / "test").iterdir():
        shard.unlink()
    members = {
        "a.jpg": image(1, "jpeg"),
        "a.npy": array([1, 0, 1]),
        "b.jpg": image(2, "jpeg"),
        "b.npy": array([0] * 3),
    }
    write_shard(folder / "test" / "0.tar", members)
    dataset = read_webdataset(folder, load_suite_folder(folder), cache_dir=tmp_path / "cache")
    assert dataset["labels"][:] == [[0, 2], []]


def test_captions_are_lines_of_text(tmp_path):
    write_shard(tmp_path / "0.tar", {"a.png": image(1, "png"), "a.txt": "a cat\n\n ein Kätzchen \n".encode()})
    dataset = read_webdataset_captions(tmp_path, cache_dir=tmp_path / "cache")
    assert dataset["captions"][:] == [["a cat", "ein Kätzchen"]]


def test_class_names_that_order_labels_otherwise_are_refused(folder):
    other = ZeroShotSuite("pets", "Pets", ("dog", "cat"), (), ("{}",), "top1")
    with pytest.raises(ValueError, match=r"orders the labels otherwise than suite 'pets'; load it as load_suite"):
        read_webdataset(folder, other)


def test_a_missing_or_damaged_shard_is_refused(folder):
    suite = load_suite_folder(folder)
    shard = folder / "test" / "10.tar"
    shard.write_bytes(shard.read_bytes()[:700])
    with pytest.raises(ValueError, match="10.tar .*cut off|10.tar does not read"):
        read_webdataset(folder, suite)
    write_shard(shard, {"t.webp": image(1), "t.cls": b"1"}, mode="w:gz")
    with pytest.raises(ValueError, match="10.tar does not read as an uncompressed tar"):
        read_webdataset(folder, suite)
    shard.unlink()
    with pytest.raises(ValueError, match="announces 11 shards, but 10 are there"):
        read_webdataset(folder, suite)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"a.webp": image(1), "a.cls": b"3"}, "has the label 3; suite 'test_suite' has 0 to 2"),
        ({"a.webp": image(1), "a.cls": b"cat"}, "a.cls of .* does not read"),
        ({"a.webp": image(1), "a.npy": array([Bomb()])}, "a.npy of .* does not read"),
        ({"a.webp": image(1), "a.npy": array([[1, 0, 0]])}, r"shape \(1, 3\)"),
        ({"a.webp": image(1), "a.cls": b"1", "b.webp": image(1), "b.npy": array([1])}, "hold cls and npy"),
        ({"a.webp": image(1), "a.txt": b"a cat"}, "hold no sample; expected images that all have cls or npy"),
    ],
)
def test_labels_of_another_form_are_refused(members, message, tmp_path):
    write_shard(tmp_path / "0.tar", members)
    suite = ZeroShotSuite("test_suite", "Test", ("a", "b", "c"), (), ("{}",), "top1")
    with pytest.raises(ValueError, match=message):
        read_webdataset(tmp_path, suite)


def test_a_folder_without_shards_is_refused(tmp_path):
    with pytest.raises(ValueError, match="holds a .tar shard"):
        read_webdataset_captions(tmp_path)
