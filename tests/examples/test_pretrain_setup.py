# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""A run on the CPU has all cores, unless the user says otherwise; launchers would give it one."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pretrain
import pretrain_setup
import pytest

LAUNCHERS = {
    "accelerate": ("-m", "accelerate.commands.launch", "--num_processes", "1", "--num_machines", "1"),
    "torchrun": ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"),
}
# What every launcher does, without importing torch.
LAUNCHER = """
import os, subprocess, sys
os.environ.setdefault("OMP_NUM_THREADS", "1")
code = "import pretrain_setup; print(pretrain_setup.launcher_chose_threads())"
subprocess.run([sys.executable, "-c", code], check=True)
"""
PROCESSES = {"accelerate": 1, "torchrun": 2}


def threads_of_a_process(launcher: str, flags, environment, folder, **variables) -> int:
    """What pretrain.py prints about its threads."""
    line = [*LAUNCHERS[launcher], pretrain.__file__, *flags(output_dir=folder, max_train_steps=3)]
    environment = {name: value for name, value in environment.items() if name != "OMP_NUM_THREADS"} | variables
    result = subprocess.run([sys.executable, *line], capture_output=True, text=True, env=environment, timeout=600)
    assert result.returncode == 0, result.stderr
    return int(re.search(r"(\d+) thread\(s\) a process", result.stdout)[1])


@pytest.mark.slow
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_the_processes_of_a_run_share_all_cores(launcher, flags, environment, tmp_path):
    threads = threads_of_a_process(launcher, flags, environment, tmp_path)
    assert threads == max(1, pretrain_setup.available_cores() // PROCESSES[launcher])


@pytest.mark.slow
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_number_of_threads_that_the_user_chose_stays(launcher, flags, environment, tmp_path):
    assert threads_of_a_process(launcher, flags, environment, tmp_path, OMP_NUM_THREADS="1") == 1


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"ACCELERATE_MIXED_PRECISION": "no"}, True),
        ({"TORCHELASTIC_RUN_ID": "none"}, True),
        ({"TORCHELASTIC_RUN_ID": "none", "OMP_NUM_THREADS": "1"}, False),
        ({"TORCHELASTIC_RUN_ID": "none", "OMP_NUM_THREADS": "2"}, False),
        ({}, False),
    ],
    ids=lambda value: " ".join(value) or "no launcher" if isinstance(value, dict) else None,
)
def test_one_thread_is_the_launchers_choice_if_the_user_gave_it_none(variables, expected):
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"} | variables
    environment["PYTHONPATH"] = str(Path(pretrain.__file__).parent)
    result = subprocess.run([sys.executable, "-c", LAUNCHER], env=environment, capture_output=True, text=True)
    assert result.stdout.strip() == str(expected), result.stderr
