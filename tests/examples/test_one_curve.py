# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""One process, two processes and micro-batches draw the same training curve, step by step, on the same samples."""

import pytest

from hf_cloob.training.run_log import read_log

TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
# Towers without batch statistics and dropout: what parts of a batch compute must add up to what the whole does.
TRANSFORMER = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
CURVE = {
    "vision_config": {"model_type": "clip_vision_model", **TRANSFORMER, "patch_size": 8},
    "text_config": {"model_type": "clip_text_model", **TRANSFORMER},
    "batch_size": 16,
    "learning_rate": 0.001,
    # Without it float32's rounding alone moves a step's loss by more than 1e-5.
    "warmup_steps": 20,
    "eval_steps": 200,
    "save_steps": 200,
}
OBJECTIVES = {
    # Retrieval is warmed up as well. From the first step on it makes the embeddings collapse, and on the way out of
    # that any difference, a rounding or a change of the weights in float64, grows a thousandfold within 200 steps.
    "cloob": {"hopfield_scale": 8, "retrieval_warmup_steps": 100},
    "clip": {"contrastive_loss": "infonce"},
    "siglip": {"contrastive_loss": "sigmoid"},
}


def losses(folder) -> list[float]:
    return [record["loss"] for record in read_log(folder / "train_log.jsonl") if "loss" in record]


@pytest.mark.parametrize("name", OBJECTIVES)
def test_four_micro_batches_draw_the_curve_of_the_whole_batch(train, tmp_path, name):
    changes = CURVE | OBJECTIVES[name] | {"max_train_steps": 30, "output_dir": tmp_path / "whole"}
    train(**changes)
    train(**changes | {"output_dir": tmp_path / "micro", "micro_batch_size": 4})
    whole = losses(tmp_path / "whole")
    assert len(whole) == 30 and abs(whole[-1] - whole[0]) > 0.05
    assert losses(tmp_path / "micro") == pytest.approx(whole, abs=1e-5, rel=0)


def test_accumulated_batches_of_a_quarter_draw_another_curve(train, tmp_path):
    changes = CURVE | {"max_train_steps": 5, "warmup_steps": 1, "output_dir": tmp_path / "whole"}
    train(**changes)
    train(**changes | {"output_dir": tmp_path / "quarters", "batch_size": 4, "gradient_accumulation_steps": 4})
    differences = [abs(one - other) for one, other in zip(*map(losses, tmp_path.iterdir()), strict=True)]
    assert min(differences) > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("name", OBJECTIVES)
def test_processes_and_micro_batches_draw_one_curve_over_200_steps(command, flags, tmp_path, name):
    runs = {
        "one": ((), {}),
        "two": (TORCHRUN, {}),
        "micro": ((), {"micro_batch_size": 4}),
        "two_micro": (TORCHRUN, {"micro_batch_size": 2}),
    }
    for folder, (launcher, changes) in runs.items():
        changes |= CURVE | OBJECTIVES[name] | {"max_train_steps": 200, "output_dir": tmp_path / folder}
        result = command("pretrain.py", *flags(**changes), launcher=launcher)
        assert result.returncode == 0, result.stderr
        assert f"{2 if launcher else 1} process(es), cpu" in result.stdout
    one = losses(tmp_path / "one")
    assert len(one) == 200 and abs(one[-1] - one[0]) > 0.1
    for folder in runs:
        assert losses(tmp_path / folder) == pytest.approx(one, abs=1e-5, rel=0), folder
