# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Which drawing of a package shows which flag: the pins and the exceptions, against the packages."""

import numpy as np
import pytest

from hf_cloob.data.flag_drawings import DRAWN_AS, FLAG_FAMILIES, MISDRAWN, flag_drawings
from hf_cloob.data.flag_names import FlagName
from hf_cloob.data.npm_packages import default_cache_dir, fetch_packages, read_json
from hf_cloob.data.svg_rendering import iconify_svg, render_svg


@pytest.fixture(scope="module")
def paths():
    return fetch_packages(FLAG_FAMILIES.values(), default_cache_dir())


@pytest.fixture(scope="module")
def drawing(paths):
    def pixels(family, name, image_size=16):
        collection = read_json(paths[FLAG_FAMILIES[family].name], "icons.json")
        return np.asarray(render_svg(iconify_svg(collection, name), image_size)).astype(int)

    return pixels


def names_of(paths, family, *codes):
    flags = [FlagName(code, "-".join(f"{ord(c) + 0x1F185:X}" for c in code), "", "", (), ()) for code in codes]
    tarball = paths[FLAG_FAMILIES[family].name]
    return flag_drawings(family, flags, read_json(tarball, "icons.json"), read_json(tarball, "chars.json"))


def test_every_package_states_the_recorded_version_and_license(paths):
    stated = [read_json(paths[pin.name], "package.json") for pin in FLAG_FAMILIES.values()]
    assert [(one["name"], one["version"], one["license"]) for one in stated] == [
        (pin.name, pin.version, pin.license) for pin in FLAG_FAMILIES.values()
    ]


def test_families_name_their_drawings_by_codepoint_code_or_code_and_ratio(paths):
    assert names_of(paths, "twemoji", "de") == {"de": "flag-germany"}
    assert names_of(paths, "cif", "de") == {"de": "de"}
    assert names_of(paths, "flag", "de") == {"de": "de-4x3"}


def test_an_alias_leads_to_the_drawing_it_stands_for(paths):
    assert names_of(paths, "flag", "ac", "ea") == {"ac": "sh-ac-4x3", "ea": "es-4x3"}


def test_a_code_that_a_family_does_not_draw_is_left_out(paths):
    assert names_of(paths, "cif", "de", "gf") == {"de": "de"}


def test_flagpacks_own_gb_is_englands_and_the_one_taken_is_not(paths, drawing):
    assert (drawing("flagpack", "gb") == drawing("flagpack", "gb-eng")).all()
    assert names_of(paths, "flagpack", "gb") == {"gb": DRAWN_AS["flagpack", "gb"]}
    assert (drawing("flagpack", DRAWN_AS["flagpack", "gb"]) != drawing("flagpack", "gb-eng")).any()


def test_flags_own_sh_is_the_united_kingdoms_and_the_one_taken_is_not(drawing):
    assert (drawing("flag", "sh-4x3") == drawing("flag", "gb-4x3")).all()
    assert (drawing("flag", DRAWN_AS["flag", "sh"]) != drawing("flag", "gb-4x3")).any()


def test_misdrawn_flags_are_left_out(paths):
    for family, codes in MISDRAWN.items():
        assert names_of(paths, family, *codes, "de") == names_of(paths, family, "de")


def test_misdrawn_flags_are_those_of_languages_of_a_neighbor_or_without_their_badge(drawing):
    for code in MISDRAWN["circle-flags"]:
        assert (drawing("circle-flags", code) == drawing("circle-flags", f"lang-{code}")).all()
    assert (drawing("cif", "gn") == drawing("cif", "gq")).all()
    # The Falklands kept a scrap of theirs, below on the right.
    badge = slice(4, 10), slice(10, 14)
    assert all((drawing("flagpack", code)[badge].std(axis=(0, 1)) < 1).all() for code in MISDRAWN["flagpack"])
    assert all(drawing("flag", f"{code}-4x3")[badge].std() > 10 for code in ("fk", "ms", "tc", "vg"))
