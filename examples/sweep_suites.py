# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Suites of evaluate.py that a sweep measures on every finished run; each fills RUN/SUITE/metrics.json."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

EVALUATE = Path(__file__).parent / "evaluate.py"
# Those that bring their own data: the others need flags that a sweep does not have.
SWEEP_SUITES = ("emoji", "geometry", "arithmetic")


def suite_command(launcher: Sequence[str], folder: Path, suite: str) -> list[str]:
    """The call that measures a suite on the model of a run's folder."""
    flags = ["--suite", suite, "--output_dir", str(folder / suite)]
    return [*launcher, str(EVALUATE), str(folder), *flags, "--pictures", "false", "--cache_embeddings", "false"]


def missing_suites(folder: Path, suites: Sequence[str]) -> list[str]:
    """The suites that were not measured yet, or measured before the run's model was written."""
    return [suite for suite in suites if _measured(folder, suite) is None]


def suite_metrics(folder: Path, suites: Sequence[str]) -> dict[str, Any]:
    """SUITE_NAME -> figure, of the suites that were measured."""
    found = {suite: _measured(folder, suite) or {} for suite in suites}
    return {f"{suite}_{name}": value for suite, metrics in found.items() for name, value in metrics.items()}


def _measured(folder: Path, suite: str) -> dict[str, Any] | None:
    path, trained = folder / suite / "metrics.json", folder / "metrics.json"
    try:
        # Trained anew since: the figures are another model's.
        if path.stat().st_mtime < trained.stat().st_mtime:
            return None
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
