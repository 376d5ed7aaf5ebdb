# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Real processes for tests: run an importable function in N gloo processes and hand back what each returned.

Starting a process costs seconds (it imports torch and transformers), so a group of processes is kept for the next
call. A group in which one failed or hung is killed, because the others may wait for it in a collective.
"""

import atexit
import io
import os
import shutil
import tempfile
import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

_groups: dict[int, "_Group"] = {}


def run_in_processes(
    function: Callable, world_size: int = 2, *args, timeout: float = 120.0, keep: bool = True
) -> list:
    """Run `function(rank, *args)` in `world_size` processes joined by gloo and return the results by rank.

    Args:
        function: a top-level function of an importable module; its result must survive torch.save.
        world_size: number of processes, started by spawn, on the CPU with one thread each.
        args: passed on, must survive pickling.
        timeout: seconds until a hang counts as a failure; starting the processes is not counted.
        keep: False if the function leaves its process group unusable.

    Raises:
        RuntimeError: with the traceback of the first process that failed, or after the time-out.
    """
    if world_size not in _groups:
        _groups[world_size] = _Group(world_size)
    try:
        results = _groups[world_size].run(function, args, timeout)
    except BaseException:
        _groups.pop(world_size).close()
        raise
    if not keep:
        _groups.pop(world_size).close()
    return results


class _Group:
    def __init__(self, world_size: int):
        self.folder = tempfile.mkdtemp()
        context = mp.get_context("spawn")
        pipes = [context.Pipe() for _ in range(world_size)]
        self.connections = [ours for ours, _ in pipes]
        self.processes = [
            context.Process(target=_serve, args=(rank, world_size, self.folder, theirs), daemon=True)
            for rank, (_, theirs) in enumerate(pipes)
        ]
        for process in self.processes:
            process.start()
        self._receive(timeout=120.0, what="the start")

    def run(self, function: Callable, args: tuple, timeout: float) -> list:
        for connection in self.connections:
            connection.send((function, args))
        return self._receive(timeout, function.__name__)

    def _receive(self, timeout: float, what: str) -> list:
        end, results = time.monotonic() + timeout, {}
        while len(results) < len(self.connections):
            for rank, connection in enumerate(self.connections):
                if rank not in results and connection.poll(0.02):
                    succeeded, content = connection.recv()
                    if not succeeded:
                        raise RuntimeError(f"process {rank} failed:\n{content}")
                    results[rank] = torch.load(io.BytesIO(content), weights_only=False)
            if time.monotonic() > end:
                missing = [rank for rank in range(len(self.connections)) if rank not in results]
                raise RuntimeError(f"processes {missing} of {len(self.connections)} hang after {timeout} s in {what}")
        return [results[rank] for rank in range(len(self.connections))]

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.join()
        shutil.rmtree(self.folder, ignore_errors=True)


def _serve(rank: int, world_size: int, folder: str, connection: Connection) -> None:
    torch.set_num_threads(1)
    # Accelerate would set as many as there are cores, and another number of threads changes the last bits of sums.
    os.environ["OMP_NUM_THREADS"] = "1"
    # Accelerate wants an address although the group exists already.
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(world_size))
    os.environ.update(MASTER_ADDR="localhost", MASTER_PORT="29500")
    store = f"file://{Path(folder, 'store').as_posix()}"
    dist.init_process_group("gloo", store, timedelta(minutes=10), world_size=world_size, rank=rank)
    connection.send((True, _packed(None)))
    while True:
        function, args = connection.recv()
        try:
            connection.send((True, _packed(function(rank, *args))))
        except Exception:
            connection.send((False, traceback.format_exc()))


def _packed(result) -> bytes:
    buffer = io.BytesIO()
    torch.save(result, buffer)
    return buffer.getvalue()


@atexit.register
def _close_all() -> None:
    for group in _groups.values():
        group.close()
