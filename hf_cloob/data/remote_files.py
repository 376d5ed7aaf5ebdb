# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Files behind URLs, in the processes that were forked to read them as well."""

import functools
import os
from typing import IO

_IMPORTED_IN = os.getpid()


def open_remote(url: str) -> IO[bytes]:
    """Open what fsspec reads (http, https, hf and others), with the retries and the tokens of `datasets`.

    Raises:
        OSError: there is no such file, or the server gives up.
    """
    from datasets.utils.file_utils import xopen

    _forget_parents_loop(os.getpid())
    return xopen(url, "rb")


@functools.cache
def _forget_parents_loop(process: int) -> None:
    """Once in a forked process: its parent's event loop has no thread here, and older fsspec would wait for it."""
    if process != _IMPORTED_IN:
        import fsspec.asyn

        fsspec.asyn.reset_lock()
