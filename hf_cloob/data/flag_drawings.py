# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The packages that draw flags, pinned, and which of their drawings shows which flag."""

from collections.abc import Collection, Mapping
from typing import Any

from .emoji_concepts import codepoint_key, icons_by_codepoint
from .emoji_packages import EMOJI_FAMILIES
from .flag_names import FlagName
from .npm_packages import NpmPackage

# Noto's Iconify package has no flags.
FLAG_FAMILIES: dict[str, NpmPackage] = {
    "twemoji": EMOJI_FAMILIES["twemoji"],
    "openmoji": EMOJI_FAMILIES["openmoji"],
    "circle-flags": NpmPackage(
        "@iconify-json/circle-flags",
        "1.2.11",
        "vrx2btOkTQ4/P75ElEDnjXShmNTwInXuhhpIQQ6U6YUTdxfWyvm/4ijNG8FX8iWFr+sqqQRCvXpm2RfRtjVXfg==",
        "MIT",
    ),
    "flag": NpmPackage(
        "@iconify-json/flag",
        "1.2.12",
        "B5zphOSTn54UX9v1sKsR1atuhyuXExiAkjuLQA8aeDcB68+P6oiStEDeEEVkbHgwvFvklPM2G7GhqFw6VMnXhw==",
        "MIT",
    ),
    "flagpack": NpmPackage(
        "@iconify-json/flagpack",
        "1.2.8",
        "fWiMOWi6pHf757xK4OfHrqOfUpnJ4oTwu4rlzt4twJyNO9V34ui0cMj7qrCP/yI0mS/k1zZ3In/lOZWyjgfMjw==",
        "MIT",
    ),
    "cif": NpmPackage(
        "@iconify-json/cif",
        "1.2.7",
        "MUDOUt7xWMsWw9QW312wlCxblqaR+sRfQRokO6ZH7Xp+53HgzHA7K+ejrite+ULpV/bBVe6XZIrxSShXEpdpNg==",
        "CC0-1.0",
    ),
}
# Where the code's own drawing is another flag and the right one goes by another name: flagpack's gb is England's,
# flag's sh the United Kingdom's, which Saint Helena's group shares, not the island's.
DRAWN_AS = {("flagpack", "gb"): "gb-ukm", ("flag", "sh"): "sh-hl-4x3"}
# Drawings that do not show their flag, found by looking at all families side by side: languages of the same code
# (Arabic, Interlingue, Ido, Latin) in circle-flags, British ensigns without their badge in flagpack, and Equatorial
# Guinea under Guinea's code in cif.
MISDRAWN = {
    "circle-flags": ("ar", "ie", "io", "la"),
    "flagpack": ("fk", "ms", "sh", "tc", "vg"),
    "cif": ("gn",),
}


def flag_drawings(
    family: str, flags: Collection[FlagName], collection: Mapping[str, Any], chars: Mapping[str, str]
) -> dict[str, str]:
    """Code -> the name of its drawing in the family's collection, for the flags that the family draws rightly.

    Args:
        collection, chars: the package's `icons.json` and its `chars.json` (codepoints -> name; empty if it has none).
    """
    by_codepoint = icons_by_codepoint(chars)
    drawings = {}
    for flag in flags:
        if family in EMOJI_FAMILIES:
            name = by_codepoint.get(codepoint_key(flag.hexcode), "")
        else:
            name = DRAWN_AS.get((family, flag.code), f"{flag.code}-4x3" if family == "flag" else flag.code)
        # Another name for a drawing; in these collections it never turns or mirrors it.
        name = collection.get("aliases", {}).get(name, {}).get("parent", name)
        if name in collection["icons"] and flag.code not in MISDRAWN.get(family, ()):
            drawings[flag.code] = name
    return drawings
