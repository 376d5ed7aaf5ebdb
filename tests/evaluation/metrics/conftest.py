# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Metric modules loaded as a user of `evaluate` loads them: by their folder, offline."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
METRICS = ROOT / "hf_cloob" / "evaluation" / "metrics"


@pytest.fixture
def load_metric(monkeypatch, tmp_path):
    # The examples' tests put their folder on the path, and there lies an evaluate.py.
    monkeypatch.setattr(sys, "path", [place for place in sys.path if Path(place) != ROOT / "examples"])
    import evaluate

    return lambda name: evaluate.load(str(METRICS / name), cache_dir=str(tmp_path))
