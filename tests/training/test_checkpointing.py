# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints are whole or not there, rotated, found, and bring back everything that a step depends on."""

import random

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch import nn

from hf_cloob.training.checkpointing import TrainState, drop_checkpoints_after, find_checkpoint, save_checkpoint


class Run:
    """A model with dropout, its optimizer, schedule and state, as a training script registers them."""

    def __init__(self):
        torch.manual_seed(0)
        self.accelerator = Accelerator(cpu=True)
        model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 1))
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
        self.schedule = torch.optim.lr_scheduler.StepLR(optimizer, 2, gamma=0.5)
        self.state = TrainState()
        self.model, self.optimizer = self.accelerator.prepare(model, optimizer)
        self.accelerator.register_for_checkpointing(self.schedule, self.state)

    def train(self, steps: int) -> None:
        for _ in range(steps):
            inputs = torch.randn(3, 4) + random.random() + np.random.rand()
            self.accelerator.backward(self.model(inputs).square().mean())
            self.optimizer.step()
            self.optimizer.zero_grad()
            self.schedule.step()
            self.state.step += 1

    def weights(self) -> list[torch.Tensor]:
        return [parameter.detach().clone() for parameter in self.model.parameters()]


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_run_goes_on_from_a_checkpoint_as_if_it_had_not_stopped(tmp_path):
    whole = Run()
    whole.train(3)
    whole.state.best_metric, whole.state.best_step, whole.state.skipped = 0.25, 2, {"unreadable": 4}
    whole.state.num_good, whole.state.stream_positions = 96, {0: {"shard": 3}}
    path = save_checkpoint(whole.accelerator, tmp_path, whole.state.step, keep=1)
    whole.train(3)

    resumed = Run()
    torch.rand(5), random.random(), np.random.rand()
    resumed.accelerator.load_state(str(path))
    expected = {"step": 3, "best_metric": 0.25, "best_step": 2, "skipped": {"unreadable": 4}, "num_good": 96}
    assert vars(resumed.state) == vars(TrainState()) | expected | {"stream_positions": {0: {"shard": 3}}}
    assert resumed.schedule.last_epoch == 3
    resumed.train(3)
    assert all(torch.equal(one, other) for one, other in zip(whole.weights(), resumed.weights(), strict=True))


def test_only_the_newest_checkpoints_are_kept(tmp_path):
    run = Run()
    for step in (2, 4, 10, 999_998, 1_000_000):
        save_checkpoint(run.accelerator, tmp_path, step, keep=2)
    assert names(tmp_path) == ["step-1000000", "step-999998"]
    assert find_checkpoint("last", tmp_path).name == "step-1000000"


def test_a_checkpoint_has_its_name_only_when_it_is_whole(tmp_path):
    run = Run()
    save_checkpoint(run.accelerator, tmp_path, 4, keep=2)

    class Killed(Exception):
        pass

    def die(*args):
        assert names(tmp_path) == ["step-000004", "unfinished-000008"]
        raise Killed

    run.state.state_dict = die
    with pytest.raises(Killed):
        save_checkpoint(run.accelerator, tmp_path, 8, keep=2)
    assert find_checkpoint("last", tmp_path).name == "step-000004"
    with pytest.raises(ValueError, match=r"got '.*unfinished-000008'; .* holds step-000004"):
        find_checkpoint(str(tmp_path / "unfinished-000008"), tmp_path)

    del run.state.state_dict
    save_checkpoint(run.accelerator, tmp_path, 8, keep=2)
    assert names(tmp_path) == ["step-000004", "step-000008"]


def test_saving_a_step_again_replaces_it(tmp_path):
    run = Run()
    path = save_checkpoint(run.accelerator, tmp_path, 4, keep=2)
    (path / "of_before").touch()
    save_checkpoint(run.accelerator, tmp_path, 4, keep=2)
    assert names(tmp_path) == ["step-000004"]
    assert "of_before" not in names(path)


def test_a_checkpoint_is_found_by_its_path_too(tmp_path):
    run = Run()
    for step in (2, 4):
        save_checkpoint(run.accelerator, tmp_path, step, keep=2)
    assert find_checkpoint(str(tmp_path / "step-000002"), tmp_path / "elsewhere") == tmp_path / "step-000002"


def test_what_comes_after_a_step_can_be_dropped(tmp_path):
    for name in ("step-000002", "step-000004", "step-000006", "unfinished-000008", "notes"):
        (tmp_path / name).mkdir()
    drop_checkpoints_after(tmp_path, 4)
    assert names(tmp_path) == ["notes", "step-000002", "step-000004"]
    drop_checkpoints_after(tmp_path / "not there", 0)


def test_missing_checkpoints_and_a_limit_of_zero_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"resume_from_checkpoint='last', but .* holds no checkpoint"):
        find_checkpoint("last", tmp_path)
    with pytest.raises(ValueError, match="got 'step-000009'; .* holds no checkpoint"):
        find_checkpoint("step-000009", tmp_path)
    with pytest.raises(ValueError, match="save_total_limit must be at least 1, got 0"):
        save_checkpoint(Run().accelerator, tmp_path, 1, keep=0)
