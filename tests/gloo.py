# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Real processes for tests: run a top-level function in N gloo processes and hand back what each returned."""

import os
import tempfile
import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def run_in_processes(function: Callable, world_size: int = 2, *args, timeout: float = 120.0) -> list:
    """Run `function(rank, *args)` in `world_size` processes joined by gloo and return the results by rank.

    Args:
        function: a top-level function of an importable module; its result must survive torch.save.
        world_size: number of processes, started by spawn, on the CPU with one thread each.
        args: passed on, must survive pickling.
        timeout: seconds until a hang counts as a failure.

    Raises:
        RuntimeError: with the traceback of the first process that failed, or after the time-out.
    """
    with tempfile.TemporaryDirectory() as folder:
        context = mp.spawn(_worker, (function, world_size, folder, args, timeout), nprocs=world_size, join=False)
        end = time.monotonic() + timeout
        try:
            while not context.join(timeout=1.0):
                if time.monotonic() > end:
                    alive = [rank for rank, process in enumerate(context.processes) if process.is_alive()]
                    raise RuntimeError(
                        f"processes {alive} of {world_size} hang after {timeout} s in {function.__name__}"
                    )
        except mp.ProcessException as error:
            raise RuntimeError(_tracebacks(folder) or str(error)) from None
        finally:
            for process in context.processes:
                if process.is_alive():
                    process.kill()
                process.join()
        return [torch.load(Path(folder, f"{rank}.pt"), weights_only=False) for rank in range(world_size)]


def _worker(rank: int, function: Callable, world_size: int, folder: str, args: tuple, timeout: float) -> None:
    torch.set_num_threads(1)
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(world_size))
    store = f"file://{Path(folder, 'store').as_posix()}"
    dist.init_process_group("gloo", store, timedelta(seconds=timeout), world_size=world_size, rank=rank)
    try:
        torch.save(function(rank, *args), Path(folder, f"{rank}.pt"))
    except BaseException:
        Path(folder, f"{rank}.traceback").write_text(traceback.format_exc())
        raise
    finally:
        dist.destroy_process_group()


def _tracebacks(folder: str) -> str:
    return "\n".join(f"process {path.stem}:\n{path.read_text()}" for path in sorted(Path(folder).glob("*.traceback")))
