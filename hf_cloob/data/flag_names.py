# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The names of the ISO flags, and wordings for a memory that never repeat the label a prompt is made of."""

import re
import string
import unicodedata
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from .emoji_concepts import plain_text

FLAG_SUBGROUP = "country-flag"
LABEL_PREFIX = "flag: "
# None says "flag", so that no caption is found by searching for the words of a prompt.
CAPTION_TEMPLATES = ("national banner of {}", "official colors of {}", "ensign flown by {}")
CODE_TEMPLATES = ("{}", "ISO code {}")

_REGIONAL_INDICATOR_A = 0x1F1E6


@dataclass(frozen=True)
class FlagName:
    """One flag: its ISO 3166 code in lower case, emojibase's label, the bare name, other names, other wordings."""

    code: str
    hexcode: str
    label: str
    name: str
    aliases: tuple[str, ...]
    captions: tuple[str, ...]


def flag_names(
    emojis: Collection[Mapping[str, Any]],
    names: Mapping[str, Mapping[str, str]],
    shortcodes: Mapping[str, str | list[str]],
) -> list[FlagName]:
    """The flags of emojibase's subgroup `country-flag`, in Unicode's order.

    Args:
        emojis: emojibase's `en/data.json`.
        names: emojibase's `meta/groups.json`.
        shortcodes: emojibase's `en/shortcodes/emojibase.json`, hexcode -> shortcodes: the source of other names.
    """
    flags = [emoji for emoji in emojis if names["subgroups"].get(str(emoji.get("subgroup"))) == FLAG_SUBGROUP]
    found = []
    for emoji in sorted(flags, key=lambda emoji: emoji["order"]):
        label = plain_text(emoji["label"])
        name = label.removeprefix(LABEL_PREFIX)
        code = "".join(chr(int(point, 16) - _REGIONAL_INDICATOR_A + ord("a")) for point in emoji["hexcode"].split("-"))
        aliases = _aliases(name, code, shortcodes.get(emoji["hexcode"], []))
        captions = [template.format(name) for template in CAPTION_TEMPLATES]
        captions += [CAPTION_TEMPLATES[0].format(alias) for alias in aliases]
        captions += [template.format(code.upper()) for template in CODE_TEMPLATES]
        found.append(FlagName(code, emoji["hexcode"], label, name, aliases, tuple(captions)))
    return found


def _aliases(name: str, code: str, shortcodes: str | list[str]) -> tuple[str, ...]:
    """Shortcodes that are another name: "swaziland", "usa", "turkey_tr"; not "flag_sz", nor the name respelled."""
    aliases = []
    for shortcode in [shortcodes] if isinstance(shortcodes, str) else shortcodes:
        words = shortcode.removesuffix(f"_{code}").replace("_", " ")
        if words != "flag" and squashed(words) != squashed(name):
            # Only abbreviations (UK, USA) are that short.
            aliases.append(words.upper() if len(words) <= 3 else string.capwords(words))
    return tuple(aliases)


def unaccented(text: str) -> str:
    """The text in ASCII and lower case, accents dropped."""
    return unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()


def squashed(text: str) -> str:
    """Only its letters and digits: "Côte d'Ivoire" and "cote_divoire" are one name."""
    return re.sub(r"[^a-z0-9]", "", unaccented(text))
