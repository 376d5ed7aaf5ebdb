# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Flags and YAML recipes of the example scripts: one dataclass, flags override the recipe, mistakes are named."""

import difflib
import json
import sys
from dataclasses import fields
from pathlib import Path

import yaml

RECIPE_FOLDER = Path(__file__).parent / "recipes"


def parse_arguments(arguments_class: type, description: str, default_recipe: str | None = None, argv=None):
    """Parse `[recipe.yaml] --flag value ...` into one instance of a dataclass.

    Args:
        arguments_class: a dataclass; its fields are the flags and the keys of a recipe.
        description: first lines of `--help`.
        default_recipe: a file of `recipes/` to use when the command line names none; a flag of
            `arguments_class.REPLACES_DEFAULT_RECIPE` on the command line switches it off.
        argv: command line without the program's name; `sys.argv[1:]` by default.

    Exits with a message that names the value and what is allowed for an unknown flag or key or a wrong type.
    """
    from transformers import HfArgumentParser

    argv = list(sys.argv[1:] if argv is None else argv)
    parser = HfArgumentParser(arguments_class, description=description, allow_abbrev=False)
    parser.usage = "%(prog)s [recipe.yaml] [--flag value ...]"
    names = [field.name for field in fields(arguments_class)]
    recipe = argv.pop(0) if argv and argv[0].endswith((".yaml", ".yml")) else None
    replaced = any(argument.split("=")[0].lstrip("-") in _replacing(arguments_class) for argument in argv)
    if recipe is None and default_recipe and not replaced:
        recipe = RECIPE_FOLDER / default_recipe
    from_recipe = _recipe_flags(parser, Path(recipe), names) if recipe else []
    (arguments, unknown) = parser.parse_args_into_dataclasses(
        args=[*from_recipe, *argv], look_for_args_file=False, return_remaining_strings=True
    )
    for flag in unknown:
        parser.error(_unknown("flag", flag.split("=")[0].lstrip("-"), names))
    return arguments


def _replacing(arguments_class: type) -> tuple[str, ...]:
    return getattr(arguments_class, "REPLACES_DEFAULT_RECIPE", ())


def _recipe_flags(parser, path: Path, names: list[str]) -> list[str]:
    """The recipe as command line flags, so that one parser checks the types of both."""
    if not path.is_file():
        there = ", ".join(sorted(file.name for file in RECIPE_FOLDER.glob("*.yaml")))
        parser.error(f"the recipe {path} does not exist; examples/recipes holds {there}")
    values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    if not isinstance(values, dict):
        parser.error(f"the recipe {path} must be a mapping of flags to values, got a {type(values).__name__}")
    flags = []
    for name, value in values.items():
        if name not in names:
            parser.error(_unknown(f"key in {path}", str(name), names))
        if value is None:
            continue
        listed = value if isinstance(value, list) else [json.dumps(value) if isinstance(value, dict) else value]
        flags += [f"--{name}", *(str(item) for item in listed)]
    return flags


def _unknown(what: str, name: str, names: list[str]) -> str:
    close = difflib.get_close_matches(name, names, n=1)
    return f"unknown {what}: {name!r}" + (f"; did you mean {close[0]!r}?" if close else "; see --help")
