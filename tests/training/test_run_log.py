# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The log survives kills and resumes, trackers get numbers, and the mean cosine equals a double loop."""

import json
import math

import pytest
import torch
from accelerate import Accelerator
from accelerate.tracking import GeneralTracker
from torch.nn.functional import normalize

from hf_cloob.training.run_log import RunLog, mean_pairwise_cosine, read_log, write_metrics


class Recorder(GeneralTracker):
    """A tracker that keeps what it is sent."""

    name = "recorder"
    requires_logging_directory = False
    main_process_only = True

    def __init__(self):
        super().__init__()
        self.sent = []

    @property
    def tracker(self):
        return self

    def store_init_configuration(self, values: dict) -> None:
        pass

    def log(self, values: dict, step: int | None, **kwargs) -> None:
        self.sent.append((step, values))


@pytest.fixture
def recorder():
    return Recorder()


@pytest.fixture
def accelerator(recorder):
    accelerator = Accelerator(cpu=True, log_with=recorder)
    accelerator.init_trackers("test")
    return accelerator


def test_records_go_to_the_file_and_to_the_trackers(accelerator, recorder, tmp_path):
    log = RunLog(accelerator, tmp_path / "log.jsonl")
    log.write(1, {"loss": 0.5})
    log.write(2, {"loss": 0.25, "lr": 1e-3})
    assert read_log(tmp_path / "log.jsonl") == [{"step": 1, "loss": 0.5}, {"step": 2, "loss": 0.25, "lr": 1e-3}]
    assert recorder.sent == [(1, {"loss": 0.5}), (2, {"loss": 0.25, "lr": 1e-3})]


def test_a_resumed_run_drops_what_came_after_its_step_and_goes_on(accelerator, tmp_path):
    path = tmp_path / "log.jsonl"
    log = RunLog(accelerator, path)
    for step in range(1, 6):
        log.write(step, {"loss": float(step)})
    resumed = RunLog(accelerator, path, resume_step=3)
    resumed.write(4, {"loss": 40.0})
    assert [(record["step"], record["loss"]) for record in read_log(path)] == [(1, 1), (2, 2), (3, 3), (4, 40)]


def test_a_half_written_last_line_is_dropped(accelerator, tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"step": 1, "loss": 1.0}\n{"step": 2, "loss": 0.5}\n{"step": 3, "lo')
    assert [record["step"] for record in read_log(path)] == [1, 2]
    log = RunLog(accelerator, path, resume_step=2)
    log.write(3, {"loss": 0.25})
    assert [record["step"] for record in read_log(path)] == [1, 2, 3]


def test_a_new_run_starts_an_empty_log(accelerator, tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"step": 1, "loss": 1.0}\n')
    RunLog(accelerator, path)
    assert read_log(path) == []


def test_what_is_not_finite_stays_visible_in_valid_json_and_numeric_for_trackers(accelerator, recorder, tmp_path):
    path = tmp_path / "log.jsonl"
    RunLog(accelerator, path).write(1, {"loss": math.nan, "grad_norm": math.inf})

    def refuse(name):
        raise AssertionError(f"{name} is not JSON")

    (line,) = path.read_text().splitlines()
    assert json.loads(line, parse_constant=refuse) == {"step": 1, "loss": "nan", "grad_norm": "inf"}
    ((_, sent),) = recorder.sent
    assert all(isinstance(value, float) for value in sent.values())


def test_mean_pairwise_cosine_equals_a_double_loop():
    embeds = normalize(torch.randn(7, 5, dtype=torch.float64) + 0.5, dim=-1)
    cosines = [embeds[i] @ embeds[j] for i in range(7) for j in range(7) if i != j]
    assert mean_pairwise_cosine(embeds).item() == pytest.approx(sum(cosines).item() / len(cosines), abs=1e-14)


def test_mean_pairwise_cosine_is_one_for_a_point_and_zero_for_a_basis():
    point = normalize(torch.ones(4, 3), dim=-1)
    assert mean_pairwise_cosine(point).item() == pytest.approx(1, abs=1e-6)
    assert mean_pairwise_cosine(torch.eye(4)).item() == 0


def test_metrics_are_written_sorted_and_to_the_last_digit(tmp_path):
    write_metrics(tmp_path / "metrics.json", {"b": 0.1 + 0.2, "a": 3})
    text = (tmp_path / "metrics.json").read_text()
    assert json.loads(text) == {"a": 3, "b": 0.30000000000000004}
    assert text.index('"a"') < text.index('"b"')
