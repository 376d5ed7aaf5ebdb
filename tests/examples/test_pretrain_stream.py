# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Real runs of pretrain.py on files: they count, resume and join processes as runs on datasets do."""

import json
import shutil
from pathlib import Path

import pytest
from dirty_corpus import plan, write_folder, write_parquet, write_tars
from safetensors.torch import load_file

from hf_cloob.data.bad_samples import flat_name
from hf_cloob.training.run_log import read_log

STREAMED = {"dataset_name": None, "shuffle_buffer_size": 20, "max_bad_fraction": 0.5}
CLIP_VISION = {
    "model_type": "clip_vision_model",
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "patch_size": 8,
}


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("shards")
    write_tars(plan(seed=0, each=2, good=150), folder, 5)
    return str(folder / "{000..004}.tar")


def metrics(folder: Path) -> dict:
    return json.loads((folder / "metrics.json").read_text())


def losses(folder: Path) -> list[float]:
    return [record["loss"] for record in read_log(folder / "train_log.jsonl") if "loss" in record]


def weights(folder: Path):
    tensors = load_file(folder / "checkpoints" / "step-000006" / "model.safetensors")
    return {name: tensor.tolist() for name, tensor in tensors.items()}


def test_a_run_on_shards_counts_by_cause_and_goes_on_to_the_bit(train, shards, tmp_path):
    train(train_files=shards, output_dir=tmp_path / "whole", **STREAMED)
    figures = metrics(tmp_path / "whole")
    causes = {
        name: count for name, count in figures.items() if name.startswith("skipped_") and name != "skipped_samples"
    }
    assert sum(causes.values()) == figures["skipped_samples"] > 0
    assert causes.keys() <= {flat_name(pair.cause) for pair in plan(0, 1, 0) if pair.cause}
    assert figures["selection_num_images"] <= 20

    shutil.copytree(tmp_path / "whole", tmp_path / "resumed")
    shutil.rmtree(tmp_path / "resumed" / "checkpoints" / "step-000006")
    train(train_files=shards, output_dir=tmp_path / "resumed", resume_from_checkpoint="last", **STREAMED)
    assert losses(tmp_path / "resumed") == losses(tmp_path / "whole")
    assert weights(tmp_path / "resumed") == weights(tmp_path / "whole")
    assert metrics(tmp_path / "resumed") == figures


def test_too_much_dirt_ends_the_run_with_one_line(mistake, shards, tmp_path):
    changes = STREAMED | {"max_bad_fraction": 0.001}
    message = mistake(train_files=shards, output_dir=tmp_path, **changes)
    assert "pairs read so far cannot be used, more than max_bad_fraction 0.001: " in message
    assert "(first: " in message and ".tar/" in message


def test_weights_need_a_number_for_each_source(mistake, shards, tmp_path):
    changes = STREAMED | {"dataset_weights": [1, 2]}
    message = mistake(train_files=shards, output_dir=tmp_path, **changes)
    assert message.startswith("dataset_weights takes a number for each of the 1 sources: ")


def test_pipes_are_refused_unless_allowed(mistake, tmp_path):
    message = mistake(train_files="pipe:cat x.tar", output_dir=tmp_path, **STREAMED)
    assert "would run a command of the shell; pass --allow_pipe_urls true" in message


@pytest.mark.slow
@pytest.mark.parametrize("form", ["folder", "parquet", "mixture", "streamed dataset"])
def test_every_kind_of_source_trains(train, pairs, shards, tmp_path, form):
    dirty = plan(seed=1, each=1, good=100)
    if form == "folder":
        changes = {"train_dir": write_folder(dirty, tmp_path / "pictures")}
    elif form == "parquet":
        changes = {"train_files": write_parquet(dirty, tmp_path / "a.parquet")}
    elif form == "mixture":
        changes = {"train_files": shards, "dataset_name": pairs, "dataset_weights": [1, 3]}
    else:
        changes = {"dataset_name": pairs, "streaming": True}
    train(output_dir=tmp_path / "out", **(STREAMED | changes))
    assert metrics(tmp_path / "out")["steps"] == 6


@pytest.mark.slow
def test_two_processes_train_as_one_and_one_goes_on_where_two_stopped(command, train, flags, shards, tmp_path):
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
    changes = STREAMED | {"train_files": shards, "vision_config": CLIP_VISION, "batch_size": 16}
    train(output_dir=tmp_path / "one", **changes)
    result = command("pretrain.py", *flags(output_dir=tmp_path / "two", **changes), launcher=torchrun)
    assert result.returncode == 0, result.stderr
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), abs=1e-5)
    one, two = metrics(tmp_path / "one"), metrics(tmp_path / "two")
    skipped = [name for name in one if name.startswith(("skipped", "false_negatives"))]
    assert {name: two[name] for name in skipped} == {name: one[name] for name in skipped}

    shutil.copytree(tmp_path / "two", tmp_path / "resumed")
    checkpoint = tmp_path / "resumed" / "checkpoints" / "step-000003"
    train(output_dir=tmp_path / "resumed", resume_from_checkpoint=checkpoint, num_workers=2, **changes)
    assert losses(tmp_path / "resumed") == pytest.approx(losses(tmp_path / "two"), abs=1e-5)
