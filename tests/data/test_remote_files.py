# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Files behind URLs, from a server on this machine."""

import functools
import http.server
import multiprocessing
import threading

import pytest

from hf_cloob.data.remote_files import open_remote


@pytest.fixture
def url(tmp_path):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    (tmp_path / "file.txt").write_bytes(b"content")
    handler = functools.partial(Quiet, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("localhost", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://localhost:{running.server_address[1]}/file.txt"
        running.shutdown()
        thread.join()


def content(url: str) -> bytes:
    with open_remote(url) as file:
        return file.read()


def put_content(url: str, queue) -> None:
    queue.put(content(url))


# Python 3.12 warns of a fork beside a thread, which is what a DataLoader does too.
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_process_reads_after_its_parent_has_read(url):
    assert content(url) == b"content"
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=put_content, args=(url, queue), daemon=True)
    child.start()
    try:
        assert queue.get(timeout=60) == b"content"
    finally:
        child.kill()
        child.join()


def test_a_missing_file_is_an_error(url):
    with pytest.raises(FileNotFoundError):
        content(f"{url}.gone")
