# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""A sweep: equal batches for every setting, what it does about finished, broken and foreign runs, and its figures."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from command_line import UserError
from pretrain_data import build_data, build_loader
from pretrain_model import build_tokenizer_and_model
from scipy import stats
from sweep import sweep
from sweep_plan import SweepArguments, finished_metrics, plan_sweep, recorded_differences

ROOT = Path(__file__).parents[2]
# Called in the place of `python pretrain.py …`, it does at once what a run leaves behind.
STAND_IN = """
import json, pathlib, sys, time
flags = dict(zip(sys.argv[3::2], sys.argv[4::2]))
folder = pathlib.Path(flags["--output_dir"])
if "--suite" in flags:
    with (folder.parents[2] / "suites.jsonl").open("a") as calls:
        calls.write(json.dumps([sys.argv[2], flags["--suite"]]) + "\\n")
    if flags["--suite"] == "arithmetic" and not (folder.parents[2] / "mended").exists():
        raise SystemExit("evaluate.py: no such words")
    folder.mkdir(exist_ok=True)
    (folder / "metrics.json").write_text(json.dumps({"top1": 0.25, "num": 3}))
    raise SystemExit(0)
seed, steps = int(flags["--seed"]), int(flags["--max_train_steps"])
setting = folder.parent.name
with (folder.parents[1] / "calls.jsonl").open("a") as calls:
    calls.write(json.dumps([setting, seed, flags]) + "\\n")
if setting == "slow":
    print("waiting", flush=True)
    time.sleep(60)
if setting == "broken" and seed == 1 and not (folder.parents[1] / "mended").exists():
    print("step 1\\r 50%|#####     | 1/2", flush=True)
    raise SystemExit("pretrain.py: the loss is nan at step 2")
gain = {"base": 0.0, "better": 0.05, "broken": 0.02}[setting]
(folder / "checkpoints" / "step-000004").mkdir(parents=True, exist_ok=True)
for name in ("model.safetensors", "checkpoints/step-000004/model.safetensors"):
    (folder / name).write_text("weights")
log = [{"step": step, "loss": 1 / step, "selection_top1": 0.1 * step} for step in range(1, steps + 1)]
(folder / "train_log.jsonl").write_text("".join(json.dumps(record) + "\\n" for record in log))
metrics = {"seed": seed, "steps": steps, "pairs_seen": 60, "test_top1": 0.3 + 0.1 * seed + gain + 0.01 * gain * seed}
(folder / "metrics.json").write_text(json.dumps(metrics))
"""


@pytest.fixture
def write_sweep(tmp_path, flags):
    """Write a recipe of a short run and a sweep over it: each setting is a name and its overrides."""

    def write(settings: dict[str, dict], **keys) -> str:
        line = flags(max_train_steps=4)
        recipe = dict(zip([name.removeprefix("--") for name in line[::2]], line[1::2], strict=True))
        (tmp_path / "short.yaml").write_text(yaml.safe_dump(recipe))
        runs = [{"name": name, "recipe": "short.yaml", "overrides": value} for name, value in settings.items()]
        path = tmp_path / "study.yaml"
        path.write_text(yaml.safe_dump({"output_dir": str(tmp_path / "out"), "seeds": [0, 1], "runs": runs} | keys))
        return str(path)

    return write


@pytest.fixture
def run(tmp_path, write_sweep):
    """Run a sweep whose runs are the stand-in; returns the exit code."""
    (tmp_path / "stand_in.py").write_text(STAND_IN)

    def start(*settings: str, keys: dict | None = None, **arguments) -> int:
        # The stand-in reads flags in pairs.
        path = write_sweep({name: {"max_train_steps": 4} for name in settings}, **(keys or {}))
        launcher = f"python {tmp_path / 'stand_in.py'}"
        return sweep(SweepArguments(sweep=path, launcher=launcher, **arguments))

    return start


def calls(folder: Path) -> list:
    path = folder / "out" / "calls.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def batch_keys(arguments) -> list:
    accelerator = SimpleNamespace(process_index=0, num_processes=1, device=SimpleNamespace(type="cpu"))
    train_data, _ = build_data(arguments)
    tokenizer, _ = build_tokenizer_and_model(arguments, train_data)
    transforms = SimpleNamespace(pair=lambda image, rng: None, strong=None)
    loader = build_loader(arguments, train_data, tokenizer, transforms, 77, 0, accelerator)
    return list(loader.batch_sampler)


def test_every_setting_of_a_seed_sees_the_same_batches_in_the_same_order(write_sweep):
    settings = {
        "cloob": {"contrastive_loss": "infoloob", "hopfield_scale": 8, "rotation": 20},
        "clip": {"contrastive_loss": "infonce", "learning_rate": 0.1, "image_size": 48, "projection_dim": 8},
    }
    runs = plan_sweep(SweepArguments(sweep=write_sweep(settings))).runs
    assert [run.name for run in runs] == ["cloob/seed-0", "clip/seed-0", "cloob/seed-1", "clip/seed-1"]
    keys = [batch_keys(run.arguments) for run in runs]
    assert len(keys[0]) == 4 and all(len(batch) == 15 for batch in keys[0])
    assert keys[0] == keys[1]
    assert keys[2] == keys[3]
    assert keys[0] != keys[2]


@pytest.mark.parametrize("changed", [{"batch_size": 10}, {"max_train_steps": 5}, {"first_caption_share": 0.5}])
def test_settings_with_other_batches_or_another_budget_are_refused_unless_declared(write_sweep, changed):
    (name,) = changed
    settings = {"base": {}, "other": changed}
    with pytest.raises(UserError, match=f"not see the same batches: {name} is .* in base, .* in other"):
        plan_sweep(SweepArguments(sweep=write_sweep(settings)))
    assert len(plan_sweep(SweepArguments(sweep=write_sweep(settings, may_differ=[name]))).runs) == 4


def test_overrides_of_a_setting_win_over_common_ones_and_the_command_line_over_both(write_sweep):
    settings = {"base": {}, "own": {"learning_rate": 2, "crop_scale": [0.5, 1.0]}}
    path = write_sweep(settings, overrides={"learning_rate": 1, "weight_decay": 0.5})
    base, own = plan_sweep(SweepArguments(sweep=path, seeds=[7], overrides=["weight_decay=0.25"])).runs
    assert (base.arguments.learning_rate, own.arguments.learning_rate) == (1, 2)
    assert (base.arguments.weight_decay, own.arguments.weight_decay) == (0.25, 0.25)
    assert own.arguments.crop_scale == [0.5, 1.0]
    assert own.arguments.seed == 7 and own.arguments.output_dir.endswith("out/own/seed-7")


def test_the_committed_sweep_has_four_settings_that_differ_in_loss_and_retrieval_only():
    plan = plan_sweep(SweepArguments(sweep=str(ROOT / "examples" / "sweeps" / "cloob_2x2.yaml")))
    assert len(plan.seeds) >= 5
    told_apart = {
        "seed",
        "output_dir",
        "contrastive_loss",
        "hopfield_scale",
        "retrieval_warmup_steps",
        "tau_free_loss",
    }
    runs = {run.setting: asdict(run.arguments) for run in plan.runs if run.seed == 0}
    objectives = {
        name: (run["contrastive_loss"], run["hopfield_scale"] != "none", run["tau_free_loss"])
        for name, run in runs.items()
    }
    assert objectives == {
        "infonce": ("infonce", False, False),
        "infonce_retrieval": ("infonce", True, False),
        "infoloob": ("infoloob", False, True),
        "cloob": ("infoloob", True, True),
    }
    shared = [{name: value for name, value in run.items() if name not in told_apart} for run in runs.values()]
    assert all(run == shared[0] for run in shared)


def test_the_sweep_of_the_gap_has_every_objective_at_both_widths_and_scales():
    plan = plan_sweep(SweepArguments(sweep=str(ROOT / "examples" / "sweeps" / "gap.yaml")))
    weights = ("uniformity_weight", "alignment_weight", "cross_modal_uniformity_weight")
    objectives = {
        "clip": (0, 0, 0),
        "cua": (1, 1, 0),
        "cuaxu": (1, 1, 1),
        "cloob": (0, 0, 0),
        "cloob_cuaxu": (1, 1, 1),
    }
    assert len(plan.runs) == 20 and plan.suites == ("geometry", "arithmetic")
    for run in plan.runs:
        objective, dim, scale = run.setting.rsplit("_", 2)
        flags = run.arguments
        assert tuple(getattr(flags, weight) for weight in weights) == objectives[objective]
        assert flags.contrastive_loss == ("infoloob" if objective.startswith("cloob") else "infonce")
        assert flags.projection_dim == int(dim.removeprefix("d"))
        assert flags.inverse_temperature == (100 if scale == "fixed" else None)
        # InfoLOOB never learns its scale.
        assert flags.learn_logit_scale == (False if scale == "fixed" and "cloob" not in objective else None)


def test_the_sweep_of_explaining_away_differs_in_the_objective_only():
    plan = plan_sweep(SweepArguments(sweep=str(ROOT / "examples" / "sweeps" / "explaining_away.yaml")))
    objective = {"contrastive_loss", "hopfield_scale", "retrieval_warmup_steps", "tau_free_loss", "learn_logit_scale"}
    objective |= {"inverse_temperature", "alignment_weight", "uniformity_weight", "cross_modal_uniformity_weight"}
    runs = [asdict(run.arguments) for run in plan.runs if run.seed == 0]
    shared = [{k: v for k, v in run.items() if k not in objective | {"output_dir"}} for run in runs]
    assert all(run == shared[0] for run in shared) and shared[0]["dataset_name"] == "emoji_compositions"


def test_a_sweep_runs_everything_once_and_its_figures_are_those_of_scipy(run, tmp_path):
    assert run("base", "better", keys={"seeds": [0, 1, 2]}) == 0
    assert sorted(call[:2] for call in calls(tmp_path)) == [[s, n] for s in ("base", "better") for n in (0, 1, 2)]
    report = json.loads((tmp_path / "out" / "sweep.json").read_text())
    base = [0.3, 0.4, 0.5]
    better = [0.35, 0.4505, 0.551]
    summary, difference = (report["settings"]["better"][part]["test_top1"] for part in ("summary", "difference"))
    assert summary["mean"] == pytest.approx(sum(better) / 3) and summary["std"] == pytest.approx(stats.tstd(better))
    low, high = stats.ttest_rel(better, base).confidence_interval(0.95)
    assert (difference["low"], difference["high"]) == pytest.approx((low, high))
    flat = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert flat["better/test_top1_difference_mean"] == pytest.approx(0.0505)
    assert report["settings"]["base"]["difference"] == {}
    table = (tmp_path / "out" / "table.md").read_text()
    assert "| base | 3 of 3 | 40.00 ± 10.00 | 60 |" in table
    assert "| better | 3 | **+5.05** [+4.93, +5.17] (p " in table
    assert all((tmp_path / "out" / name).stat().st_size > 1000 for name in ("sweep.png", "curves.png"))

    assert run("base", "better", keys={"seeds": [0, 1, 2]}) == 0
    assert len(calls(tmp_path)) == 6


def test_a_failing_run_is_reported_stops_no_other_and_is_tried_again(run, tmp_path, capsys):
    assert run("broken", "base") == 1
    assert len(calls(tmp_path)) == 4
    printed = capsys.readouterr().out
    assert "broken/seed-1 ended with exit code 1: pretrain.py: the loss is nan at step 2" in printed
    table = (tmp_path / "out" / "table.md").read_text()
    assert "| broken | 1 of 2 |" in table and "- broken/seed-1: failed with exit code 1" in table
    assert "| base | – | – |" in table

    (tmp_path / "out" / "mended").touch()
    assert run("broken", "base") == 0
    assert [call[:2] for call in calls(tmp_path)[4:]] == [["broken", 1]]
    attempts = json.loads((tmp_path / "out" / "broken" / "seed-1" / "attempts.json").read_text())
    assert [attempt["exit_code"] for attempt in attempts] == [1, 0]
    report = json.loads((tmp_path / "out" / "sweep.json").read_text())
    seconds = sum(attempt["seconds"] for attempt in attempts)
    assert report["settings"]["broken"]["runs"]["1"]["seconds"] == pytest.approx(seconds, abs=0.1)


def test_an_unfinished_run_resumes_from_its_checkpoint_or_starts_again(run, tmp_path):
    (tmp_path / "out" / "base" / "seed-0" / "checkpoints" / "step-000002").mkdir(parents=True)
    (tmp_path / "out" / "base" / "seed-1" / "checkpoints" / "unfinished-000002").mkdir(parents=True)
    assert run("base") == 0
    (_, _, resumed), (_, _, anew) = calls(tmp_path)
    assert resumed["--resume_from_checkpoint"] == "last" and "--overwrite_output_dir" not in resumed
    assert anew["--overwrite_output_dir"] == "true" and "--resume_from_checkpoint" not in anew


@pytest.mark.parametrize(
    "metrics", ['{"seed": 0, "steps": 4, "test_t', '{"seed": 0, "steps": 3}', '{"seed": 5, "steps": 4}', "[4]"]
)
def test_metrics_that_are_cut_off_or_of_another_run_do_not_count_as_finished(write_sweep, metrics):
    first = plan_sweep(SweepArguments(sweep=write_sweep({"base": {}}))).runs[0]
    first.folder.mkdir(parents=True)
    (first.folder / "metrics.json").write_text(metrics)
    assert finished_metrics(first) is None


def test_a_finished_run_of_other_flags_is_an_error_and_not_counted(run, tmp_path, write_sweep):
    first = plan_sweep(SweepArguments(sweep=write_sweep({"base": {"max_train_steps": 4}}))).runs[0]
    first.folder.mkdir(parents=True)
    recorded = asdict(first.arguments) | {"num_workers": 5, "output_dir": "elsewhere"}
    del recorded["label_smoothing"]  # a flag that pretrain.py did not have then
    (first.folder / "arguments.json").write_text(json.dumps(recorded))
    (first.folder / "metrics.json").write_text(json.dumps({"seed": 0, "steps": 4, "test_top1": 0.5}))
    assert recorded_differences(first) == []
    assert run("base") == 0
    assert [call[:2] for call in calls(tmp_path)] == [["base", 1]]

    (first.folder / "arguments.json").write_text(json.dumps(recorded | {"learning_rate": 0.5}))
    with pytest.raises(UserError, match=r"seed-0 holds a run with other flags: learning_rate was 0.5, now 0.01"):
        run("base")


@pytest.mark.parametrize(
    ("keep", "left"),
    [("all", ["checkpoints", "model.safetensors"]), ("model", ["model.safetensors"]), ("metrics", [])],
)
def test_a_finished_run_keeps_what_it_is_told_to(run, tmp_path, keep, left):
    assert run("base", keep=keep) == 0
    folder = tmp_path / "out" / "base" / "seed-0"
    assert [name for name in ("checkpoints", "model.safetensors") if (folder / name).exists()] == left
    assert (folder / "metrics.json").exists() and (folder / "train_log.jsonl").exists()


def test_suites_are_measured_once_on_each_finished_run_and_their_figures_join_its_own(run, tmp_path):
    keys = {"suites": ["geometry"], "metrics": ["test_top1", "geometry_top1"]}
    assert run("base", keep="metrics", keys=keys) == 0
    assert run("base", keep="metrics", keys=keys) == 0
    measured = [json.loads(line) for line in (tmp_path / "out" / "suites.jsonl").read_text().splitlines()]
    assert measured == [[str(tmp_path / "out" / "base" / f"seed-{seed}"), "geometry"] for seed in (0, 1)]
    report = json.loads((tmp_path / "out" / "sweep.json").read_text())
    assert report["settings"]["base"]["summary"]["geometry_top1"]["mean"] == 0.25
    assert report["settings"]["base"]["runs"]["0"]["metrics"]["geometry_num"] == 3
    assert "| base | 2 of 2 | 35.00 ± 7.07 | 25.00 ± 0.00 |" in (tmp_path / "out" / "table.md").read_text()
    assert not list((tmp_path / "out").rglob("*.safetensors"))


def test_a_suite_that_fails_is_reported_and_measured_again_without_training(run, tmp_path, capsys):
    keys = {"suites": ["geometry", "arithmetic"], "seeds": [0]}
    assert run("base", keys=keys) == 1
    assert (
        "suite arithmetic of base/seed-0 ended with exit code 1: evaluate.py: no such words" in capsys.readouterr().out
    )
    (tmp_path / "out" / "mended").touch()
    assert run("base", keys=keys) == 0
    assert len(calls(tmp_path)) == 1
    measured = [json.loads(line)[1] for line in (tmp_path / "out" / "suites.jsonl").read_text().splitlines()]
    assert measured == ["geometry", "arithmetic", "arithmetic"]


def test_a_run_that_is_trained_again_is_measured_again(run, tmp_path):
    keys = {"suites": ["geometry"], "seeds": [0]}
    assert run("base", keys=keys) == 0
    metrics = tmp_path / "out" / "base" / "seed-0" / "metrics.json"
    os.utime(metrics, (time.time() + 10, time.time() + 10))
    run("base", keys=keys)
    assert len((tmp_path / "out" / "suites.jsonl").read_text().splitlines()) == 2


def test_a_run_that_another_sweep_holds_is_left_to_it(run, tmp_path, capsys):
    folder = tmp_path / "out" / "base" / "seed-0"
    folder.mkdir(parents=True)
    with (folder / "sweep_run.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert run("base") == 1
    assert [call[:2] for call in calls(tmp_path)] == [["base", 1]]
    assert "base/seed-0 is left to another sweep" in capsys.readouterr().out


def test_a_figure_that_is_missing_or_no_number_is_named_in_the_table(run, tmp_path):
    assert run("base", "better") == 0
    path = tmp_path / "out" / "better" / "seed-0" / "metrics.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"test_top1": float("nan")}))
    assert run("base", "better", report_only=True, keys={"metrics": ["test_top1", "test_tpo5"]}) == 0
    table = (tmp_path / "out" / "table.md").read_text()
    assert "- better/seed-0: test_top1 is nan" in table
    assert "- base/seed-0: test_tpo5 is not measured" in table


def test_report_only_trains_nothing_and_says_that_runs_are_missing(run, tmp_path):
    assert run("base", report_only=True) == 1
    assert calls(tmp_path) == []
    assert "- base/seed-1: not started" in (tmp_path / "out" / "table.md").read_text()


def test_a_sweep_that_is_told_to_stop_stops_its_run_and_notes_the_time(tmp_path, write_sweep, environment):
    (tmp_path / "stand_in.py").write_text(STAND_IN)
    line = [sys.executable, str(ROOT / "examples" / "sweep.py"), write_sweep({"slow": {"max_train_steps": 4}})]
    line += ["--launcher", f"python {tmp_path / 'stand_in.py'}"]
    process = subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    log = tmp_path / "out" / "slow" / "seed-0" / "sweep_run.log"
    deadline = time.time() + 60
    while not (log.exists() and "waiting" in log.read_text()):
        assert process.poll() is None and time.time() < deadline, process.stderr.read()
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1 and "stopped; the same command goes on" in errors
    with (log.parent / "sweep_run.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # held by the run as long as it lives
    (attempt,) = json.loads((log.parent / "attempts.json").read_text())
    assert attempt["exit_code"] == -signal.SIGTERM and attempt["seconds"] > 0


@pytest.mark.parametrize(
    ("settings", "keys", "arguments", "message"),
    [
        ({"base": {"learning_rte": 1}}, {}, {}, "unknown key 'learning_rte' in overrides of run 1 .* 'learning_rate'"),
        ({"base": {"seed": 1}}, {}, {}, "seed is the sweep's own"),
        ({"base": {"text_config": None}}, {}, {}, "text_config needs a value"),
        ({"base": {"batch_size": 1}}, {}, {}, "the run 'base' of .*: batch_size must be at least 2, got 1"),
        ({"../base": {}}, {}, {}, "needs a name of its own that can be a folder, got '../base'"),
        ({"base": {}}, {"baseline": "bas"}, {}, r"baseline must be one of \['base'\], got 'bas'"),
        ({"base": {}}, {"seed": [1]}, {}, "unknown key 'seed' in .*; did you mean 'seeds'"),
        ({"base": {}}, {"suites": ["coco"]}, {}, "suites in .* takes some of emoji, geometry, arithmetic; got"),
        ({"base": {}}, {"seeds": 3}, {}, "seeds in .* must be a list, got 3"),
        ({"base": {}}, {"seeds": [1, 1]}, {}, r"different whole numbers, got \[1, 1\]"),
        ({"base": {}}, {"may_differ": ["learning_rate"]}, {}, "may_differ in .* takes some of dataset_name"),
        ({"base": {"num_epochs": 2}}, {}, {}, "a sweep's budget is max_train_steps, not num_epochs"),
        ({"base": {}}, {"runs": []}, {}, "needs a list 'runs'"),
        ({"base": {}}, {"runs": [{"name": "a"}]}, {}, "run 1 of .* needs a recipe"),
        ({"base": {}}, {}, {"overrides": ["batch_size"]}, "flag=value, got 'batch_size'"),
        ({"base": {}}, {}, {"keep": "none"}, "keep must be 'all', 'model' or 'metrics', got 'none'"),
        ({"base": {}}, {}, {"recipes": ["a.yaml"]}, "either a sweep's YAML file or --recipes"),
        ({"base": {}}, {}, {"launcher": "no-such-launcher"}, "launcher 'no-such-launcher' cannot be started"),
    ],
)
def test_a_mistake_in_a_sweep_is_named(write_sweep, settings, keys, arguments, message):
    with pytest.raises(UserError, match=message):
        sweep(SweepArguments(sweep=write_sweep(settings, **keys), **arguments))


def test_recipes_on_the_command_line_are_named_after_their_files():
    recipes = [str(ROOT / "examples" / "recipes" / f"emoji_{name}.yaml") for name in ("clip", "cloob")]
    plan = plan_sweep(SweepArguments(recipes=recipes, seeds=[3], baseline="emoji_clip"))
    assert [run.name for run in plan.runs] == ["emoji_clip/seed-3", "emoji_cloob/seed-3"]
    assert plan.output_dir == Path("runs/sweeps/emoji_clip-emoji_cloob")


@pytest.mark.slow
def test_a_real_sweep_trains_resumes_after_a_kill_and_reports(write_sweep, environment, tmp_path):
    settings = {
        "clip": {"contrastive_loss": "infonce", "hopfield_scale": "none"},
        "cloob": {"contrastive_loss": "infoloob"},
    }
    path = write_sweep(settings, overrides={"save_steps": 2, "eval_steps": 4})
    line = [sys.executable, str(ROOT / "examples" / "sweep.py"), path]
    process = subprocess.Popen(line, env=environment, start_new_session=True, stderr=subprocess.DEVNULL)
    first = tmp_path / "out" / "clip" / "seed-0"
    deadline = time.time() + 240
    while not any((first / "checkpoints").glob("step-*")) and not (first / "metrics.json").exists():
        assert process.poll() is None and time.time() < deadline, (first / "sweep_run.log").read_text()
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)  # the sweep and its run, as a machine that goes down
    process.wait()
    was_finished = (first / "metrics.json").exists()

    ended = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=500)
    assert ended.returncode == 0, ended.stderr
    assert was_finished or "--resume_from_checkpoint last" in (first / "sweep_run.log").read_text()
    report = json.loads((tmp_path / "out" / "sweep.json").read_text())
    for setting in report["settings"].values():
        assert [run["status"] for run in setting["runs"].values()] == ["finished", "finished"]
        assert {run["metrics"]["pairs_seen"] for run in setting["runs"].values()} == {60}
        assert setting["summary"]["selection_mean_recall@1"]["n"] == 2
    assert report["settings"]["cloob"]["difference"]["selection_mean_recall@1"]["n"] == 2
    assert "clip/seed-0" not in (tmp_path / "out" / "table.md").read_text()
