# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The common model tests of the installed transformers, unpacked from its source distribution."""

import subprocess
import sys
import tarfile
from pathlib import Path

import transformers

PACKAGE = "transformers_tests"
CACHE = Path(__file__).parents[2] / ".cache" / "conformance"
# What the common tests import and the source distribution leaves out. Empty: dual encoders neither generate nor were
# they exported, and the common keywords are tried on configurations without sub-configurations only.
LEFT_OUT = {
    "exporters/test_export.py": "class ExportTesterMixin:\n    pass\n",
    "generation/test_utils.py": "class GenerationTesterMixin:\n    pass\n",
    "utils/test_configuration_utils.py": "config_common_kwargs = {}\n",
}


def fetch_tests() -> Path:
    """Fetch and unpack the tests once per version; return the folder to put on `sys.path`.

    They become the package `transformers_tests`, so that our own folder `tests` stays what it is.

    Raises:
        RuntimeError: pip could not fetch the source distribution.
    """
    version = transformers.__version__
    folder = CACHE / version
    if not (folder / PACKAGE / "test_modeling_common.py").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        _unpack(_download(version, folder), folder / PACKAGE)
    for name, source in LEFT_OUT.items():
        if not (file := folder / PACKAGE / name).is_file():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(source, encoding="utf-8")
    return folder


def _download(version: str, folder: Path) -> Path:
    archives = sorted(folder.glob("transformers-*.tar.gz"))
    if archives:
        return archives[0]
    print(f"Fetching the source distribution of transformers {version}", flush=True)
    # Without isolation, or preparing its metadata would install a second set of build tools.
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
    command += ["--no-build-isolation", "--dest", str(folder), f"transformers=={version}"]
    result = subprocess.run(command, capture_output=True, text=True)
    archives = sorted(folder.glob("transformers-*.tar.gz"))
    if result.returncode or not archives:
        raise RuntimeError(f"pip could not fetch transformers {version} as source:\n{result.stderr[-2000:]}")
    return archives[0]


def _unpack(archive: Path, destination: Path) -> None:
    with tarfile.open(archive) as tar:
        for member in tar.getmembers():
            parts = Path(member.name).parts
            if member.isfile() and len(parts) == 3 and parts[1] == "tests" and parts[2].endswith(".py"):
                destination.mkdir(exist_ok=True)
                (destination / parts[2]).write_bytes(tar.extractfile(member).read())
    (destination / "__init__.py").touch()
