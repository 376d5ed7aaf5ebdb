# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Tar shards in img2dataset's layout: whole and damaged, local and remote; nothing but named members is looked at."""

import functools
import gzip
import http.server
import json
import pickle
import random
import tarfile
import threading
from collections import Counter

import pytest
import torch
import webdataset
from dirty_corpus import Planted, add_member, damaged_tars, encode, picture, write_tar, write_tars

from hf_cloob.data.bad_samples import BadSample
from hf_cloob.data.shards import EncodedPair
from hf_cloob.data.survey import SurveyedShards
from hf_cloob.data.tar_shards import TarShards

IMAGE = encode(picture(random.Random(0)))


def pairs(count):
    return [Planted("plain", IMAGE, f"caption {n}".encode(), None) for n in range(count)]


def read(source):
    items = [item for shard in range(source.num_shards) for item in source.read(shard, 0)]
    good = [item for item in items if isinstance(item, EncodedPair)]
    return good, Counter(item.cause for item in items if isinstance(item, BadSample))


def shard_of(path, members):
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            add_member(archive, name, content)
    return str(path)


def test_images_and_captions_come_in_their_order(tmp_path):
    good, bad = read(TarShards([str(path) for path in write_tars(pairs(7), tmp_path, 2)]))
    assert [pair.captions for pair in good] == [[f"caption {n}"] for n in (0, 2, 4, 6, 1, 3, 5)]
    assert {pair.image for pair in good} == {IMAGE}
    assert good[0].place == f"{tmp_path}/000.tar/00000000"
    assert not bad


def test_shards_of_webdatasets_own_writer_are_read(tmp_path):
    with webdataset.TarWriter(str(tmp_path / "a.tar")) as writer:
        for number in range(3):
            writer.write({"__key__": f"deep/er/{number}", "jpg": IMAGE, "txt": f"c {number}", "json": {"a": 1}})
    good, bad = read(TarShards([str(tmp_path / "a.tar")]))
    assert ([pair.captions for pair in good], bad) == ([["c 0"], ["c 1"], ["c 2"]], Counter())


def test_damaged_shards_give_what_is_whole_and_are_counted(tmp_path):
    paths, num_good, causes = damaged_tars(pairs(6), tmp_path)
    for path in paths:
        _, bad = read(TarShards([str(path)]))
        assert bad.total() == 1, path
    good, bad = read(TarShards([str(path) for path in paths]))
    assert (len(good), bad) == (num_good, causes)


def test_a_compressed_shard_is_read_and_a_cut_one_is_counted(tmp_path):
    content = gzip.compress(write_tar(pairs(5), tmp_path / "a.tar").read_bytes())
    (tmp_path / "a.tar.gz").write_bytes(content)
    (tmp_path / "b.tar.gz").write_bytes(content[: len(content) // 2])
    good, bad = read(TarShards([str(tmp_path / "a.tar.gz")]))
    assert (len(good), bad.total()) == (5, 0)
    _, bad = read(TarShards([str(tmp_path / "b.tar.gz")]))
    assert bad.total() == 1


def test_captions_come_from_members_and_fields_that_are_named(tmp_path):
    fields = {"caption": "of the field", "alt": ["one", "two"], "number": 7}
    path = shard_of(
        tmp_path / "a.tar", {"0.png": IMAGE, "0.txt": b"of the member", "0.json": json.dumps(fields).encode()}
    )
    columns = {None: ["of the member"], ("alt", "txt"): ["one", "two", "of the member"], ("number",): ["7"]}
    for names, expected in columns.items():
        (good,), _ = read(TarShards([path], names))
        assert good.captions == expected
    only_fields = shard_of(tmp_path / "b.tar", {"0.png": IMAGE, "0.json": json.dumps(fields).encode()})
    (good,), _ = read(TarShards([only_fields]))
    assert good.captions == ["of the field"]
    broken = shard_of(tmp_path / "c.tar", {"0.png": IMAGE, "0.json": b"{", "1.png": IMAGE, "1.json": b"[1]"})
    assert read(TarShards([broken]))[1] == {"broken JSON": 1, "missing caption": 1}


class Bomb:
    """What a pickle can do to who loads it."""

    def __reduce__(self):
        return exec, ("raise SystemExit('unpickled')",)


def test_other_members_are_not_looked_at_and_pickles_stay_closed(tmp_path):
    bomb = pickle.dumps(Bomb())
    members = {"0.jpg": IMAGE, "0.txt": b"a", "0.pyd": bomb, "0.pkl": bomb, "__meta__/x.txt": b"no", "readme": b"no"}
    good, bad = read(TarShards([shard_of(tmp_path / "a.tar", members)]))
    assert ([pair.captions for pair in good], bad) == ([["a"]], Counter())


def test_links_and_folders_in_a_shard_are_passed_over(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name, kind in (("0.jpg", tarfile.SYMTYPE), ("x", tarfile.DIRTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
        for name, content in {"1.jpg": IMAGE, "1.txt": b"a"}.items():
            add_member(archive, name, content)
    good, bad = read(TarShards([str(tmp_path / "a.tar")]))
    assert (len(good), bad.total()) == (1, 0)


def test_pipes_are_refused_unless_they_are_allowed(tmp_path):
    path = write_tar(pairs(3), tmp_path / "a.tar")
    with pytest.raises(ValueError, match="'pipe:cat .*would run a command of the shell; pass --allow_pipe_urls true"):
        TarShards([f"pipe:cat {path}"])
    good, bad = read(TarShards([f"pipe:cat {path}"], allow_pipe_urls=True))
    assert (len(good), bad.total()) == (3, 0)
    good, bad = read(TarShards([f"pipe:head -c 6000 {path}; exit 3"], allow_pipe_urls=True))
    assert bad == {"unreadable shard": 1} or bad == {"shard cut off": 1}


@pytest.fixture
def server(tmp_path):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Quiet, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("localhost", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://localhost:{running.server_address[1]}"
        running.shutdown()
        thread.join()


def test_remote_shards_are_read_and_a_missing_one_is_counted(server, tmp_path):
    write_tars(pairs(20), tmp_path, 2)
    content = (tmp_path / "001.tar").read_bytes()
    (tmp_path / "002.tar").write_bytes(content[: len(content) // 2])
    source = TarShards([f"{server}/{number:03d}.tar" for number in range(4)])
    good, bad = read(source)
    assert 20 < len(good) < 30
    assert bad == {"shard cut off": 1, "unreadable shard": 1}


def test_workers_read_remote_shards_although_their_parent_has_read_some(server, tmp_path):
    write_tars(pairs(20), tmp_path, 4)
    source = TarShards([f"{server}/{number:03d}.tar" for number in range(4)])
    source.hold_out(2)
    loader = torch.utils.data.DataLoader(SurveyedShards(source), batch_size=None, num_workers=2)
    assert sum(shard["num_good"] for shard in loader) == 18


def test_what_is_held_out_is_read_no_more(tmp_path):
    source = TarShards([str(path) for path in write_tars(pairs(10), tmp_path, 3)])
    held_out = source.hold_out(5)
    rest, _ = read(source)
    assert len(held_out) == len(rest) == 5
    assert {pair.captions[0] for pair in held_out + rest} == {f"caption {n}" for n in range(10)}


def test_no_shard_is_an_error():
    with pytest.raises(ValueError, match="No tar shard"):
        TarShards([])
