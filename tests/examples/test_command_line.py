# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Flags override recipes, and whatever is misspelt, missing or of a wrong type ends with one line that names it."""

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import command_line
import pytest
from command_line import RECIPE_FOLDER, UserError, parse_arguments, user_errors
from demo import DemoArguments
from pretrain import PretrainArguments
from train_reco import TrainRecoArguments


@dataclass
class Arguments:
    """Flags of every type that the examples use."""

    REPLACES_DEFAULT_RECIPE: ClassVar[tuple[str, ...]] = ("dataset_name",)

    dataset_name: str = field(default="emoji")
    batch_size: int = field(default=512)
    learning_rate: float = field(default=1e-3)
    overwrite: bool = field(default=False)
    learn_scale: bool | None = field(default=None)
    vision_config: str | None = field(default=None)
    crop_scale: list[float] = field(default_factory=lambda: [0.9, 1.0])
    hopfield_scale: str = field(default="auto")


@pytest.fixture
def recipes(tmp_path, monkeypatch):
    """An own folder of recipes; write them with `recipes(name, text)`."""
    monkeypatch.setattr(command_line, "RECIPE_FOLDER", tmp_path)

    def write(name: str, text: str) -> str:
        (tmp_path / name).write_text(text, encoding="utf-8")
        return str(tmp_path / name)

    return write


def parse(*argv, **options):
    return parse_arguments(Arguments, "Test.", argv=list(map(str, argv)), **options)


@pytest.fixture
def error(capsys):
    """The message with which parsing ends: exit code 2, the usage, and this one line."""

    def run(*argv, **options) -> str:
        with pytest.raises(SystemExit) as stop:
            parse(*argv, **options)
        assert stop.value.code == 2
        usage, message = capsys.readouterr().err.splitlines()
        assert usage.startswith("usage: ")
        return message.split(": error: ")[1]

    return run


def test_flags_of_every_type_are_parsed():
    args = parse(
        *("--batch_size", 7, "--learning-rate", "2e-4", "--overwrite", "true", "--learn_scale", "false"),
        *("--crop_scale", 0.5, 1, "--vision_config", '{"model_type": "vit"}'),
    )
    assert (args.batch_size, args.learning_rate, args.overwrite, args.learn_scale) == (7, 2e-4, True, False)
    assert (args.crop_scale, args.vision_config) == ([0.5, 1.0], '{"model_type": "vit"}')
    assert parse() == Arguments()


def test_a_recipe_sets_flags_and_the_command_line_overrides_it(recipes):
    path = recipes(
        "a.yaml",
        "batch_size: 32\nlearning_rate: 1e-4\noverwrite: true\nlearn_scale: false\ncrop_scale: [0.5, 1]\n"
        "vision_config: {model_type: resnet, depths: [1, 2]}\n",
    )
    args = parse(path)
    assert (args.batch_size, args.learning_rate, args.overwrite, args.learn_scale) == (32, 1e-4, True, False)
    assert (args.crop_scale, args.vision_config) == ([0.5, 1.0], '{"model_type": "resnet", "depths": [1, 2]}')
    args = parse(path, "--batch_size", 64, "--crop_scale", 0.1, 0.2, "--overwrite", "false")
    assert (args.batch_size, args.crop_scale, args.overwrite, args.learning_rate) == (64, [0.1, 0.2], False, 1e-4)


def test_a_recipe_extends_another_of_its_folder(recipes):
    recipes("base.yaml", "batch_size: 32\nvision_config: {model_type: vit}\ndataset_name: x\n")
    args = parse(recipes("own.yaml", "extends: base.yaml\nbatch_size: 64\nvision_config: null\n"))
    assert args == Arguments(batch_size=64, dataset_name="x")


def test_the_default_recipe_holds_unless_a_recipe_or_a_replacing_flag_is_given(recipes):
    recipes("default.yaml", "batch_size: 32\n")
    other = recipes("other.yaml", "learning_rate: 1\n")
    assert parse(default_recipe="default.yaml").batch_size == 32
    assert parse("--hopfield_scale", "dataset_name", default_recipe="default.yaml").batch_size == 32
    assert parse(other, default_recipe="default.yaml").batch_size == 512
    for flag in (["--dataset_name", "x"], ["--dataset_name=x"], ["--dataset-name", "x"]):
        assert parse(*flag, default_recipe="default.yaml") == Arguments(dataset_name="x")


def test_a_positional_field_may_be_given_with_and_without_its_flag():
    def parse_demo(*argv):
        return parse_arguments(DemoArguments, "Test.", positional="model", argv=list(argv))

    assert parse_demo("runs/x", "--num_seen", "2") == DemoArguments(model="runs/x", num_seen=2)
    assert parse_demo("--num_seen", "2", "--model", "runs/x") == DemoArguments(model="runs/x", num_seen=2)
    assert parse_demo() == DemoArguments()


def test_misspelt_flags_are_named_with_a_suggestion(error):
    assert error("--bacth_size", 3) == "unknown flag: 'bacth_size'; did you mean 'batch_size'?"
    assert error("--bacth-size=3") == "unknown flag: 'bacth_size'; did you mean 'batch_size'?"
    assert error("--zzz") == "unknown flag: 'zzz'; see --help"
    # No abbreviations: a flag that is added later must not change what a command means.
    assert error("--batch", 3) == "unknown flag: 'batch'; did you mean 'batch_size'?"


def test_wrong_types_are_named(error, recipes):
    assert error("--batch_size", "abc").endswith("invalid int value: 'abc'")
    assert error("--overwrite", "maybe").startswith("argument --overwrite: Truthy value expected: got maybe")
    assert "batch_size" in error("--batch_size")
    assert error(recipes("a.yaml", "batch_size: [1, 2]")) == "'2' belongs to no flag: one value too many?"
    assert error(recipes("a.yaml", "learning_rate: fast")).endswith("invalid float value: 'fast'")


def test_mistakes_in_recipes_are_named(error, recipes):
    wrong = recipes("a.yaml", "bacth_size: 3\n")
    assert error(wrong) == f"unknown key in {wrong}: 'bacth_size'; did you mean 'batch_size'?"
    assert error(recipes("a.yaml", "- batch_size\n")).endswith("must be a mapping of flags to values, got a list")
    assert "is not YAML: while parsing a flow sequence" in error(recipes("a.yaml", "crop_scale: [1"))
    # null reads like "none", where the default, "auto", would be what holds.
    assert error(recipes("a.yaml", "hopfield_scale: null")).startswith("the key 'hopfield_scale' in ")
    assert error(recipes("a.yaml", "extends: a.yaml")).endswith("extends itself")
    assert "missing.yaml does not exist" in error(recipes("a.yaml", "extends: missing.yaml"))


def test_a_missing_or_misplaced_recipe_is_named(error, recipes):
    recipes("a.yaml", "")
    recipes("b.yaml", "")
    assert error("c.yaml") == "the recipe c.yaml does not exist; examples/recipes holds a.yaml, b.yaml"
    assert error("--batch_size", 3, "a.yaml").startswith("the recipe a.yaml must come first")


def test_a_users_error_is_one_line_with_its_subject_and_others_pass_through():
    for raised in (ValueError("bad\n  value"), OSError("bad value"), ImportError("bad value")):
        with pytest.raises(UserError, match="^flag 'x': bad value$"), user_errors("flag 'x':"):
            raise raised
    with pytest.raises(UserError, match="^as it is$"), user_errors("flag 'x':"):
        raise UserError("as it is")
    with pytest.raises(RuntimeError), user_errors():
        raise RuntimeError("a bug of ours keeps its traceback")


@pytest.mark.parametrize("recipe", sorted(RECIPE_FOLDER.glob("*.yaml")), ids=lambda path: path.name)
def test_every_recipe_parses(recipe):
    arguments = TrainRecoArguments if recipe.name.startswith("reco_") else PretrainArguments
    args = parse_arguments(arguments, "Test.", argv=[str(recipe)])
    assert args != arguments()


def test_help_answers_within_two_seconds(command):
    before = os.times()
    result = command("pretrain.py", "--help")
    after = os.times()
    assert result.returncode == 0
    # Every flag with its help and its default.
    assert "--retrieval_warmup_steps" in result.stdout and "(default: 512)" in result.stdout
    # Processor time: what it takes on a machine that is not busy with something else.
    assert sum(after[2:4]) - sum(before[2:4]) < 2


def test_a_misspelt_flag_ends_a_command_with_code_2_and_no_traceback(command):
    result = command("pretrain.py", "--bacth_size", "3")
    assert result.returncode == 2
    assert result.stderr.splitlines() == [
        "usage: pretrain.py [recipe.yaml] [--flag value ...]",
        "pretrain.py: error: unknown flag: 'bacth_size'; did you mean 'batch_size'?",
    ]


def test_a_script_of_the_examples_finds_the_evaluate_library_and_its_own_siblings(tmp_path):
    # As a copy of the folder, whose scripts are started by their path.
    examples = Path(command_line.__file__).parent
    for name in ("command_line.py", "evaluate.py", "evaluation_data.py"):
        (tmp_path / name).write_bytes((examples / name).read_bytes())
    metric = examples.parent / "hf_cloob" / "evaluation" / "metrics" / "modality_gap"
    (tmp_path / "script.py").write_text(
        "from command_line import UserError\n"
        "import evaluate, evaluation_data\n"
        f"metric = evaluate.load({str(metric)!r}, cache_dir={str(tmp_path)!r})\n"
        "print(metric.compute(image_embeds=[[1.0, 0.0]] * 2, text_embeds=[[-1.0, 0.0]] * 2))\n"
    )
    environment = os.environ | {"PYTHONPATH": str(examples.parent)}
    done = subprocess.run(
        [sys.executable, tmp_path / "script.py"], capture_output=True, text=True, cwd=tmp_path.parent, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "{'modality_gap': 2.0}"
