# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What a sweep runs: settings × seeds, every run's flags resolved and compared before the first one starts."""

import difflib
import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml
from command_line import UserError, parse_arguments
from pretrain import PretrainArguments
from pretrain_checks import check_arguments
from sweep_suites import SWEEP_SUITES

PRETRAIN = Path(__file__).parent / "pretrain.py"
SWEEP_KEYS = ("output_dir", "seeds", "baseline", "metrics", "suites", "overrides", "may_differ", "runs")
SETTING_KEYS = ("name", "recipe", "overrides")
# The sweep gives these itself.
OWN_FLAGS = ("seed", "output_dir", "overwrite_output_dir", "resume_from_checkpoint")
# A global batch is a function of these, of the seed and of the step; the last three are also the budget.
EQUAL_FLAGS = (
    "dataset_name",
    "dataset_config",
    "dataset_split",
    "image_column",
    "caption_column",
    "validation_size",
    "validation_split",
    "first_caption_share",
    "batch_size",
    "gradient_accumulation_steps",
    "max_train_steps",
)
# Flags that leave a run's figures as they are, so that a finished run stays one when they change.
FREE_FLAGS = (
    *OWN_FLAGS[1:],
    "save_steps",
    "save_total_limit",
    "logging_steps",
    "report_to",
    "num_workers",
    "keep_text_states",
)


@dataclass
class SweepArguments:
    """Flags of sweep.py; `seeds`, `baseline` and `output_dir` replace those of the sweep's file."""

    sweep: str | None = field(default=None, metadata={"help": "a sweep's YAML file, e.g. of examples/sweeps"})
    recipes: list[str] = field(default_factory=list, metadata={"help": "recipes to compare, instead of a file"})
    seeds: list[int] = field(default_factory=list, metadata={"help": "seeds; each is run under every recipe"})
    output_dir: str | None = field(default=None, metadata={"help": "default: runs/sweeps/NAME of the file"})
    baseline: str | None = field(default=None, metadata={"help": "what differences are taken to; default: the first"})
    overrides: list[str] = field(default_factory=list, metadata={"help": "flag=value, for every run"})
    launcher: str = field(default="python", metadata={"help": "e.g. 'accelerate launch --num_processes 2'"})
    keep: str = field(
        default="model",
        metadata={"help": "of a finished run: 'all', 'model' (no checkpoints), 'metrics' (no weights)"},
    )
    report_only: bool = field(default=False, metadata={"help": "train nothing, write table and plots again"})


@dataclass(frozen=True)
class SweepRun:
    """One setting under one seed: a call of pretrain.py and the folder that it fills."""

    setting: str
    seed: int
    folder: Path
    recipe: Path
    flags: tuple[str, ...]
    arguments: PretrainArguments

    @property
    def name(self) -> str:
        return f"{self.setting}/seed-{self.seed}"

    def command(self, launcher: list[str], start: list[str]) -> list[str]:
        """The call; `start` are the flags that begin or resume it."""
        own = ["--seed", str(self.seed), "--output_dir", str(self.folder)]
        return [*launcher, str(PRETRAIN), str(self.recipe), *self.flags, *own, *start]


@dataclass(frozen=True)
class SweepPlan:
    """A whole sweep. `runs` go seed by seed, so that a sweep cut short has the same seeds of every setting.

    `suites` of evaluate.py are measured on every finished run (see sweep_suites.py).
    """

    name: str
    output_dir: Path
    baseline: str
    metrics: tuple[str, ...]
    suites: tuple[str, ...]
    may_differ: tuple[str, ...]
    settings: dict[str, dict[str, Any]]
    seeds: tuple[int, ...]
    runs: tuple[SweepRun, ...]


def plan_sweep(args: SweepArguments) -> SweepPlan:
    """Read the sweep and resolve every run's flags.

    Raises:
        UserError: a mistake in the sweep, in a recipe or in an override; settings whose data order or budget differ.
    """
    if bool(args.sweep) == bool(args.recipes):
        raise UserError("pass either a sweep's YAML file or --recipes a.yaml b.yaml")
    if args.keep not in ("all", "model", "metrics"):
        raise UserError(f"keep must be 'all', 'model' or 'metrics', got {args.keep!r}")
    sweep = _read_sweep(Path(args.sweep)) if args.sweep else {}
    recipes = [{"name": Path(recipe).stem, "recipe": recipe} for recipe in args.recipes]
    place = args.sweep or "--recipes"
    settings = _settings(sweep.get("runs", recipes), Path(args.sweep).parent if args.sweep else Path(), place)
    common = _checked_overrides(sweep.get("overrides", {}), place)
    last = _checked_overrides(_parsed_overrides(args.overrides), "--overrides")
    seeds = tuple(args.seeds or sweep.get("seeds") or (0,))
    if len(set(seeds)) < len(seeds) or any(isinstance(seed, bool) or not isinstance(seed, int) for seed in seeds):
        raise UserError(f"seeds must be different whole numbers, got {list(seeds)}")
    baseline = args.baseline or sweep.get("baseline") or next(iter(settings))
    if baseline not in settings:
        raise UserError(f"baseline must be one of {list(settings)}, got {baseline!r}")
    may_differ = tuple(sweep.get("may_differ", ()))
    if unknown := [name for name in may_differ if name not in EQUAL_FLAGS]:
        raise UserError(f"may_differ in {place} takes some of {', '.join(EQUAL_FLAGS)}; got {unknown}")

    name = Path(args.sweep).stem if args.sweep else "-".join(settings)
    output_dir = Path(args.output_dir or sweep.get("output_dir") or f"runs/sweeps/{name}")
    runs = []
    for seed in seeds:
        for setting, entry in settings.items():
            flags = _as_flags(common | entry["overrides"] | last)
            folder = output_dir / setting / f"seed-{seed}"
            own = ["--seed", str(seed), "--output_dir", str(folder)]
            argv = [str(entry["recipe"]), *flags, *own]
            arguments = parse_arguments(PretrainArguments, f"Flags of the run {setting!r}", argv=argv)
            try:
                check_arguments(arguments)
            except UserError as error:
                raise UserError(f"the run {setting!r} of {place}: {error}") from None
            if arguments.num_epochs:
                raise UserError(f"the run {setting!r} of {place}: a sweep's budget is max_train_steps, not num_epochs")
            runs.append(SweepRun(setting, seed, folder, entry["recipe"], tuple(flags), arguments))
    _check_equal_budget(runs, may_differ)
    metrics, suites = tuple(sweep.get("metrics", ())), tuple(sweep.get("suites", ()))
    if unknown := [suite for suite in suites if suite not in SWEEP_SUITES]:
        raise UserError(f"suites in {place} takes some of {', '.join(SWEEP_SUITES)}; got {unknown}")
    return SweepPlan(name, output_dir, baseline, metrics, suites, may_differ, settings, seeds, tuple(runs))


def recorded_differences(run: SweepRun) -> list[str]:
    """How the flags that a folder's run was made with differ from the sweep's; a flag unknown then had its default."""
    path = run.folder / "arguments.json"
    if not path.is_file():
        return []
    before = json.loads(path.read_text(encoding="utf-8"))
    wanted = json.loads(json.dumps(asdict(run.arguments)))
    defaults = json.loads(json.dumps(asdict(PretrainArguments())))
    return [
        f"{name} was {before.get(name, defaults[name])!r}, now {value!r}"
        for name, value in wanted.items()
        if name not in FREE_FLAGS and before.get(name, defaults[name]) != value
    ]


def finished_metrics(run: SweepRun) -> dict[str, Any] | None:
    """The figures of a finished run, None for any other: metrics.json must be whole and of the run's last step."""
    try:
        metrics = json.loads((run.folder / "metrics.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    whole = isinstance(metrics, dict) and metrics.get("steps") == run.arguments.max_train_steps
    return metrics if whole and metrics.get("seed") == run.seed else None


def _read_sweep(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UserError(f"the sweep {path} does not exist")
    try:
        sweep = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"the sweep {path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(sweep, dict) or not isinstance(sweep.get("runs"), list) or not sweep["runs"]:
        raise UserError(f"the sweep {path} needs a list 'runs' of settings, each with a name and a recipe")
    _check_keys(sweep, SWEEP_KEYS, str(path))
    for key, kind in (("seeds", list), ("metrics", list), ("suites", list), ("may_differ", list), ("overrides", dict)):
        if not isinstance(sweep.get(key, kind()), kind):
            raise UserError(f"{key} in {path} must be a {kind.__name__}, got {sweep[key]!r}")
    return sweep


def _settings(entries: list, folder: Path, place: str) -> dict[str, dict[str, Any]]:
    settings: dict[str, dict[str, Any]] = {}
    for number, entry in enumerate(entries, start=1):
        where = f"run {number} of {place}"
        if not isinstance(entry, dict) or "recipe" not in entry:
            raise UserError(f"{where} needs a recipe, got {entry!r}")
        _check_keys(entry, SETTING_KEYS, where)
        name = str(entry.get("name", Path(entry["recipe"]).stem))
        if name in settings or Path(name).name != name:
            raise UserError(f"{where} needs a name of its own that can be a folder, got {name!r}")
        overrides = _checked_overrides(entry.get("overrides") or {}, where)
        settings[name] = {"recipe": folder / str(entry["recipe"]), "overrides": overrides}
    return settings


def _parsed_overrides(pairs: list[str]) -> dict[str, str]:
    for pair in pairs:
        if "=" not in pair:
            raise UserError(f"--overrides takes flag=value, got {pair!r}")
    return dict(pair.split("=", 1) for pair in pairs)


def _checked_overrides(overrides: Any, place: str) -> dict[str, Any]:
    if not isinstance(overrides, dict):
        raise UserError(f"overrides of {place} must map flags to values, got {overrides!r}")
    _check_keys(overrides, tuple(known.name for known in fields(PretrainArguments)), f"overrides of {place}")
    for name, value in overrides.items():
        if name in OWN_FLAGS:
            raise UserError(f"overrides of {place}: {name} is the sweep's own; use its seeds and output_dir")
        if value is None:
            raise UserError(f"overrides of {place}: {name} needs a value; '' switches a recipe's off")
    return overrides


def _check_keys(mapping: dict, allowed: tuple[str, ...], place: str) -> None:
    for key in mapping:
        if key not in allowed:
            close = difflib.get_close_matches(str(key), allowed, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"allowed are {', '.join(allowed)}"
            raise UserError(f"unknown key {key!r} in {place}; {hint}")


def _as_flags(overrides: dict[str, Any]) -> list[str]:
    flags = []
    for name, value in overrides.items():
        listed = value if isinstance(value, list) else [json.dumps(value) if isinstance(value, dict) else value]
        flags += [f"--{name}", *(str(item) for item in listed)]
    return flags


def _check_equal_budget(runs: list[SweepRun], may_differ: tuple[str, ...]) -> None:
    """Refuse a comparison of runs that would see other batches, or more of them."""
    for name in EQUAL_FLAGS:
        values = {run.setting: getattr(run.arguments, name) for run in runs}
        if name not in may_differ and len(set(values.values())) > 1:
            raise UserError(
                f"the settings would not see the same batches: {name} is "
                f"{', '.join(f'{value!r} in {setting}' for setting, value in values.items())}; "
                f"make it equal, or list it under may_differ in the sweep"
            )
