# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The flags: fine-grained entities in six styles, withheld from pretraining, to be recognized by retrieval.

`load_flags` gives one row a drawing. A memory holds some families with `captions`, queries come from another family.
"""

import hashlib
import logging
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .dataset_cache import build_once, corpus_folder, png_cell, read_report, write_report
from .emoji_packages import EMOJIBASE
from .emoji_protocol import in_selection_half
from .flag_drawings import DRAWN_AS, FLAG_FAMILIES, MISDRAWN, flag_drawings
from .flag_names import CAPTION_TEMPLATES, CODE_TEMPLATES, FlagName, flag_names
from .npm_packages import default_cache_dir, fetch_packages, read_json
from .svg_rendering import iconify_svg, render_svg

if TYPE_CHECKING:
    import datasets

logger = logging.getLogger(__name__)

# Raised whenever the same packages would give another dataset, so that old ones in a cache are not taken for it.
BUILD_VERSION = 1
# Drawings are compared at one size, so that groups and halves do not depend on the size asked for.
COMPARED_SIZE = 64


def load_flags(cache_dir: str | os.PathLike | None = None, image_size: int = 64) -> "datasets.Dataset":
    """The ISO flags of six families of drawings, fetched and rendered on the first call and read from disk later.

    Columns: image (RGB, whole and centered on a white square), code (ISO 3166, lower case), label ("flag: Germany"),
    name ("Germany"), captions (other wordings, none holding the label or the word flag), family, same_flag_codes (the
    codes that some family draws as one flag, this one among them; a territory flies its country's), ambiguous (this
    very picture stands for several codes in its family), half ("selection" for choices, "test" for reported figures;
    codes of one flag share a half). Order: families as in `FLAG_FAMILIES`, codes in Unicode's order.

    Args:
        cache_dir: where packages and datasets are kept; $HF_CLOOB_CACHE or ~/.cache/hf_cloob without it.
        image_size: side of the square pictures, in pixels.

    Raises:
        ValueError: `image_size` is below 8, or a package differs from its recorded sha512.
        RuntimeError: npm is missing or could not fetch a package.
    """
    import datasets

    cache_dir = Path(cache_dir) if cache_dir is not None else default_cache_dir()
    folder = corpus_folder(cache_dir, "flags", image_size, _ingredients())
    build_once(folder, lambda aside: _build(cache_dir, image_size, aside))
    read_report(folder, "flag")
    return datasets.load_from_disk(str(folder / "flags"))


def same_flag_groups(drawings: Iterable[tuple[str, str, bytes]]) -> dict[str, tuple[str, ...]]:
    """Code -> all codes, itself included and sorted, that are drawn as one flag.

    Two codes are one flag if a family's drawings of them are equal, or if both are one flag with a third.

    Args:
        drawings: (family, code, picture) of every drawing; families differ in style, so only their own are compared.
    """
    groups: dict[str, set[str]] = {}
    owners: dict[tuple[str, bytes], str] = {}
    for family, code, picture in drawings:
        group = groups.setdefault(code, {code})
        other = groups[owners.setdefault((family, picture), code)]
        if other is not group:
            other |= group
            groups.update(dict.fromkeys(group, other))
    return {code: tuple(sorted(group)) for code, group in groups.items()}


def _ingredients() -> list[Any]:
    packages = [asdict(package) for package in (EMOJIBASE, *FLAG_FAMILIES.values())]
    exceptions = [[*key, name] for key, name in DRAWN_AS.items()], MISDRAWN
    return [BUILD_VERSION, COMPARED_SIZE, CAPTION_TEMPLATES, CODE_TEMPLATES, exceptions, packages]


def _build(cache_dir: Path, image_size: int, folder: Path) -> None:
    import datasets

    paths = fetch_packages([EMOJIBASE, *FLAG_FAMILIES.values()], cache_dir)
    base = paths[EMOJIBASE.name]
    flags = flag_names(
        read_json(base, "en/data.json"),
        read_json(base, "meta/groups.json"),
        read_json(base, "en/shortcodes/emojibase.json"),
    )
    report: dict[str, Any] = {"unreadable": [], "misdrawn": MISDRAWN, "missing": {}}
    rendered = []
    for family, package in FLAG_FAMILIES.items():
        collection, chars = read_json(paths[package.name], "icons.json"), read_json(paths[package.name], "chars.json")
        names = flag_drawings(family, flags, collection, chars)
        drawn = _render_family(family, collection, names, image_size, report)
        report["missing"][family] = [flag.code for flag in flags if flag.code not in drawn]
        rendered += [(family, flag, *drawn[flag.code]) for flag in flags if flag.code in drawn]
    rows = _rows(rendered)
    report["sizes"] = Counter(row["family"] for row in rows)
    report["ambiguous"] = Counter(row["family"] for row in rows if row["ambiguous"])
    datasets.Dataset.from_list(rows, features=_features()).save_to_disk(str(folder / "flags"))
    write_report(folder, report)
    logger.info("Built the flags: %s", report["sizes"])


def _render_family(
    family: str, collection: dict[str, Any], names: dict[str, str], image_size: int, report: dict[str, Any]
) -> dict[str, tuple[dict[str, Any], bytes]]:
    """Code -> the picture as a cell of the dataset, and what it is compared by."""
    drawn = {}
    for code, name in names.items():
        try:
            svg = iconify_svg(collection, name)
            compared = hashlib.sha256(render_svg(svg, COMPARED_SIZE).tobytes()).digest()
            drawn[code] = png_cell(render_svg(svg, image_size)), compared
        except (KeyError, ValueError) as error:
            report["unreadable"].append({"family": family, "icon": name, "cause": str(error)[:200]})
    return drawn


def _rows(rendered: list[tuple[str, FlagName, dict[str, Any], bytes]]) -> list[dict[str, Any]]:
    groups = same_flag_groups((family, flag.code, compared) for family, flag, _, compared in rendered)
    times_drawn = Counter((family, compared) for family, _, _, compared in rendered)
    return [
        {
            "image": image,
            "code": flag.code,
            "label": flag.label,
            "name": flag.name,
            "captions": flag.captions,
            "family": family,
            "same_flag_codes": groups[flag.code],
            "ambiguous": times_drawn[family, compared] > 1,
            # By the group's first code: what is one picture must not be both tuned and reported on.
            "half": "selection" if in_selection_half(groups[flag.code][0]) else "test",
        }
        for family, flag, image, compared in rendered
    ]


def _features() -> "datasets.Features":
    from datasets import Features, Image, List, Value

    text = Value("string")
    return Features(
        {
            "image": Image(),
            "code": text,
            "label": text,
            "name": text,
            "captions": List(text),
            "family": text,
            "same_flag_codes": List(text),
            "ambiguous": Value("bool"),
            "half": text,
        }
    )
