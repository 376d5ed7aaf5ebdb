# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""RecoMemory: pairs of image and text embeddings that a model looks things up in; exact search, edits, files."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from transformers.utils import cached_file

from .reco_building import embed_pairs
from .reco_captions import ENTRIES_FILE, StoredCaptions, describe_file, write_entries
from .reco_index import RecoIndex, check_index, indexed_search
from .reco_memory_checks import (
    NO_ENTRY,
    check_same_encoder,
    checked_captions,
    checked_embeds,
    checked_exclusions,
    checked_ids,
)
from .reco_memory_file import MEMORY_FILE, open_memory_file, write_memory_file
from .reco_rows import MemoryRows, RowBlock
from .reco_search import exact_search, gather_rows

# A file up to this size is looked through when it is opened; a larger one by its first search, which reads it anyway.
MAX_BYTES_CHECKED_ON_OPENING = 2**25


class RecoNeighbors(NamedTuple):
    """What queries found, best first.

    Args:
        embeds: (n, num_neighbors, projection_dim) VALUES, embeddings of the other modality; zeros where there was no
            further entry.
        ids: (n, num_neighbors) int64, -1 where there was no further entry.
        scores: (n, num_neighbors) cosines of query and KEY, -inf where there was no further entry.
    """

    embeds: torch.Tensor
    ids: torch.Tensor
    scores: torch.Tensor

    @property
    def mask(self) -> torch.Tensor:
        """(n, num_neighbors) bool, True for entries."""
        return self.ids != NO_ENTRY


class RecoMemory:
    """Image-text pairs as embeddings: search within a modality, values of the other.

    Embeddings are kept in float16; scores are computed in float32. The memory is no part of a model's `state_dict`:
    it is swapped, edited and saved on its own, and stays where it is (on the CPU, unless `to` moves it) when the model
    is moved.

    Args:
        image_embeds: (memory_size, projection_dim), L2-normalized, tensor or array.
        text_embeds: (memory_size, projection_dim), L2-normalized; row i belongs to image i.
        ids: (memory_size,) unique int64 numbers of at least 0; 0 ... memory_size - 1 by default.
        captions: memory_size strings (or None, where one is not known), which only explanations need.
        fingerprint: `encoder_fingerprint` of the model that made the embeddings; None if it is not known.

    Raises:
        ValueError: if the memory is empty, lengths or shapes differ, values are not finite or rows not normalized, or
            ids repeat.

    Source: Iscen et al. 2024 (RECO, arXiv 2306.07196), section 3.
    """

    def __init__(
        self,
        image_embeds: torch.Tensor,
        text_embeds: torch.Tensor,
        ids: Sequence[int] | torch.Tensor | None = None,
        captions: Sequence[str | None] | None = None,
        fingerprint: str | None = None,
    ):
        self._rows = MemoryRows(_checked_block(image_embeds, text_embeds, ids, captions))
        self.fingerprint = fingerprint
        # By the keys they hold, where the search is not exact.
        self._indexes: dict[str, RecoIndex] = {}
        # Grows with every edit: what was computed from the memory before is out of date.
        self.version = 0

    @classmethod
    def build(
        cls,
        model,
        processor,
        dataset,
        image_column: str = "image",
        caption_column: str = "caption",
        batch_size: int = 256,
        first_id: int = 0,
        show_progress: bool = True,
    ) -> "RecoMemory":
        """Embed a dataset's pairs with a model; an entry's id is its row number.

        Rows without a readable image or a caption are left out; how many, and why, is logged. Captions longer than
        the context are cut.

        Args:
            model: any dual encoder with `get_image_features` and `get_text_features`; of a [`RecoForZeroShot`], its
                base embeds.
            processor: its processor.
            dataset: a `datasets.Dataset`, a list of dicts, or an iterable of them.
            image_column: pictures, paths or URLs.
            caption_column: strings, or lists of strings, of which the first is taken.
            batch_size: pairs per forward pass.
            first_id: id of the first row, for a dataset that is a part of another.
            show_progress: show a progress bar.

        Raises:
            ValueError: for a missing column or a dataset without a single usable row.
        """
        pairs = embed_pairs(model, processor, dataset, image_column, caption_column, batch_size, show_progress)
        return cls(
            pairs.image_embeds, pairs.text_embeds, pairs.rows + first_id, pairs.captions, fingerprint=pairs.fingerprint
        )

    def __len__(self) -> int:
        return len(self._rows)

    def __repr__(self) -> str:
        return f"RecoMemory({len(self):,} entries of {self.projection_dim} dimensions, encoder {self.fingerprint})"

    @property
    def projection_dim(self) -> int:
        """Width of the embeddings."""
        return self._rows.blocks[0].image_embeds.shape[1]

    @property
    def device(self) -> torch.device:
        """Where the embeddings are and searches run."""
        return self._rows.ids.device

    @property
    def dtype(self) -> torch.dtype:
        """Number format of the embeddings."""
        return self._rows.blocks[0].image_embeds.dtype

    @property
    def ids(self) -> torch.Tensor:
        """(memory_size,) ids in the order of the entries."""
        return self._rows.remaining_ids()

    @property
    def image_embeds(self) -> torch.Tensor:
        """(memory_size, projection_dim); a copy, unless the memory is in one piece."""
        return _joined([block.image_embeds for block in self._rows.remaining()])

    @property
    def text_embeds(self) -> torch.Tensor:
        """(memory_size, projection_dim); a copy, unless the memory is in one piece."""
        return _joined([block.text_embeds for block in self._rows.remaining()])

    def to(self, device: str | torch.device) -> "RecoMemory":
        """Move the embeddings, and with them the search; a memory-mapped one is read into the device's memory."""
        self._rows.to(device)
        return self

    # -- looking up --

    def retrieve_for_images(
        self, image_embeds: torch.Tensor, k: int, exclude_ids: torch.Tensor | None = None, exact: bool = False
    ) -> RecoNeighbors:
        """Find the k entries whose IMAGES are nearest and return their TEXT embeddings.

        Args:
            image_embeds: (n, projection_dim) queries, L2-normalized.
            k: neighbors; where there are fewer entries, all are found and the rest is marked as missing.
            exclude_ids: (n,) or (n, e) ids that a query must not find; -1 stands for none.
            exact: search exactly, even where `set_index` has set an approximate index.

        Returns:
            [`RecoNeighbors`] on the device of the queries, values and scores in at least float32.

        Raises:
            ValueError: for another projection_dim, queries that are not finite, unknown ids, or a damaged memory.
        """
        return self._retrieve(image_embeds, "image_embeds", "text_embeds", k, exclude_ids, exact)

    def retrieve_for_texts(
        self, text_embeds: torch.Tensor, k: int, exclude_ids: torch.Tensor | None = None, exact: bool = False
    ) -> RecoNeighbors:
        """Find the k entries whose TEXTS are nearest and return their IMAGE embeddings; see `retrieve_for_images`."""
        return self._retrieve(text_embeds, "text_embeds", "image_embeds", k, exclude_ids, exact)

    def set_index(self, image_index: RecoIndex | None = None, text_index: RecoIndex | None = None) -> None:
        """Search the images, the texts or both through another library's index; without one, exactly.

        An index only proposes entries, and the memory scores them with its own keys: scores are what the exact search
        gives, but an approximate index may miss neighbors. Edits of the memory reach its indexes; their files, unlike
        the memory's, are theirs (see `hf_cloob.retrieval`).

        Args:
            image_index: over the `image_embeds` and `ids` of this memory.
            text_index: over its `text_embeds` and `ids`.

        Raises:
            ValueError: for an index of another width, of other ids or of other embeddings.
        """
        given = {"image_embeds": image_index, "text_embeds": text_index}
        indexes = {side: index for side, index in given.items() if index is not None}
        for side, index in indexes.items():
            check_index(index, self._rows, side)
        self._indexes = indexes
        self.version += 1

    def captions_of(self, ids: torch.Tensor | Sequence[int]) -> list:
        """Captions of ids, in lists shaped as the ids are; None for -1 and where none is known.

        Raises:
            ValueError: for unknown ids, or a file of captions that belongs to another memory.
        """
        ids = torch.as_tensor(ids).to(self.device)
        if ids.dim() > 1:
            return [self.captions_of(row) for row in ids]
        captions: list[str | None] = [None] * len(ids)
        places = (ids != NO_ENTRY).nonzero().flatten()
        for place, row in zip(places.tolist(), self._rows.of(ids[places]).tolist(), strict=True):
            captions[place] = self._rows.caption(row)
        return captions

    # -- edits --

    def add(
        self,
        image_embeds: torch.Tensor,
        text_embeds: torch.Tensor,
        ids: Sequence[int] | torch.Tensor | None = None,
        captions: Sequence[str | None] | None = None,
    ) -> torch.Tensor:
        """Add entries, given as to the constructor, and return their ids; by default the numbers after the largest.

        Raises:
            ValueError: as the constructor, and for another projection_dim or ids that the memory has already.
        """
        if ids is None:
            first = int(self.ids.max()) + 1
            ids = torch.arange(first, first + len(image_embeds))
        block = _checked_block(image_embeds, text_embeds, ids, captions, self.projection_dim).to(self.device)
        self._append([block])
        return block.ids

    def remove(self, ids: Sequence[int] | torch.Tensor | int) -> None:
        """Remove entries; scores are again what they were before these were added, bit for bit.

        Raises:
            ValueError: for unknown ids, or if no entry would be left.
        """
        rows = self._rows.of(torch.as_tensor(ids, dtype=torch.int64).flatten().to(self.device)).unique()
        if len(rows) == len(self):
            raise ValueError(f"Removing all {len(self)} entries would leave an empty memory.")
        removed = self._rows.ids[rows].cpu()
        self._rows.remove(rows)
        self.version += 1
        for index in self._indexes.values():
            index.remove(removed)

    def merge(self, other: "RecoMemory") -> None:
        """Add all entries of another memory under their own ids; memory-mapped embeddings stay on disk.

        Raises:
            ValueError: if the other has another projection_dim or encoder, or ids that this one has too.
        """
        if other.projection_dim != self.projection_dim:
            raise ValueError(
                f"Memories of projection_dim {self.projection_dim} and {other.projection_dim} cannot be merged."
            )
        check_same_encoder(other.fingerprint, self.fingerprint, "the memory it is merged into")
        self._append([block.to(self.device) for block in other._rows.remaining()])
        self.fingerprint = self.fingerprint or other.fingerprint

    def _append(self, blocks: list[RowBlock]) -> None:
        # Should an index fail, it may hold entries that the memory has not, which is noticed when it proposes one; the
        # other way round they would be missing silently. Ids that are there already are refused by append below.
        if not self._rows.has(torch.cat([block.ids for block in blocks])).any():
            for side, index in self._indexes.items():
                for block in blocks:
                    index.add(getattr(block, side).cpu(), block.ids.cpu())
        self._rows.append(blocks)
        self.version += 1

    # -- files --

    def save_pretrained(self, save_directory: str | os.PathLike, fingerprint: str | None = None) -> None:
        """Write `memory.safetensors` (embeddings, ids) and `memory_entries.parquet` (ids, captions).

        Each file replaces an older one when it is complete, and a half-replaced pair is refused by `from_pretrained`.

        Args:
            save_directory: folder, made if it does not exist.
            fingerprint: of the encoder, where the memory does not know it.

        Raises:
            ImportError: if captions have to be written and pyarrow is not installed. A memory that was opened from a
                folder and not edited is saved without it.
        """
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        metadata = {"format": "pt", **self._save_entries(folder / ENTRIES_FILE)}
        if known := self.fingerprint or fingerprint:
            metadata["fingerprint"] = known
        blocks = self._rows.remaining()
        names = ("image_embeds", "text_embeds", "ids")
        write_memory_file(
            folder / MEMORY_FILE, {name: [getattr(block, name) for block in blocks] for name in names}, metadata
        )

    def _save_entries(self, path: Path) -> dict[str, str]:
        whole = len(self._rows.blocks) == 1 and not len(self._rows.removed)
        stored = self._rows.blocks[0].captions
        if not (whole and isinstance(stored, StoredCaptions)):
            return write_entries(path, self.ids, self._rows.captions())
        if not (path.exists() and path.samefile(stored.path)):
            shutil.copyfile(stored.path, path)
        return describe_file(path)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike, **kwargs) -> "RecoMemory":
        """Open a saved memory, memory-mapped: nothing but its ids is read before the first search.

        Args:
            pretrained_model_name_or_path: folder or Hub id.
            kwargs: the Hub's arguments (revision, cache_dir, token, subfolder, local_files_only, ...).

        Raises:
            ValueError: if a file is missing, truncated or damaged, or ids repeat. A file above 32 MB is looked
                through for NaN by the first search, not here.
        """
        path, entries_path = (
            cached_file(pretrained_model_name_or_path, name, _raise_exceptions_for_missing_entries=False, **kwargs)
            for name in (MEMORY_FILE, ENTRIES_FILE)
        )
        if path is None:
            raise ValueError(f"{str(pretrained_model_name_or_path)!r} holds no memory: {MEMORY_FILE} is missing.")
        tensors, metadata = open_memory_file(path)
        ids = checked_ids(tensors["ids"], len(tensors["ids"]), f" in {path}")
        if os.path.getsize(path) <= MAX_BYTES_CHECKED_ON_OPENING:
            checked_embeds(tensors["image_embeds"], tensors["text_embeds"], place=f" in {path}")
        captions = StoredCaptions(entries_path, metadata, len(ids))
        memory = cls.__new__(cls)
        memory._rows = MemoryRows(RowBlock(tensors["image_embeds"], tensors["text_embeds"], ids, captions))
        memory.fingerprint, memory.version, memory._indexes = metadata.get("fingerprint"), 0, {}
        return memory

    def _retrieve(
        self, queries: torch.Tensor, keys: str, values: str, k: int, exclude_ids, exact: bool
    ) -> RecoNeighbors:
        if queries.dim() != 2 or queries.shape[1] != self.projection_dim:
            raise ValueError(
                f"{keys} must have the shape (n, {self.projection_dim}) of this memory, got {tuple(queries.shape)}."
            )
        if k < 0:
            raise ValueError(f"k must be at least 0, got {k}.")
        searched = queries.detach().to(self.device)
        if not torch.isfinite(searched).all():
            raise ValueError(f"{keys} holds NaN or infinite values: nothing can be found for it.")
        excluded = checked_exclusions(exclude_ids, len(queries))
        if excluded is not None:
            excluded = excluded.to(self.device)
            # An unknown id would exclude nothing, and the answer would leak.
            self._rows.of(excluded[excluded != NO_ENTRY])
        surplus = 0 if excluded is None else excluded.shape[1]
        blocks = self._rows.blocks
        if keys in self._indexes and not exact and len(queries) and k:
            scores, rows = indexed_search(self._indexes[keys], self._rows, keys, searched, k + surplus)
        else:
            removed = self._rows.removed if len(self._rows.removed) else None
            scores, rows = exact_search(searched, [getattr(block, keys) for block in blocks], k + surplus, removed)
        ids = self._rows.ids[rows].masked_fill(rows < 0, NO_ENTRY)
        if excluded is not None:
            scores, rows, ids = _without(excluded, k, scores, rows, ids)
        embeds = gather_rows([getattr(block, values) for block in blocks], rows.clamp_min(0).flatten())
        embeds = (
            embeds.to(scores.dtype).view(*rows.shape, self.projection_dim).masked_fill((rows < 0).unsqueeze(-1), 0.0)
        )
        if not torch.isfinite(embeds).all():
            raise ValueError("The memory is damaged: a value that was found holds NaN or infinite values.")
        return RecoNeighbors(*(tensor.to(queries.device) for tensor in (embeds, ids, scores)))


def _checked_block(image_embeds, text_embeds, ids, captions, projection_dim: int | None = None) -> RowBlock:
    image_embeds, text_embeds = checked_embeds(image_embeds, text_embeds, projection_dim)
    ids = checked_ids(ids, len(image_embeds)).to(image_embeds.device)
    return RowBlock(image_embeds, text_embeds, ids, checked_captions(captions, len(image_embeds)))


def _joined(pieces: list[torch.Tensor]) -> torch.Tensor:
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces)


def _without(excluded, k: int, scores, rows, ids) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The best k of what was found that a query may have; the others keep their order."""
    forbidden = (ids.unsqueeze(2) == excluded.unsqueeze(1)).any(dim=2)
    # Missing entries have no score and stay last.
    order = forbidden.to(torch.uint8).argsort(dim=1, stable=True)[:, :k]
    forbidden = forbidden.gather(1, order)
    return (
        scores.gather(1, order).masked_fill(forbidden, float("-inf")),
        rows.gather(1, order).masked_fill(forbidden, -1),
        ids.gather(1, order).masked_fill(forbidden, NO_ENTRY),
    )


__all__ = ["RecoMemory", "RecoNeighbors"]
