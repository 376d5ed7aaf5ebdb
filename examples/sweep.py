# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Pretrain several recipes under several seeds, on equal batches and budget, and compare them seed by seed.

    python examples/sweep.py examples/sweeps/cloob_2x2.yaml
    python examples/sweep.py --recipes examples/recipes/emoji_clip.yaml examples/recipes/emoji_cloob.yaml --seeds 0 1 2
    python examples/sweep.py examples/sweeps/cloob_2x2.yaml --report_only true

The same command goes on where it stopped: finished runs stay, an unfinished one resumes from its last checkpoint.
Started twice, it works on two runs at once. Each run is a folder of pretrain.py, OUTPUT_DIR/SETTING/seed-S, with its
`sweep_run.log` and a folder for each of the sweep's `suites`, which evaluate.py measures on the finished model. In
OUTPUT_DIR lie `table.md`, `sweep.json`, `metrics.json`, `sweep.png` and `curves.png`.
"""

import contextlib
import fcntl
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from command_line import UserError, parse_arguments, user_errors
from sweep_plan import SweepArguments, SweepPlan, SweepRun, finished_metrics, plan_sweep, recorded_differences
from sweep_report import collect_report, draw_report, print_report, read_attempts, write_report
from sweep_suites import missing_suites, suite_command

POLL_SECONDS = 0.5
# A child that is told to stop gets this long before it is killed.
STOP_SECONDS = 20
# No rate: a step of a sweep also pays for loading and evaluation.
BAR = "{desc}{percentage:3.0f}%|{bar}| {n_fmt} of {total_fmt} steps [{elapsed}<{remaining}]"


def main() -> None:
    args = parse_arguments(SweepArguments, __doc__.split("\n\n")[0], positional="sweep")
    try:
        raise SystemExit(sweep(args))
    except UserError as error:
        raise SystemExit(f"sweep.py: {error}") from None


def sweep(args: SweepArguments) -> int:
    """Run what is not finished, write the report; returns the exit code, 1 if a run failed or is missing."""
    plan = plan_sweep(args)
    for run in plan.runs:
        if finished_metrics(run) or _has_checkpoint(run):
            if changed := recorded_differences(run):
                raise UserError(f"{run.folder} holds a run with other flags: {'; '.join(changed)}; use another folder")
    plan.output_dir.mkdir(parents=True, exist_ok=True)
    problems = []
    if not args.report_only:
        launcher = [sys.executable if word == "python" else word for word in shlex.split(args.launcher)]
        with _stopped_by_sigterm():
            try:
                problems = run_all(plan, launcher, args.keep)
            except KeyboardInterrupt:
                write_report(plan, collect_report(plan))
                raise SystemExit(f"stopped; the same command goes on, {plan.output_dir} keeps what is done") from None
    report = collect_report(plan)
    write_report(plan, report)
    print_report(plan, report, problems)
    with user_errors():
        draw_report(plan, report)
    return int(bool(problems) or any(is_open(run, plan.suites) for run in plan.runs))


def is_open(run: SweepRun, suites: tuple[str, ...]) -> bool:
    """Whether a run is still to be trained or measured."""
    return finished_metrics(run) is None or bool(missing_suites(run.folder, suites))


def run_all(plan: SweepPlan, launcher: list[str], keep: str) -> list[str]:
    """Run every unfinished run, one after the other; returns a sentence for each one that failed."""
    from tqdm.auto import tqdm

    open_runs = [run for run in plan.runs if is_open(run, plan.suites)]
    finished = len(plan.runs) - len(open_runs)
    total = sum(run.arguments.max_train_steps for run in plan.runs)
    done = total - sum(run.arguments.max_train_steps for run in open_runs)
    problems = []
    with tqdm(total=total, initial=done, smoothing=0, bar_format=BAR, disable=not open_runs) as progress:
        for number, run in enumerate(open_runs, start=finished + 1):
            progress.set_description(f"{run.name}, run {number} of {len(plan.runs)}")
            if problem := run_once(run, plan.suites, launcher, progress, done):
                problems.append(problem)
                progress.write(problem)
            else:
                _discard(run.folder, keep)
                write_report(plan, collect_report(plan))
            done += run.arguments.max_train_steps
            _show_step(progress, done)
    return problems


def run_once(run: SweepRun, suites: tuple[str, ...], launcher: list[str], progress, done: int) -> str | None:
    """Train one run and measure its suites, as far as that is not done; returns what went wrong, or None."""
    run.folder.mkdir(parents=True, exist_ok=True)
    with (run.folder / "sweep_run.lock").open("w") as lock, (run.folder / "sweep_run.log").open("a") as log:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return f"{run.name} is left to another sweep, which is running it"
        if finished_metrics(run) is None:
            start = (
                ["--resume_from_checkpoint", "last"] if _has_checkpoint(run) else ["--overwrite_output_dir", "true"]
            )
            attempts = [*read_attempts(run.folder), {"seconds": 0.0, "exit_code": None}]
            child, begin = _start(run.command(launcher, start), lock, log)
            _wait(child, run, attempts, progress, done)
            if child.returncode or finished_metrics(run) is None:
                return _problem(run, run.name, child.returncode, begin)
        for suite in missing_suites(run.folder, suites):
            child, begin = _start(suite_command(launcher, run.folder, suite), lock, log)
            with _ended_with_us(child):
                child.wait()
            if child.returncode or missing_suites(run.folder, [suite]):
                return _problem(run, f"suite {suite} of {run.name}", child.returncode, begin)
    return None


def _start(command: list[str], lock, log) -> tuple[subprocess.Popen, int]:
    """Start a child that writes to the run's log; also where in the log it begins."""
    log.write(f"\n$ {shlex.join(command)}\n")
    log.flush()
    begin = log.tell()
    try:
        # The child keeps the lock too: a sweep that is killed leaves it behind, still running.
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=(lock.fileno(),),
            env={**os.environ, "TQDM_MININTERVAL": "10", "PYTHONUNBUFFERED": "1"},
        )
    except OSError as error:
        raise UserError(f"launcher {command[0]!r} cannot be started: {error}") from None
    return child, begin


def _problem(run: SweepRun, subject: str, exit_code: int, begin: int) -> str:
    ending = f"ended with exit code {exit_code}" if exit_code else "ended without complete metrics.json"
    return f"{subject} {ending}: {_last_line(run.folder / 'sweep_run.log', begin)} (see {run.folder}/sweep_run.log)"


def _wait(child: subprocess.Popen, run: SweepRun, attempts: list[dict], progress, done: int) -> None:
    """Follow a child to its end and keep its wall-clock on disk; it is stopped when the sweep is."""
    started = time.perf_counter()
    path = run.folder / "attempts.json"
    try:
        with _ended_with_us(child):
            while child.poll() is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(POLL_SECONDS)
                attempts[-1]["seconds"] = round(time.perf_counter() - started, 2)
                _write_whole(path, attempts)
                _show_step(progress, done + min(_logged_step(run.folder), run.arguments.max_train_steps))
    finally:
        attempts[-1] |= {"seconds": round(time.perf_counter() - started, 2), "exit_code": child.returncode}
        _write_whole(path, attempts)


@contextlib.contextmanager
def _ended_with_us(child: subprocess.Popen) -> Iterator[None]:
    """Stop a child that is still there when this block is left."""
    try:
        yield
    finally:
        if child.poll() is None:
            child.terminate()
            try:
                child.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def _show_step(progress, step: int) -> None:
    if step != progress.n:
        progress.update(step - progress.n)


def _has_checkpoint(run: SweepRun) -> bool:
    return any(re.fullmatch(r"step-\d{6,}", path.name) for path in (run.folder / "checkpoints").glob("step-*"))


def _logged_step(folder: Path) -> int:
    """The newest step in a run's log; 0 while there is none."""
    with contextlib.suppress(OSError, ValueError, KeyError, IndexError):
        return int(json.loads((folder / "train_log.jsonl").read_text(encoding="utf-8").splitlines()[-1])["step"])
    return 0


def _last_line(path: Path, begin: int) -> str:
    """What a run said last, its progress bars aside."""
    with path.open(encoding="utf-8", errors="replace") as file:
        file.seek(begin)
        lines = [line.strip() for line in re.split(r"[\r\n]+", file.read())]
    lines = [line for line in lines if line and not re.search(r"\d+%\|", line)]
    return lines[-1] if lines else "it printed nothing"


def _discard(folder: Path, keep: str) -> None:
    """Delete what a finished run no longer needs: its resume checkpoints, and its weights if only figures are kept."""
    if keep != "all":
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    if keep == "metrics":
        for weights in folder.glob("*.safetensors"):
            weights.unlink()


def _write_whole(path: Path, value: list) -> None:
    aside = path.with_suffix(".tmp")
    aside.write_text(json.dumps(value) + "\n", encoding="utf-8")
    aside.replace(path)


@contextlib.contextmanager
def _stopped_by_sigterm() -> Iterator[None]:
    """Let SIGTERM stop the sweep as Ctrl-C does, so that it does not leave a child behind."""

    def stop(number, frame):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


if __name__ == "__main__":
    main()
