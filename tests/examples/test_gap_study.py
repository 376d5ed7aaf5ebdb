# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""gap_study.py on a sweep whose figures are known: intervals, ratios, table and picture."""

import json

import gap_study
import pytest
from command_line import UserError
from gap_study import FIGURES, GapStudyArguments, study, wilson_interval
from scipy import stats


def run_of(gap: float, top1: float) -> dict:
    figures = {}
    for name, _ in FIGURES.values():
        figures |= {name: 0.4, f"{name}_low": 0.3, f"{name}_high": 0.5}
    figures |= {"geometry_modality_gap": gap, "test_seen_top1": top1}
    return figures | {"test_seen_num_images": 200, "test_unseen_num_images": 100}


@pytest.fixture
def sweep_dir(tmp_path):
    settings = {"clip_d128_fixed": (0.8, 0.25), "cuaxu_d128_fixed": (0.1, 0.3), "cloob_d32_own": (0.5, 0.2)}
    runs = {name: {"runs": {"0": {"metrics": run_of(*values)}}} for name, values in settings.items()}
    runs["cua_d128_fixed"] = {"runs": {"0": {"metrics": {"test_seen_top1": 0.1}}}}  # its suites are not measured yet
    (tmp_path / "sweep.json").write_text(json.dumps({"settings": runs}))
    return tmp_path


def test_figures_ratios_and_table_are_those_of_the_sweep(sweep_dir, tmp_path, capsys):
    metrics = study(GapStudyArguments(sweep_dir=str(sweep_dir), output_dir=str(tmp_path / "out")))
    assert json.loads((tmp_path / "out" / "metrics.json").read_text()) == metrics
    assert metrics["cuaxu_d128_fixed/clip_gap_over_gap"] == pytest.approx(8)
    assert metrics["clip_d128_fixed/clip_gap_over_gap"] == 1
    assert "cloob_d32_own/clip_gap_over_gap" not in metrics  # no CLIP beside it
    assert (metrics["cuaxu_d128_fixed/arithmetic_low"], metrics["cuaxu_d128_fixed/arithmetic_high"]) == (0.3, 0.5)
    table = (tmp_path / "out" / "table.md").read_text()
    assert "| CUAXU | 128 | t = 100 | 8.0 | 0.100 [0.300, 0.500] |" in table and "| 30.0 [" in table
    assert "| CLOOB | 32 | the loss's own t | – |" in table
    assert "| CUA |" not in table
    assert (tmp_path / "out" / "gap_study.png").stat().st_size > 10_000


@pytest.mark.parametrize(("share", "count"), [(0.0, 50), (0.25, 200), (0.97, 674)])
def test_wilsons_interval_is_scipys(share, count):
    wanted = stats.binomtest(round(share * count), count).proportion_ci(method="wilson")
    assert wilson_interval(round(share * count) / count, count) == pytest.approx((wanted.low, wanted.high), abs=1e-6)


def test_a_folder_without_a_finished_run_of_the_study_is_named(tmp_path):
    with pytest.raises(UserError, match="holds no sweep.json"):
        study(GapStudyArguments(sweep_dir=str(tmp_path)))
    (tmp_path / "sweep.json").write_text(json.dumps({"settings": {"infonce": {"runs": {"0": {"metrics": {}}}}}}))
    with pytest.raises(UserError, match="named OBJECTIVE_dDIM_SCALE"):
        study(GapStudyArguments(sweep_dir=str(tmp_path)))


def test_every_objective_of_the_sweep_has_a_name():
    assert set(gap_study.OBJECTIVES) == {"clip", "cua", "cuaxu", "cloob", "cloob_cuaxu"}
