# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""build_memory.py on real pairs: what it leaves, again and again, without the pictures of a test set."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import build_memory
import datasets
import pytest
import torch
from safetensors.torch import load_file
from tiny_reco import random_memory, save_base, tiny_base_processor
from transformers import AutoModel, AutoProcessor

from hf_cloob import RecoForZeroShot, RecoMemory
from hf_cloob.data.sources import load_pairs

TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
# For the tiny encoder, cosines of different pictures lie below DISTINCT, those of a picture with itself above SAME.
DISTINCT, THRESHOLD, SAME = 0.9, 0.95, 0.999


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return save_base("clip", tmp_path_factory.mktemp("base"))


@pytest.fixture
def build(base, pairs, fresh_accelerate, monkeypatch):
    """Run build_memory.py's main in this process."""

    def run(output_dir: Path, *flags, checkpoint: Path = base, **changes) -> dict:
        named = {"dataset_name": pairs, "output_dir": output_dir, "batch_size": 16, "shard_size": 32} | changes
        line = [str(part) for name, value in named.items() for part in (f"--{name}", value)]
        monkeypatch.setattr(sys, "argv", ["build_memory.py", str(checkpoint), *line, *map(str, flags)])
        build_memory.main()
        return json.loads((output_dir / "metrics.json").read_text())

    return run


@pytest.fixture
def mistake(build, tmp_path):
    """The one line with which build_memory.py ends."""

    def run(*flags, **changes) -> str:
        with pytest.raises(SystemExit) as stop:
            build(tmp_path / "out", *flags, **changes)
        assert stop.value.__suppress_context__ and "\n" not in str(stop.value)
        return str(stop.value).removeprefix("build_memory.py: ")

    return run


def same_memory(one: Path, other: Path) -> bool:
    first, second = (load_file(folder / "memory.safetensors") for folder in (one, other))
    return all(torch.equal(first[name], second[name]) for name in ("ids", "image_embeds", "text_embeds"))


def without_time(metrics: dict) -> dict:
    return {name: value for name, value in metrics.items() if name not in ("seconds", "num_processes")}


def test_a_build_leaves_a_memory_of_all_pairs_and_flat_figures(build, base, pairs, tmp_path):
    metrics = build(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        *("memory.safetensors", "memory_entries.parquet", "memory_build.json", "metrics.json", "arguments.json")
    }
    memory, captions = RecoMemory.from_pretrained(tmp_path), load_pairs(str(pairs))["captions"]
    assert memory.ids.tolist() == list(range(100))
    assert memory.captions_of(memory.ids) == [own[0] for own in captions]
    model, processor = AutoModel.from_pretrained(base), AutoProcessor.from_pretrained(base)
    rows = [{"image": row["image"], "caption": row["captions"]} for row in load_pairs(str(pairs))]
    expected = RecoMemory.build(model, processor, rows, batch_size=16, show_progress=False)
    assert memory.fingerprint == expected.fingerprint
    torch.testing.assert_close(memory.image_embeds, expected.image_embeds, rtol=0, atol=1e-3)
    torch.testing.assert_close(memory.text_embeds, expected.text_embeds, rtol=0, atol=1e-3)
    size = sum((tmp_path / name).stat().st_size for name in ("memory.safetensors", "memory_entries.parquet"))
    assert without_time(metrics) == {
        **{"rows": 100, "entries": 100, "skipped_rows": 0, "near_duplicates_removed": 0},
        **{"projection_dim": 16, "bytes": size},
    }
    assert metrics["seconds"] > 0 and metrics["num_processes"] == 1


def test_the_same_command_again_builds_nothing_and_another_one_is_refused(build, mistake, tmp_path):
    before = build(tmp_path / "out")
    written = (tmp_path / "out" / "memory.safetensors").stat().st_mtime_ns
    assert without_time(build(tmp_path / "out")) == without_time(before)
    assert (tmp_path / "out" / "memory.safetensors").stat().st_mtime_ns == written
    assert "holds another memory, or part of one: batch_size was 16 and is 17 now" in mistake(batch_size=17)


def test_broken_pictures_are_left_out_and_counted(build, pairs, tmp_path):
    rows = datasets.load_dataset("parquet", data_files=str(pairs / "train.parquet"), split="train").to_list()
    for index in range(0, 100, 10):
        rows[index]["image"] = {"bytes": b"not a picture", "path": None}
    features = datasets.Features({"image": datasets.Image(), "caption": datasets.List(datasets.Value("string"))})
    columns = {name: [row[name] for row in rows] for name in ("image", "caption")}
    datasets.Dataset.from_dict(columns, features=features).save_to_disk(tmp_path / "pairs")
    metrics = build(tmp_path / "out", dataset_name=tmp_path / "pairs")
    assert (metrics["rows"], metrics["entries"], metrics["skipped_rows"]) == (100, 90, 10)
    assert not (RecoMemory.from_pretrained(tmp_path / "out").ids % 10 == 0).any()


def test_tar_shards_and_tables_of_paths_are_read_as_the_recipe_for_a_large_corpus_says(build, pairs, tmp_path):
    rows = load_pairs(str(pairs)).select(range(6))
    for name in ("shards", "table", "pictures"):
        (tmp_path / name).mkdir()
    table = ["path,text"]
    for index, row in enumerate(rows):
        picture, caption = tmp_path / "pictures" / f"{index:09d}.png", row["captions"][0]
        row["image"].save(picture)
        table.append(f'{picture},"{caption}"')
        with tarfile.open(tmp_path / "shards" / f"{index // 3:05d}.tar", "a") as shard:
            shard.add(picture, picture.name)
            text = tarfile.TarInfo(f"{index:09d}.txt")
            text.size = len(caption.encode())
            shard.addfile(text, io.BytesIO(caption.encode()))
    (tmp_path / "table" / "train.csv").write_text("\n".join(table), encoding="utf-8")
    columns = {"image_column": "png", "caption_column": "txt"}
    build(tmp_path / "of_shards", dataset_name=tmp_path / "shards", **columns)
    columns = {"image_column": "path", "caption_column": "text"}
    build(tmp_path / "of_table", dataset_name=tmp_path / "table", **columns)
    memory = RecoMemory.from_pretrained(tmp_path / "of_shards")
    assert memory.captions_of(memory.ids) == [captions[0] for captions in rows["captions"]]
    assert same_memory(tmp_path / "of_shards", tmp_path / "of_table")


def test_a_reco_checkpoint_embeds_with_its_base(build, base, tmp_path):
    model = RecoForZeroShot.from_base(base)
    model.set_memory(random_memory(10))
    model.save_pretrained(tmp_path / "reco", save_memory=True)
    tiny_base_processor("clip").save_pretrained(tmp_path / "reco")
    build(tmp_path / "of_base")
    build(tmp_path / "of_reco", checkpoint=tmp_path / "reco")
    assert same_memory(tmp_path / "of_base", tmp_path / "of_reco")


# Pictures of a test set


@pytest.fixture(scope="module")
def distinct_rows(base, pairs) -> list[int]:
    """Rows of which no two pictures are similar, chosen greedily."""
    model, processor = AutoModel.from_pretrained(base), AutoProcessor.from_pretrained(base)
    embeds = model.get_image_features(
        **processor.image_processor(load_pairs(str(pairs))["image"][:], return_tensors="pt")
    ).pooler_output
    cosines = torch.nn.functional.cosine_similarity(embeds[:, None], embeds, dim=-1)
    rows: list[int] = []
    for row in range(len(cosines)):
        if not rows or cosines[row, rows].max() < DISTINCT:
            rows.append(row)
    assert len(rows) >= 30
    return rows


@pytest.fixture(scope="module")
def own_and_test_pairs(distinct_rows, pairs, tmp_path_factory) -> tuple[Path, Path]:
    """Distinct pairs, and a test set of the pictures of the first three among two that are no pair's."""
    folder, rows = tmp_path_factory.mktemp("split"), load_pairs(str(pairs))
    own, unknown = distinct_rows[:-2], distinct_rows[-2:]
    splits = {"train": rows.select(own).rename_column("captions", "caption")}
    datasets.DatasetDict(splits).save_to_disk(folder / "own")
    # Another order and another number of pictures: they are embedded in other batches than the memory's.
    tested = rows.select([unknown[0], *own[2::-1], unknown[1]]).select_columns("image")
    datasets.DatasetDict({"test": tested}).save_to_disk(folder / "tested")
    return folder / "own", folder / "tested"


@pytest.fixture
def filtered(build, own_and_test_pairs):
    own, tested = own_and_test_pairs

    def run(output_dir: Path, **changes) -> dict:
        flags = {"exclude_near_duplicates_of": tested, "near_duplicate_threshold": THRESHOLD} | changes
        return build(output_dir, dataset_name=own, **flags)

    return run


def test_pictures_of_the_test_set_are_removed_counted_and_listed(filtered, distinct_rows, tmp_path):
    metrics = filtered(tmp_path)
    entries = len(distinct_rows) - 2
    assert (metrics["rows"], metrics["entries"], metrics["near_duplicates_removed"]) == (entries, entries - 3, 3)
    assert metrics["skipped_rows"] == 0
    assert RecoMemory.from_pretrained(tmp_path).ids.tolist() == list(range(3, entries))
    assert json.loads((tmp_path / "near_duplicates.json").read_text())["removed_ids"] == [0, 1, 2]


def test_the_same_picture_is_found_at_the_largest_threshold_and_a_lower_one_finds_more(filtered, tmp_path):
    assert filtered(tmp_path / "largest", near_duplicate_threshold=SAME)["near_duplicates_removed"] == 3
    assert filtered(tmp_path / "low", near_duplicate_threshold=0.5)["near_duplicates_removed"] > 3


def test_the_same_command_again_remembers_what_it_removed(filtered, build, own_and_test_pairs, tmp_path):
    first = filtered(tmp_path)
    assert without_time(filtered(tmp_path)) == without_time(first)
    for changes in ({"near_duplicate_threshold": 0.998}, {"exclude_near_duplicates_of": ""}):
        with pytest.raises(SystemExit, match="holds a memory that was filtered with"):
            filtered(tmp_path, **changes)


def test_a_memory_that_was_killed_while_it_was_replaced_is_replaced(filtered, tmp_path):
    expected = filtered(tmp_path / "whole")
    filtered(tmp_path / "killed")
    # As it is when the process ends between the two files' moves.
    (tmp_path / "killed" / build_memory.FILTERED_FOLDER).mkdir()
    shutil.move(tmp_path / "killed" / "memory.safetensors", tmp_path / "killed" / build_memory.FILTERED_FOLDER)
    assert without_time(filtered(tmp_path / "killed")) == without_time(expected)
    assert same_memory(tmp_path / "whole", tmp_path / "killed")
    assert not (tmp_path / "killed" / build_memory.FILTERED_FOLDER).exists()


def test_a_finished_memory_can_be_filtered_later(build, filtered, own_and_test_pairs, tmp_path):
    build(tmp_path, dataset_name=own_and_test_pairs[0])
    assert filtered(tmp_path)["near_duplicates_removed"] == 3


# Mistakes


def test_mistakes_end_with_one_line(mistake, pairs):
    assert mistake(near_duplicate_threshold=0.9999).startswith(
        "near_duplicate_threshold must be above -1 and at most 0.999, got 0.9999: with float16 keys"
    )
    assert mistake(batch_size=0) == "batch_size must be at least 1, got 0"
    assert mistake(dtype="int8") == "dtype must be one of float32, bfloat16, float16, got 'int8'"
    assert "has no column 'text' (caption_column)" in mistake(caption_column="text")
    assert "No dataset" in mistake(dataset_name="nowhere/at/all")
    assert mistake(exclude_near_duplicates_of=pairs).startswith(f"exclude_near_duplicates_of {pairs} (test):")
    assert mistake(checkpoint="nowhere/at/all").startswith("checkpoint 'nowhere/at/all':")


def test_a_checkpoint_that_embeds_no_pairs_is_named(mistake, tmp_path):
    from transformers import BertConfig, BertModel

    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    BertModel(BertConfig(vocab_size=9, **sizes)).save_pretrained(tmp_path / "bert")
    message = mistake(checkpoint=tmp_path / "bert")
    assert message.endswith("a 'bert' model, has no get_image_features and no get_text_features")


# Processes


@pytest.mark.slow
def test_two_processes_build_and_filter_the_same_memory(command, filtered, base, own_and_test_pairs, tmp_path):
    expected = filtered(tmp_path / "one", batch_size=4, shard_size=8)
    own, tested = own_and_test_pairs
    flags = ("--dataset_name", own, "--output_dir", tmp_path / "two", "--batch_size", "4", "--shard_size", "8")
    flags += ("--exclude_near_duplicates_of", tested, "--near_duplicate_threshold", THRESHOLD)
    result = command("build_memory.py", base, *flags, launcher=TORCHRUN)
    assert result.returncode == 0, result.stderr
    metrics = json.loads((tmp_path / "two" / "metrics.json").read_text())
    assert without_time(metrics) == without_time(expected) and metrics["num_processes"] == 2
    assert same_memory(tmp_path / "one", tmp_path / "two")


@pytest.mark.slow
def test_a_killed_build_goes_on_to_the_same_memory(build, base, pairs, environment, tmp_path):
    build(tmp_path / "whole", batch_size=1, shard_size=1)
    flags = ["--output_dir", str(tmp_path / "killed"), "--batch_size", "1", "--shard_size", "1"]
    line = [sys.executable, build_memory.__file__, str(base), "--dataset_name", str(pairs), *flags]
    process = subprocess.Popen(line, env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while not (shard := tmp_path / "killed" / "memory_shards" / "000003").exists():
        assert process.poll() is None
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert shard.exists() and not (tmp_path / "killed" / "metrics.json").exists()
    build(tmp_path / "killed", batch_size=1, shard_size=1)
    assert same_memory(tmp_path / "whole", tmp_path / "killed")
