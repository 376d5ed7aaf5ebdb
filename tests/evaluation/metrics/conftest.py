# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Metric modules loaded as a user of `evaluate` loads them: by their folder, offline."""

from pathlib import Path

import evaluate
import pytest

METRICS = Path(__file__).parents[3] / "hf_cloob" / "evaluation" / "metrics"


@pytest.fixture
def load_metric(tmp_path):
    return lambda name: evaluate.load(str(METRICS / name), cache_dir=str(tmp_path))
