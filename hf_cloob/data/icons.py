# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The icons: a larger, noisy corpus of drawings with short names, to pretrain on and to distract a memory with.

`load_icons` gives one row for each thing that a collection draws, whatever number of styles it draws it in.
"""

import logging
import os
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .dataset_cache import build_once, corpus_folder, png_cell, read_report, write_report
from .emoji_packages import EMOJIBASE
from .emoji_protocol import WITHHELD_SUBGROUPS
from .flag_names import flag_names
from .icon_names import (
    COUNTING_WORDS,
    FLAG_WORDS,
    STYLE_SUFFIXES,
    WithheldNames,
    base_names,
    is_withheld,
    withheld_names,
)
from .icon_packages import ICON_COLLECTIONS
from .npm_packages import NpmPackage, default_cache_dir, fetch_packages, read_json
from .svg_rendering import iconify_svg, render_svg

if TYPE_CHECKING:
    import datasets

logger = logging.getLogger(__name__)

# Raised whenever the same packages would give another dataset, so that old ones in a cache are not taken for it.
BUILD_VERSION = 1


def load_icons(
    cache_dir: str | os.PathLike | None = None, image_size: int = 64, collections: Collection[str] | None = None
) -> "datasets.Dataset":
    """The icons of fifteen collections, fetched and rendered on the first call (a minute) and read from disk later.

    Columns: image (RGB on white), caption (the base name in words: "credit card"), name (the drawing's own name in its
    collection), family (the collection), license (of the collection, SPDX), names_withheld (pretraining must leave it
    out: a name of the drawing holds a name or tag of a concept that the emoji protocol withholds, or names a flag).

    Args:
        cache_dir: where packages and datasets are kept; $HF_CLOOB_CACHE or ~/.cache/hf_cloob without it.
        image_size: side of the square pictures, in pixels.
        collections: only these of `ICON_COLLECTIONS`; all without it.

    Raises:
        ValueError: `image_size` is below 8, a collection is unknown, or a package differs from its recorded sha512.
        RuntimeError: npm is missing or could not fetch a package.
    """
    import datasets

    packages = _chosen(collections)
    cache_dir = Path(cache_dir) if cache_dir is not None else default_cache_dir()
    folder = corpus_folder(cache_dir, "icons", image_size, _ingredients(packages))
    build_once(folder, lambda aside: _build(cache_dir, packages, image_size, aside))
    report = read_report(folder, "icon")
    logger.info("%d of %d icons name something withheld", report["names_withheld"], sum(report["sizes"].values()))
    return datasets.load_from_disk(str(folder / "icons"))


def _chosen(collections: Collection[str] | None) -> dict[str, NpmPackage]:
    if collections is None:
        return ICON_COLLECTIONS
    unknown = sorted(set(collections) - set(ICON_COLLECTIONS))
    if unknown or not collections:
        raise ValueError(f"collections must be some of {', '.join(ICON_COLLECTIONS)}; got {unknown or 'none'}")
    return {family: package for family, package in ICON_COLLECTIONS.items() if family in collections}


def _ingredients(packages: Mapping[str, NpmPackage]) -> list[Any]:
    words = [WITHHELD_SUBGROUPS, FLAG_WORDS, STYLE_SUFFIXES, COUNTING_WORDS]
    return [BUILD_VERSION, words, [asdict(package) for package in (EMOJIBASE, *packages.values())]]


def _build(cache_dir: Path, packages: Mapping[str, NpmPackage], image_size: int, folder: Path) -> None:
    import datasets
    from datasets.utils import tqdm

    paths = fetch_packages([EMOJIBASE, *packages.values()], cache_dir)
    withheld = _read_withheld(paths[EMOJIBASE.name])
    report: dict[str, Any] = {"unreadable": [], "blank": [], "repeated": [], "sizes": {}}
    rows = []
    for family, package in packages.items():
        collection = read_json(paths[package.name], "icons.json")
        styles = read_json(paths[package.name], "metadata.json").get("suffixes", {})
        drawings, own_names = icon_drawings(collection, styles)
        progress = tqdm(drawings.items(), desc=f"Rendering {family}")
        drawn = _render_family(family, collection, progress, own_names, image_size, report)
        report["sizes"][family] = len(drawn)
        rows += [
            {**row, "license": package.license, "names_withheld": any(is_withheld(name, withheld) for name in names)}
            for row, names in drawn
        ]
    report["names_withheld"] = sum(row["names_withheld"] for row in rows)
    datasets.Dataset.from_list(rows, features=_features()).save_to_disk(str(folder / "icons"))
    write_report(folder, report)
    logger.info("Built the icons: %s", report["sizes"])


def _read_withheld(base: Path) -> WithheldNames:
    emojis, names = read_json(base, "en/data.json"), read_json(base, "meta/groups.json")
    flags = flag_names(emojis, names, read_json(base, "en/shortcodes/emojibase.json"))
    return withheld_names(emojis, names, WITHHELD_SUBGROUPS, flags)


def icon_drawings(
    collection: Mapping[str, Any], styles: Collection[str]
) -> tuple[dict[str, str], dict[str, set[str]]]:
    """Base name -> the drawing that shows it, and base name -> every name it goes by, itself included.

    Hidden drawings, which their authors withdrew, and names without a word ("2") are left out. The plainest style
    shows a base name: the drawing of just that name, else the first.

    Args:
        collection: the package's `icons.json`.
        styles: the suffixes its `metadata.json` lists.
    """
    aliases = {alias: entry["parent"] for alias, entry in collection.get("aliases", {}).items()}
    bases = base_names([*collection["icons"], *aliases], styles)
    drawings, names = {}, defaultdict(set)
    for name, icon in collection["icons"].items():
        base = bases[name]
        if not icon.get("hidden") and re.search(r"[a-z]{2}", base):
            drawings[base] = name if name == base else drawings.get(base, name)
            names[base].add(base)
    for alias, parent in aliases.items():
        if bases.get(parent) in drawings:
            names[bases[parent]].add(bases[alias])
    return drawings, names


def _render_family(
    family: str,
    collection: dict[str, Any],
    drawings: Iterable[tuple[str, str]],
    own_names: Mapping[str, set[str]],
    image_size: int,
    report: dict[str, Any],
) -> list[tuple[dict[str, Any], set[str]]]:
    """A row and all its names for each picture; what is drawn again under another name only adds its names.

    So a picture of a withheld concept is withheld under every name it has.
    """
    drawn: dict[bytes, tuple[dict[str, Any], set[str]]] = {}
    for base, name in drawings:
        try:
            image = render_svg(iconify_svg(collection, name), image_size)
        except (KeyError, ValueError) as error:
            report["unreadable"].append({"family": family, "icon": name, "cause": str(error)[:200]})
            continue
        if all(low == 255 for low, _ in image.getextrema()):
            report["blank"].append({"family": family, "icon": name})
            continue
        cell = png_cell(image)
        if cell["bytes"] in drawn:
            row, names = drawn[cell["bytes"]]
            report["repeated"].append({"family": family, "icon": name, "drawn_as": row["name"]})
        else:
            row = {"image": cell, "caption": re.sub(r"[-_]+", " ", base), "name": name, "family": family}
            names = set()
            drawn[cell["bytes"]] = row, names
        names |= own_names[base]
    return list(drawn.values())


def _features() -> "datasets.Features":
    from datasets import Features, Image, Value

    text = Value("string")
    return Features(
        {
            "image": Image(),
            "caption": text,
            "name": text,
            "family": text,
            "license": text,
            "names_withheld": Value("bool"),
        }
    )
