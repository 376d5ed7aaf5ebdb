# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Resume checkpoints: written aside, renamed when complete, rotated.

Accelerate's state files are pickles: resume from folders you trust only.
"""

import re
import shutil
from pathlib import Path

CHECKPOINT_PATTERN = re.compile(r"step-(\d{6,})")


class TrainState:
    """What a run knows besides weights: its step and its best selection figure; saved inside every checkpoint."""

    def __init__(self):
        self.step = 0
        self.best_metric = float("-inf")
        self.best_step = 0
        self.skipped: dict[str, int] = {}
        self.skipped_at: dict[str, str] = {}
        self.false_negatives: dict[str, int] = {}
        self.num_good = 0
        # Of data that is streamed: where each lane is, and what must stay as it is for that to mean anything.
        self.stream_positions: dict[int, dict] = {}
        self.stream_layout: dict[str, int] = {}

    def state_dict(self) -> dict:
        return dict(vars(self))

    def load_state_dict(self, state: dict) -> None:
        vars(self).update(state)


def save_checkpoint(accelerator, folder: Path, step: int, keep: int) -> Path:
    """Save model, optimizer, schedule, random states and registered objects as folder/step-XXXXXX.

    A killed process leaves the previous checkpoints complete: the new one gets its name only when it is whole.

    Args:
        accelerator: the run's Accelerator; every process must call.
        folder: where the checkpoints of this run are.
        step: number of optimizer steps done.
        keep: how many of the newest checkpoints stay, at least 1.

    Returns:
        the checkpoint's path.

    Raises:
        ValueError: if `keep` is below 1.
    """
    if keep < 1:
        raise ValueError(f"save_total_limit must be at least 1, got {keep}.")
    final, aside = folder / f"step-{step:06d}", folder / f"unfinished-{step:06d}"
    if accelerator.is_main_process:
        shutil.rmtree(aside, ignore_errors=True)
    accelerator.wait_for_everyone()
    accelerator.save_state(str(aside))
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        shutil.rmtree(final, ignore_errors=True)
        aside.rename(final)
        for _, old in _checkpoints(folder)[:-keep]:
            shutil.rmtree(old)
    accelerator.wait_for_everyone()
    return final


def find_checkpoint(name: str, folder: Path) -> Path:
    """Resolve `--resume_from_checkpoint`: a path, or "last" for the newest checkpoint of the run.

    Raises:
        ValueError: if there is none, naming what there is.
    """
    if name != "last":
        if not CHECKPOINT_PATTERN.fullmatch(Path(name).name) or not Path(name).is_dir():
            there = ", ".join(path.name for _, path in _checkpoints(folder)) or "no checkpoint"
            raise ValueError(
                f"resume_from_checkpoint must be 'last' or a folder .../step-XXXXXX, got {name!r}; "
                f"{folder} holds {there}."
            )
        return Path(name)
    checkpoints = _checkpoints(folder)
    if not checkpoints:
        raise ValueError(f"resume_from_checkpoint='last', but {folder} holds no checkpoint (step-XXXXXX).")
    return checkpoints[-1][1]


def drop_checkpoints_after(folder: Path, step: int) -> None:
    """Delete what a run that starts over from `step` will write again: later checkpoints and unfinished ones.

    They would be the newest of their folder, so that `last` found them and the rotation kept them.
    """
    for number, path in _checkpoints(folder):
        if number > step:
            shutil.rmtree(path)
    for path in folder.glob("unfinished-*"):
        shutil.rmtree(path)


def _checkpoints(folder: Path) -> list[tuple[int, Path]]:
    if not folder.is_dir():
        return []
    matches = ((CHECKPOINT_PATTERN.fullmatch(path.name), path) for path in folder.iterdir())
    return sorted((int(match.group(1)), path) for match, path in matches if match)
