# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Install the oldest versions that pyproject.toml admits, on the oldest Python, and run the fast tests.

The floors are read from pyproject.toml, so that what it promises is what is run. torch's floor has builds with CUDA
only on the usual registry: the environment takes about 6 GB and is removed again when the tests pass.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import tomllib

ROOT = Path(__file__).parent.parent
ENVIRONMENT = ROOT / ".venv-lowest"
FLOOR = re.compile(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?>=([^,;\s]+)")


def floors(project: dict, extra: str = "test") -> list[str]:
    """Every requirement `name>=version` of the project and an extra as the pin `name==version`."""
    requirements, extras = list(project["dependencies"]), [extra]
    for name in extras:  # grows: an extra may name others of the same project
        for requirement in project["optional-dependencies"][name]:
            ours = re.fullmatch(rf"{project['name']}\[(.*)]", requirement)
            extras.extend(ours[1].split(",")) if ours else requirements.append(requirement)
    matches = [FLOOR.match(requirement) for requirement in requirements]
    return sorted(f"{match[1]}=={match[2]}" for match in matches if match)


def oldest_python(project: dict) -> str:
    """An interpreter of the version in requires-python, or this one where there is none."""
    version = project["requires-python"].removeprefix(">=")
    code = "import sys, venv; print(sys.executable, *sys.version_info[:2])"
    candidates = [shutil.which(f"python{version}"), *Path.home().glob(f".pyenv/versions/{version}.*/bin/python")]
    for candidate in filter(None, candidates):
        result = subprocess.run([candidate, "-c", code], capture_output=True, text=True)
        if result.returncode == 0 and result.stdout.split()[1:] == version.split("."):
            return result.stdout.split()[0]
    print(f"No Python {version} here: running the oldest packages on Python {sys.version.split()[0]}.")
    return sys.executable


def run(*command: str | Path) -> None:
    subprocess.run([*map(str, command)], cwd=ROOT, check=True)


def main() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pins = floors(project)
    python = oldest_python(project)
    print(f"Installing the oldest versions with {python}: {', '.join(pins)}", flush=True)
    shutil.rmtree(ENVIRONMENT, ignore_errors=True)
    run(python, "-m", "venv", ENVIRONMENT)
    constraints = ENVIRONMENT / "floors.txt"
    constraints.write_text("\n".join(pins), encoding="utf-8")
    python = ENVIRONMENT / "bin" / "python"
    install = (python, "-m", "pip", "install", "--quiet", "--no-compile", "--constraint")
    run(*install, ROOT / "constraints.txt", "pip")
    run(*install, constraints, "--editable", ".[test]")
    # Old packages warn about new Pythons and about each other: only our newest set is held to no warnings.
    run(python, "-m", "pytest", "-m", "not slow", "-o", "filterwarnings=default", "--disable-warnings")
    shutil.rmtree(ENVIRONMENT)


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        kept = f" {os.path.relpath(ENVIRONMENT)} is kept." if ENVIRONMENT.exists() else ""
        sys.exit(f"The oldest versions failed (exit status {error.returncode}).{kept}")
