# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What a run leaves to read: one JSON object a line, and the figures that show a collapse before the loss does."""

import json
import math
from pathlib import Path

import torch


class RunLog:
    """Append records to `train_log.jsonl` (and to Accelerate's trackers); written by the main process only.

    Args:
        accelerator: the run's Accelerator, with its trackers already started.
        path: the log file. A resumed run passes `resume_step`, and lines after it are dropped before going on.
        resume_step: last step that the resumed checkpoint had done, 0 for a new run.
    """

    def __init__(self, accelerator, path: Path, resume_step: int = 0):
        self.accelerator = accelerator
        self.path = path
        if accelerator.is_main_process:
            kept = [record for record in read_log(path) if record["step"] <= resume_step] if path.exists() else []
            path.write_text("".join(_line(record) for record in kept), encoding="utf-8")

    def write(self, step: int, figures: dict[str, float]) -> None:
        """Append one record and send it to the trackers."""
        if self.accelerator.is_main_process:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(_line({"step": step, **figures}))
        self.accelerator.log(figures, step=step)


def read_log(path: Path) -> list[dict]:
    """Read the records of a log; a last line that a killed process left half-written is dropped."""
    records = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return records


def mean_pairwise_cosine(embeds: torch.Tensor) -> torch.Tensor:
    """Mean cosine of all different rows of one modality: 1 when it has collapsed to a point, about 0 when spread.

    Args:
        embeds: (batch_size, projection_dim), L2-normalized, at least two rows.

    Returns:
        0-d tensor.
    """
    num_rows = embeds.shape[0]
    return (embeds.sum(dim=0).square().sum() - embeds.square().sum()) / (num_rows * (num_rows - 1))


def write_metrics(path: Path, metrics: dict) -> None:
    """Write the flat `metrics.json` of a command."""
    path.write_text(json.dumps(metrics, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _line(record: dict) -> str:
    return json.dumps({name: _finite(value) for name, value in record.items()}) + "\n"


def _finite(value):
    # JSON has no NaN; a reader must still see that there was one.
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
