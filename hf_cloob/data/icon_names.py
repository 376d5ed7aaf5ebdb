# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What icons are called: one base name for all styles of a drawing, and names that pretraining must not see."""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .flag_names import FlagName, squashed, unaccented

# How collections mark another style of an icon, where they do not list their own suffixes.
STYLE_SUFFIXES = ("outline", "outlined", "filled", "fill", "solid", "stroked", "variant", "alt", "small")
COUNTING_WORDS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
# The captions of the flags say banner and ensign.
FLAG_WORDS = ("flag", "banner", "ensign", "pennant")


@dataclass(frozen=True)
class WithheldNames:
    """Names in one spelling (lemmas without spaces): `anywhere` in an icon's name, or `whole`, the name itself."""

    anywhere: frozenset[str]
    whole: frozenset[str]


def base_names(names: Iterable[str], suffixes: Collection[str] = ()) -> dict[str, str]:
    """Name -> base name: styles, sizes and numbers of one drawing share it ("home-outline", "home-2" -> "home").

    A suffix is taken for a style only if the rest is a name too, so that "traffic-light" stays; numbers always go,
    counting words ("home-two") like styles.

    Args:
        names: every name of one collection, aliases too.
        suffixes: the styles that the collection lists (`metadata.json`); STYLE_SUFFIXES without them. Where "" is not
            among them, each icon carries one, which goes without a further look.
    """
    # The longest first: "bold-duotone" is one style.
    styles = sorted(filter(None, suffixes), key=len, reverse=True) or [*STYLE_SUFFIXES]
    if suffixes and "" not in suffixes:
        style = re.compile(rf"-(?:{'|'.join(styles)})$")
        bare = {name: style.sub("", name) for name in names}
        styles = []
    else:
        bare = {name: name for name in names}
    known = {re.sub(r"(?:-\d+)+$", "", name) for name in bare.values()} | set(bare.values())
    ending = re.compile(rf"-(?:{'|'.join([*styles, *COUNTING_WORDS])}|\d+)$")
    return {name: _shortest_known(rest, ending, known) for name, rest in bare.items()}


def _shortest_known(name: str, ending: re.Pattern[str], known: Collection[str]) -> str:
    """The shortest of the known names that taking off endings one after the other gives."""
    shortest = name
    while (shorter := ending.sub("", name)) != name:
        name = shorter
        if name in known:
            shortest = name
    return shortest


def lemmas(text: str) -> list[str]:
    """The words of a name in lower case, plurals in s and es made singular ("leaves" and "mice" stay).

    The rules: -ies gives -y; -es goes after ss, x, z, ch and sh, and after o in words longer than "shoes"; another
    -s goes unless after s, u or i.
    """
    return [_singular(word) for word in re.findall(r"[a-z0-9]+", unaccented(text))]


def _singular(word: str) -> str:
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if re.search(r"(?:ss|x|z|ch|sh|...o)es$", word):
        return word[:-2]
    if len(word) > 3 and word.endswith("s") and word[-2] not in "sui":
        return word[:-1]
    return word


def withheld_names(
    emojis: Collection[Mapping[str, Any]],
    names: Mapping[str, Mapping[str, str]],
    withheld_subgroups: Collection[str],
    flags: Collection[FlagName],
) -> WithheldNames:
    """What an icon may not be called in pretraining: withheld concepts and all their tags, flags, countries.

    Args:
        emojis, names: emojibase's `en/data.json` and `meta/groups.json`.
        withheld_subgroups: the subgroups of the withheld concepts.
        flags: the flags; a country is withheld as a whole name only, since jerseys and turkeys are no flags.
    """
    withheld = [emoji for emoji in emojis if names["subgroups"].get(str(emoji.get("subgroup"))) in withheld_subgroups]
    terms = [term for emoji in withheld for term in (emoji["label"], *emoji.get("tags", ()))]
    countries = {squashed(name) for flag in flags for name in (flag.name, *flag.aliases)}
    return WithheldNames(
        anywhere=frozenset("".join(lemmas(term)) for term in (*terms, *FLAG_WORDS)) - {""},
        whole=frozenset(countries),
    )


def is_withheld(name: str, withheld: WithheldNames) -> bool:
    """Whether a name holds a withheld one, as words side by side or written as one: "cell phone", "cellphones"."""
    words = lemmas(name)
    ends = range(1, len(words) + 1)
    runs = ("".join(words[start:end]) for end in ends for start in range(end))
    return squashed(name) in withheld.whole or any(run in withheld.anywhere for run in runs)
