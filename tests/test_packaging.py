# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The wheel as a user gets it: what it holds, and that it works in an environment that holds nothing else."""

import subprocess
import sys
import venv
import zipfile
from email.parser import BytesParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "hf_cloob"
# Every module must import without the extras, and a model must run.
USE = """
import importlib, pkgutil
import hf_cloob
for module in pkgutil.walk_packages(hf_cloob.__path__, "hf_cloob."):
    importlib.import_module(module.name)
import torch
layers = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2)
config = hf_cloob.CloobConfig(
    text_config=dict(model_type="clip_text_model", vocab_size=99, **layers),
    vision_config=dict(model_type="clip_vision_model", image_size=16, patch_size=8, **layers),
    projection_dim=16,
)
model = hf_cloob.CloobModel(config)
output = model(input_ids=torch.arange(12).view(3, 4), pixel_values=torch.rand(3, 3, 16, 16), return_loss=True)
assert output.loss.isfinite()
print(hf_cloob.__file__)
"""


def run(*command: str | Path, cwd: Path) -> str:
    result = subprocess.run([*map(str, command)], capture_output=True, text=True, cwd=cwd)
    assert result.returncode == 0, f"{result.stdout}\n{result.stderr}"
    return result.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, ROOT, cwd=folder)
    (path,) = folder.glob("*.whl")
    return path


@pytest.mark.slow
def test_wheel_holds_the_whole_package_and_nothing_else(wheel):
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    source = {path.relative_to(ROOT).as_posix() for path in PACKAGE.rglob("*") if path.is_file()}
    assert names == {name for name in source if "__pycache__" not in name and "_cache/" not in name}
    assert "hf_cloob/py.typed" in names


@pytest.mark.slow
def test_wheel_metadata_names_version_license_and_floors(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = BytesParser().parsebytes(archive.read(name))
        assert any(name.endswith("licenses/LICENSE") for name in archive.namelist())
    assert (metadata["Name"], metadata["License-Expression"]) == ("hf_cloob", "Apache-2.0")
    assert f'__version__ = "{metadata["Version"]}"' in (PACKAGE / "__init__.py").read_text(encoding="utf-8")
    required = [requirement for requirement in metadata.get_all("Requires-Dist") if "extra ==" not in requirement]
    assert len(required) == 9
    assert [requirement for requirement in required if ">=" not in requirement] == []


@pytest.mark.slow
def test_wheel_works_in_a_fresh_environment_without_extras(wheel, tmp_path):
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=True)
    python = environment / "bin" / "python"
    install = (python, "-m", "pip", "install", "--quiet", "--no-compile", "--constraint", ROOT / "constraints.txt")
    run(*install, "pip", cwd=tmp_path)
    run(*install, wheel, cwd=tmp_path)
    installed = run(python, "-c", USE, cwd=tmp_path).strip()
    assert Path(installed).is_relative_to(environment)
