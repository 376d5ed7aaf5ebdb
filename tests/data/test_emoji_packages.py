# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The pinned packages of the emoji are what the pins say."""

from hf_cloob.data.emoji_packages import EMOJI_FAMILIES, EMOJIBASE
from hf_cloob.data.npm_packages import default_cache_dir, read_json


def test_every_package_states_the_recorded_version_and_license(emoji):
    pins = [EMOJIBASE, *EMOJI_FAMILIES.values()]
    stated = [read_json(default_cache_dir() / "npm" / pin.tarball_name, "package.json") for pin in pins]
    assert [(one["name"], one["version"], one["license"]) for one in stated] == [
        (pin.name, pin.version, pin.license) for pin in pins
    ]
