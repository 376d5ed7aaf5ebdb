# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The real emoji corpus, fetched and rendered once into the user's cache: later runs only read it."""

import pytest

from hf_cloob.data.emoji import load_emoji


@pytest.fixture(scope="session")
def emoji():
    return load_emoji()
