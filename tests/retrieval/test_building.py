# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Building a memory in shards: killed and resumed, over processes, and never mixed with another build."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from hf_cloob import RecoMemory
from hf_cloob.reco_building import NoUsableRow
from hf_cloob.retrieval import building
from hf_cloob.retrieval.building import PLAN_FILE, SHARDS_FOLDER
from tests import retrieval_workers
from tests.gloo import run_in_processes
from tests.retrieval_workers import BROKEN_ROWS, build, build_in_process, pictures
from tests.tiny_reco import random_memory, tiny_base, tiny_base_processor

KEPT = [row for row in range(18) if row not in BROKEN_ROWS]
TESTS = Path(retrieval_workers.__file__).parent


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("pictures") / "of"


@pytest.fixture(scope="module")
def built(folder, tmp_path_factory) -> RecoMemory:
    return build(folder, tmp_path_factory.mktemp("built"))


@pytest.fixture(autouse=True)
def fresh_state():
    """Accelerate keeps one state a process; a test's must not be the next one's."""
    yield
    from accelerate.state import PartialState

    PartialState._reset_state()


def same(first: RecoMemory, second: RecoMemory) -> bool:
    return all(
        torch.equal(getattr(first, name), getattr(second, name)) for name in ("ids", "image_embeds", "text_embeds")
    )


def test_shards_become_the_memory_of_the_whole_dataset(built, folder):
    whole = RecoMemory.build(
        tiny_base("cloob"), tiny_base_processor("cloob"), pictures(folder), batch_size=3, show_progress=False
    )
    assert built.ids.tolist() == KEPT and torch.equal(built.ids, whole.ids)
    torch.testing.assert_close(built.image_embeds.float(), whole.image_embeds.float(), rtol=0, atol=1e-3)
    torch.testing.assert_close(built.text_embeds.float(), whole.text_embeds.float(), rtol=0, atol=1e-3)
    assert built.captions_of(built.ids) == [f"picture number {row}" for row in KEPT]
    assert built.fingerprint == whole.fingerprint


def test_only_the_memory_is_left_and_is_not_built_again(built, folder, tmp_path):
    build(folder, tmp_path)
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert set(before) == {"memory.safetensors", "memory_entries.parquet", PLAN_FILE}
    assert same(build(folder, tmp_path), built)
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_two_processes_build_the_same_memory(built, folder, tmp_path):
    for ids, image_embeds, text_embeds in run_in_processes(build_in_process, 2, str(folder), str(tmp_path / "memory")):
        assert torch.equal(ids, built.ids) and torch.equal(image_embeds, built.image_embeds)
        assert torch.equal(text_embeds, built.text_embeds)
    assert not (tmp_path / "memory" / SHARDS_FOLDER).exists()


def test_a_killed_build_goes_on_where_it_was(built, folder, tmp_path, monkeypatch):
    output = tmp_path / "memory"
    pictures(folder)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(TESTS / "retrieval_workers.py"), str(folder), str(output)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout.readline() == "shard\n"
        process.kill()
    (done,) = (output / SHARDS_FOLDER).iterdir()
    written = (done / "memory.safetensors").stat().st_mtime_ns
    # What a build leaves that is killed while it writes.
    (output / SHARDS_FOLDER / "000002.unfinished").mkdir()
    kept = []
    join = building._join

    def watched(folders: list[Path], output_dir: Path) -> None:
        kept.append((done / "memory.safetensors").stat().st_mtime_ns)
        join(folders, output_dir)

    monkeypatch.setattr(building, "_join", watched)
    assert same(build(folder, output), built) and kept == [written]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shard_size": 5}, "holds another memory, or part of one: shard_size was 4 and is 5 now"),
        ({"batch_size": 4}, "batch_size was 3 and is 4 now"),
        ({"shard_size": 0}, "shard_size must be at least 1, got 0"),
        ({"caption_column": "text"}, r"no column 'text'; its columns are \['image', 'caption'\]"),
    ],
)
def test_another_builds_folder_is_refused(changes, message, folder, tmp_path):
    build(folder, tmp_path)
    with pytest.raises(ValueError, match=message):
        build(folder, tmp_path, **changes)


def test_a_memory_that_was_not_built_here_is_not_replaced(folder, tmp_path):
    random_memory().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="holds a memory that was not built here"):
        build(folder, tmp_path)
    assert len(RecoMemory.from_pretrained(tmp_path)) == 40


def test_a_dataset_of_broken_rows_alone_is_named(folder, tmp_path, monkeypatch):
    broken = pictures(folder).select([4, 5, 6, 7])
    monkeypatch.setattr(retrieval_workers, "pictures", lambda folder: broken)
    with pytest.raises(NoUsableRow, match="No row of the dataset has a readable image and a caption"):
        build(folder, tmp_path)
