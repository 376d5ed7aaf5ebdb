# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The pinned collections of icons are what the pins say."""

from hf_cloob.data.icon_packages import ICON_COLLECTIONS
from hf_cloob.data.npm_packages import default_cache_dir, fetch_packages, read_json


def test_every_package_states_the_recorded_version_and_license():
    paths = fetch_packages(ICON_COLLECTIONS.values(), default_cache_dir())
    stated = [read_json(paths[pin.name], "package.json") for pin in ICON_COLLECTIONS.values()]
    assert [(one["name"], one["version"], one["license"]) for one in stated] == [
        (pin.name, pin.version, pin.license) for pin in ICON_COLLECTIONS.values()
    ]
    assert len(ICON_COLLECTIONS) == 15
