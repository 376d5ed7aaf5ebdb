# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Flags and YAML recipes of the example scripts: one dataclass, flags override the recipe, mistakes are named."""

import difflib
import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

import yaml

FOLDER = Path(__file__).parent
RECIPE_FOLDER = FOLDER / "recipes"
# Python puts a script's folder first on its path, where evaluate.py would hide the library of that name from every
# module that is loaded later. Behind the others the scripts still find each other.
if str(FOLDER) in sys.path:
    sys.path.remove(str(FOLDER))
    sys.path.append(str(FOLDER))


class UserError(ValueError):
    """A mistake of the user: shown without a traceback."""


@contextmanager
def user_errors(subject: str = "") -> Iterator[None]:
    """While a command is set up, an error about a value, a file or a package is the user's to mend: a `UserError`.

    Args:
        subject: flag and value to put before a message that does not name them.
    """
    from huggingface_hub.errors import StrictDataclassError

    try:
        yield
    except UserError:
        raise
    except (ValueError, OSError, ImportError, StrictDataclassError) as error:
        raise UserError(" ".join(f"{subject} {error}".split())) from error


def parse_arguments(
    arguments_class: type,
    description: str,
    default_recipe: str | None = None,
    positional: str | None = None,
    argv: list[str] | None = None,
):
    """Parse `[recipe.yaml] --flag value ...` into one instance of a dataclass.

    Args:
        arguments_class: a dataclass; its fields are the flags and the keys of a recipe.
        description: first lines of `--help`.
        default_recipe: a file of `recipes/` to use when the command line names none; a flag of
            `arguments_class.REPLACES_DEFAULT_RECIPE` on the command line switches it off.
        positional: a field that the command line may also give first, without its flag.
        argv: command line without the program's name; `sys.argv[1:]` by default.

    Exits with a message that names the value and what is allowed for an unknown flag or key or a wrong type.
    """
    from transformers import HfArgumentParser

    argv = list(sys.argv[1:] if argv is None else argv)
    defaults = {field.name: field.default for field in fields(arguments_class)}
    parser = HfArgumentParser(arguments_class, description=description, allow_abbrev=False)
    parser.usage = f"%(prog)s [{positional or 'recipe.yaml'}] [--flag value ...]"
    if positional and argv and not argv[0].startswith("-"):
        argv.insert(0, f"--{positional}")
    recipe = argv.pop(0) if argv and argv[0].endswith((".yaml", ".yml")) else None
    given = {_flag_name(argument) for argument in argv if argument.startswith("--")}
    replaced = not given.isdisjoint(_replacing(arguments_class))
    if recipe is None and default_recipe and not replaced:
        recipe = RECIPE_FOLDER / default_recipe
    from_recipe = _recipe_flags(parser, Path(recipe), defaults) if recipe else []
    (arguments, unknown) = parser.parse_args_into_dataclasses(
        args=[*from_recipe, *argv], look_for_args_file=False, return_remaining_strings=True
    )
    for flag in unknown:
        if flag.endswith((".yaml", ".yml")):
            parser.error(f"the recipe {flag} must come first, before the flags that override it")
        if not flag.startswith("-"):
            parser.error(f"{flag!r} belongs to no flag: one value too many?")
        parser.error(_unknown("flag", _flag_name(flag), defaults))
    return arguments


def _flag_name(argument: str) -> str:
    # HfArgumentParser takes --batch-size for --batch_size.
    return argument.split("=")[0].lstrip("-").replace("-", "_")


def _replacing(arguments_class: type) -> tuple[str, ...]:
    return getattr(arguments_class, "REPLACES_DEFAULT_RECIPE", ())


def _recipe_flags(parser, path: Path, defaults: dict) -> list[str]:
    """The recipe as command line flags, so that one parser checks the types of both."""
    flags = []
    for name, value in _recipe_values(parser, path, defaults).items():
        if value is not None:
            listed = value if isinstance(value, list) else [json.dumps(value) if isinstance(value, dict) else value]
            flags += [f"--{name}", *(str(item) for item in listed)]
    return flags


def _recipe_values(parser, path: Path, defaults: dict, extending: tuple[Path, ...] = ()) -> dict:
    """Keys and values of a recipe; `extends: OTHER.yaml`, in the same folder, puts that recipe's behind its own."""
    if not path.is_file():
        there = ", ".join(sorted(file.name for file in RECIPE_FOLDER.glob("*.yaml")))
        parser.error(f"the recipe {path} does not exist; examples/recipes holds {there}")
    if path in extending:
        parser.error(f"the recipe {path} extends itself")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        parser.error(f"the recipe {path} is not YAML: {' '.join(str(error).split())}")
    if not isinstance(values, dict):
        parser.error(f"the recipe {path} must be a mapping of flags to values, got a {type(values).__name__}")
    parent = values.pop("extends", None)
    for name, value in values.items():
        if name not in defaults:
            parser.error(_unknown(f"key in {path}", str(name), defaults))
        if value is None and defaults[name] is not None:
            # The default would hold silently, and for hopfield_scale, say, that is not what null looks like.
            parser.error(f"the key {name!r} in {path} needs a value")
    inherited = _recipe_values(parser, path.parent / str(parent), defaults, (*extending, path)) if parent else {}
    return inherited | values


def _unknown(what: str, name: str, names: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, names, n=1)
    return f"unknown {what}: {name!r}" + (f"; did you mean {close[0]!r}?" if close else "; see --help")
