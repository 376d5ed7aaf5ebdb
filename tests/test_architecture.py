# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The house rules that a reviewer would otherwise check by hand: the import law, file heads, mirrored tests, hosts."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "hf_cloob"
RINGS = {folder.name for folder in PACKAGE.iterdir() if (folder / "__init__.py").is_file()}
MODULES = sorted(PACKAGE.rglob("*.py"))
CORE = [path for path in MODULES if path.parent == PACKAGE and path.name != "__init__.py"]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
COMMANDS = [path for path in EXAMPLES if "__main__" in path.read_text(encoding="utf-8")]
# Hosts of package registries, folders of one machine; the brackets keep this file from finding itself.
FORBIDDEN = re.compile(
    r"registry[.]npmjs|pypi[.]org|pythonhosted[.]|download[.]pytorch|deb[.]debian|crates[.]io"
    r"|(?<![\w.<}])/(?:work|tmp|root|home|opt|Users)[/]"
)
HEAD = re.compile(
    r"(#!.*\n)?# Copyright 2026 The hf_cloob authors\. All rights reserved\.\n"
    r"# SPDX-License-Identifier: Apache-2\.0\n"
)
NOT_SOURCE = {"build", "dist", "runs"}


def imports_of(path: Path) -> list[tuple[int, list[str], bool]]:
    """Every import anywhere in a file: line number, the absolute dotted names it may load, whether it is relative."""
    folder = path.parent.relative_to(ROOT).parts
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.append((node.lineno, [alias.name for alias in node.names], False))
        elif isinstance(node, ast.ImportFrom):
            base = [*folder[: len(folder) - node.level + 1]] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            found.append((node.lineno, [f"{module}.{alias.name}" for alias in node.names], bool(node.level)))
    return found


def ring_of(name: str) -> str | None:
    parts = name.split(".")
    return parts[1] if len(parts) > 1 and parts[0] == "hf_cloob" and parts[1] in RINGS else None


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def core_violations(path: Path) -> list[str]:
    """A checkpoint is saved with the core's files: they may need torch and transformers, and find only each other."""
    # transformers cannot be installed without safetensors.
    allowed = {"torch", "transformers", "safetensors", *sys.stdlib_module_names}
    sibling = re.compile(r"hf_cloob\.[a-z_0-9]+\.\w+")
    wrong = []
    for line, names, is_relative in imports_of(path):
        for name in names:
            if is_relative:
                legal = bool(sibling.fullmatch(name)) and ring_of(name) is None
            else:
                legal = name.split(".")[0] in allowed
            if not legal:
                wrong.append(f"{relative(path)}:{line} imports {name}")
    return wrong


def ring_violations(path: Path) -> list[str]:
    """Rings know the core and themselves; hub, the outermost, knows the others; none knows examples or tests."""
    own = path.relative_to(PACKAGE).parts[0]
    wrong = []
    for line, names, _ in imports_of(path):
        for name in names:
            sibling = ring_of(name) not in (None, own) and own != "hub"
            if sibling or name.split(".")[0] in ("examples", "tests"):
                wrong.append(f"{relative(path)}:{line} imports {name}")
    return wrong


def run_python(*arguments: str, **environment: str) -> str:
    result = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, cwd=ROOT, env={**os.environ, **environment}
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_core_imports_only_torch_transformers_and_its_siblings():
    assert CORE
    assert [wrong for path in CORE for wrong in core_violations(path)] == []


def test_rings_never_import_their_siblings():
    rings = [path for path in MODULES if path.parent != PACKAGE]
    assert rings
    assert [wrong for path in rings for wrong in ring_violations(path)] == []


def test_the_package_imports_its_rings_lazily():
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    eager = [node.module or "" for node in tree.body if isinstance(node, ast.ImportFrom)]
    assert [name for name in eager if name.split(".")[0] in RINGS or name.startswith("hf_cloob")] == []


@pytest.mark.parametrize(
    ("place", "line"),
    [
        ("modeling_planted.py", "import numpy"),
        ("modeling_planted.py", "from . import hopfield"),
        ("modeling_planted.py", "from hf_cloob.hopfield import hopfield_retrieval"),
        ("modeling_planted.py", "from .data import sources"),
        ("modeling_planted.py", "def f():\n    import datasets"),
        ("data/planted.py", "from ..evaluation import zero_shot"),
        ("data/planted.py", "from hf_cloob.training.optimization import x"),
        ("data/planted.py", "import tests.reference"),
    ],
)
def test_the_import_law_catches_a_planted_violation(place, line, tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", tmp_path / "hf_cloob")
    planted = tmp_path / "hf_cloob" / place
    planted.parent.mkdir(parents=True)
    planted.write_text(line)
    assert len((ring_violations if "/" in place else core_violations)(planted)) == 1


def test_importing_the_package_loads_no_ring_and_nothing_heavy_beyond_transformers():
    # transformers itself imports accelerate, and old ones scikit-learn, as soon as a model class is used.
    base = "import sys; from transformers import AutoModel, CLIPModel, PreTrainedModel, ProcessorMixin; "
    before = set(run_python("-c", base + "print(*sys.modules)").split())
    after = set(run_python("-c", base + "import hf_cloob; print(*sys.modules)").split())
    heavy = {"datasets", "accelerate", "evaluate", "peft", "matplotlib", "pandas", "sklearn", "PIL", "yaml"}
    assert "hf_cloob.modeling_cloob" in after - before
    assert sorted(name for name in after if ring_of(name) or name == "datasets") == []
    assert sorted(heavy & (after - before)) == []


def test_every_public_name_of_the_package_exists():
    run_python("-c", "import hf_cloob; [getattr(hf_cloob, name) for name in hf_cloob.__all__]")


def test_every_source_file_starts_with_copyright_license_and_docstring():
    # transformers' common tests skip silently for a configuration without the first line.
    sources = [*MODULES, *EXAMPLES, *(ROOT / "tests").rglob("*.py"), *(ROOT / ".ci").iterdir()]
    text = {path: path.read_text(encoding="utf-8") for path in sources if path.is_file()}
    assert [relative(path) for path in text if not HEAD.match(text[path])] == []
    python = [path for path in text if path.suffix == ".py"]
    assert [relative(path) for path in python if not ast.get_docstring(ast.parse(text[path]))] == []


def test_every_module_has_a_mirrored_test():
    modules = [path.relative_to(PACKAGE) for path in MODULES if path.name != "__init__.py"]
    mirrors = [ROOT / "tests" / path.with_name(f"test_{path.name}") for path in modules]
    assert [relative(test) for test in mirrors if not test.is_file()] == []


@pytest.mark.parametrize("example", COMMANDS, ids=lambda path: path.name)
def test_help_of_an_example_loads_neither_torch_nor_a_model(example):
    # Loading torch is what would make `--help` take longer than two seconds.
    code = (
        "import os, runpy, sys\n"
        "sys.path.insert(0, os.path.dirname(sys.argv[1]))\n"
        "path, sys.argv = sys.argv[1], [sys.argv[1], '--help']\n"
        "try:\n"
        "    runpy.run_path(path, run_name='__main__')\n"
        "except SystemExit as stop:\n"
        "    assert not stop.code, stop.code\n"
        "print('loaded:', *sys.modules)\n"
    )
    printed, loaded = run_python("-c", code, str(example)).split("loaded:")
    assert "usage:" in printed
    heavy = {"torch", "transformers.modeling_utils", "datasets", "accelerate", "matplotlib", "hf_cloob"}
    assert heavy.isdisjoint(loaded.split())


def test_no_file_names_a_package_registry_or_a_folder_of_one_machine():
    top = [path for path in ROOT.iterdir() if path.name not in NOT_SOURCE and not path.name.startswith(".")]
    top += [ROOT / name for name in (".ci", ".gitignore") if (ROOT / name).exists()]
    files = [file for path in top for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file()]
    found = []
    for file in files:
        if any(part == "__pycache__" or part.endswith("_cache") for part in file.relative_to(ROOT).parts):
            continue
        for number, line in enumerate(file.read_bytes().decode("utf-8", errors="ignore").splitlines(), start=1):
            if FORBIDDEN.search(line):
                found.append(f"{relative(file)}:{number}: {line.strip()[:80]}")
    assert found == []
