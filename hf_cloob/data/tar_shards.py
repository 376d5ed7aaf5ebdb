# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""WebDataset tar shards in img2dataset's layout, local or remote: KEY.jpg with KEY.txt, KEY.json.

Only an image, KEY.txt, KEY.json and the members that the caption columns name are read, as an image, as text and as
JSON; nothing is unpickled. Members are grouped by the library webdataset, and the tar file is read here: webdataset's
own reader takes a shard that is cut off within a header for a whole one.
"""

import json
import tarfile
from collections.abc import Iterator, Sequence
from typing import IO, Any

from .bad_samples import BadSample, usable_captions
from .remote_files import open_remote
from .shards import EncodedPair, HeldOutRows

IMAGE_MEMBERS = ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "jfif", "ppm", "pgm")
# img2dataset puts the caption into KEY.txt, and once more into the field `caption` of KEY.json.
DEFAULT_CAPTIONS = ("txt", "caption")
_RECORD = 10_240  # tar files are padded to this
_END = bytes(1024)


class TarShards(HeldOutRows):
    """Tar shards as a source of pairs.

    Args:
        urls: paths or URLs (http, https, or what fsspec opens) of tar files, maybe compressed.
        caption_columns: each is a member ("txt") or, where a sample has none of that name, a field of KEY.json. None
            takes KEY.txt, else the field `caption`; named columns are all captions of their image.
        allow_pipe_urls: also take "pipe:COMMAND", which runs a command of the shell.

    Raises:
        ValueError: no shard, or a pipe that is not allowed.
        ImportError: webdataset is not installed.
    """

    def __init__(
        self, urls: Sequence[str], caption_columns: Sequence[str] | None = None, allow_pipe_urls: bool = False
    ):
        super().__init__()
        if not urls:
            raise ValueError("No tar shard was given.")
        pipes = [url for url in urls if url.startswith("pipe:")]
        if pipes and not allow_pipe_urls:
            raise ValueError(
                f"{pipes[0]!r} would run a command of the shell; pass --allow_pipe_urls true if you trust its author"
            )
        import_webdataset()
        self.urls = list(urls)
        self.caption_columns = None if caption_columns is None else tuple(caption_columns)
        self.num_shards, self.name = len(urls), urls[0]
        self._wanted = {*IMAGE_MEMBERS, "json", *(self.caption_columns or DEFAULT_CAPTIONS)}

    def read_all(self, shard: int) -> Iterator[EncodedPair | BadSample]:
        """The samples of a shard in its order; a shard that cannot be read to its end is one bad sample, the last."""
        group_by_keys = import_webdataset().tariterators.group_by_keys
        url, damage, repeated = self.urls[shard], [], []

        def count_repeated(error: Exception) -> bool:
            repeated.append(BadSample("member twice", url))
            return True

        for members in group_by_keys(self._members(url, damage), handler=count_repeated):
            yield from repeated
            repeated.clear()
            try:
                yield self._pair(members, url)
            except BadSample as bad:
                # The last sample of a shard that is cut off: the cut is what is counted.
                if not (damage and bad.cause.startswith("missing")):
                    yield BadSample(bad.cause, f"{url}/{members['__key__']}")
        yield from (*repeated, *damage)

    def _members(self, url: str, damage: list[BadSample]) -> Iterator[dict[str, Any]]:
        """Names and contents of the members that matter; what ends the shard early goes to `damage`."""
        num_read = 0
        try:
            with _opened(url) as file:
                watched = _Watched(file)
                with tarfile.open(fileobj=watched, mode="r|*") as archive:
                    for member in archive:
                        archive.members = []  # else all headers of the shard stay in memory
                        num_read += 1
                        if not member.isreg() or not self._is_wanted(member.name):
                            continue
                        yield {"fname": member.name, "data": archive.extractfile(member).read(), "__url__": url}
                    watched.check_end(archive.offset, is_plain=url.split("?")[0].endswith(".tar"))
        except (tarfile.TarError, OSError, EOFError, ValueError) as error:
            cause = "shard cut off" if num_read and _says_cut_off(error) else "unreadable shard"
            damage.append(BadSample(cause, f"{url}: {error}"))
        except Exception as error:  # a remote file system has errors of its own, and zlib has
            damage.append(BadSample("unreadable shard", f"{url}: {type(error).__name__} {error}"))

    def _is_wanted(self, name: str) -> bool:
        stem, _, suffix = name.rpartition("/")[2].partition(".")
        # Names that begin so are metadata of the shard.
        is_metadata = stem.startswith("__") or name.startswith("__")
        return bool(stem) and not is_metadata and suffix.lower() in self._wanted

    def _pair(self, members: dict[str, Any], url: str) -> EncodedPair:
        image = next((members[suffix] for suffix in IMAGE_MEMBERS if suffix in members), None)
        if image is None:
            raise BadSample("missing image")
        return EncodedPair(image, usable_captions(self._captions(members)), f"{url}/{members['__key__']}")

    def _captions(self, members: dict[str, Any]) -> list[str | bytes | None]:
        if self.caption_columns is None:
            if "txt" in members:
                return [members["txt"]]
            return _of_field(members, "caption")
        captions = []
        for column in self.caption_columns:
            captions += [members[column]] if column in members else _of_field(members, column)
        return captions


def import_webdataset():
    """The library, or an error that names the extra."""
    try:
        import webdataset.shardlists
        import webdataset.tariterators
    except ImportError as error:
        raise ImportError("tar shards need the library webdataset: pip install 'hf_cloob[streaming]'") from error
    return webdataset


def _of_field(members: dict[str, Any], field: str) -> list[str | None]:
    if "json" not in members:
        return []
    try:
        fields = json.loads(members["json"])
    except ValueError:  # broken UTF-8 included
        raise BadSample("broken JSON") from None
    value = fields.get(field) if isinstance(fields, dict) else None
    texts = value if isinstance(value, list) else [] if value is None else [value]
    return [text if isinstance(text, str) else str(text) for text in texts]


def _opened(url: str) -> IO[bytes]:
    if url.startswith("pipe:"):
        return _Pipe(url.removeprefix("pipe:"))
    if "://" not in url:
        return open(url, "rb")
    return open_remote(url)


def _says_cut_off(error: Exception) -> bool:
    text = str(error).lower()
    return isinstance(error, EOFError) or any(word in text for word in ("end of data", "cut off", "truncated"))


class _Watched:
    """A file that is read forwards; knows what it held when it is at its end."""

    def __init__(self, file: IO[bytes]):
        self.file, self.size, self.tail = file, 0, b""

    def read(self, size: int) -> bytes:
        data = self.file.read(size)
        self.size += len(data)
        self.tail = (self.tail + data)[-len(_END) :] if len(data) < len(_END) else data[-len(_END) :]
        return data

    def check_end(self, offset: int, is_plain: bool) -> None:
        """Raise if the archive's last header, at `offset`, is not followed by what ends a tar file."""
        while self.read(1 << 16):
            pass
        if is_plain and self.tail != _END:
            raise tarfile.ReadError("the shard is cut off: a tar file ends with two empty blocks")
        # tarfile takes a header that it cannot read for the end.
        if is_plain and self.size - offset > 2 * _RECORD:
            raise tarfile.ReadError(f"no header that can be read at byte {offset} of {self.size}")


class _Pipe:
    """The output of a command; that it failed is only known at its end."""

    def __init__(self, command: str):
        import subprocess

        self.process = subprocess.Popen(command, shell=True, stdout=subprocess.PIPE)

    def read(self, size: int) -> bytes:
        data = self.process.stdout.read(size)
        if not data and self.process.wait():
            raise OSError(f"the command ended with status {self.process.returncode}")
        return data

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        self.process.stdout.close()
        self.process.wait()
