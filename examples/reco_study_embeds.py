# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The embeddings of reco_study.py: flags, emoji, icons and all their wordings, computed once for each base."""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from hf_cloob.encoding import encode_images, encode_texts

IMAGES_AT_ONCE = 4096
EMOJI_SPLITS = ("train", "selection", "test_seen", "test_unseen")
# Which icons are in a smaller pool is no matter of the seed.
POOL_SEED = 2026


@dataclass
class Drawings:
    """Pictures of one corpus.

    Args:
        image_embeds: (n, projection_dim), L2-normalized.
        columns: the dataset's other columns, lists of n values.
    """

    image_embeds: torch.Tensor
    columns: dict[str, list]

    def __len__(self) -> int:
        return len(self.image_embeds)


@dataclass
class StudyEmbeds:
    """Everything that the study embeds with one base.

    Args:
        flags: [`Drawings`] of `load_flags`.
        emoji: split -> [`Drawings`] of `load_emoji`.
        icons: [`Drawings`] of `load_icons`, without those that name something withheld.
        text_embeds: (num_texts, projection_dim), L2-normalized.
        text_rows: text -> its row.
        fingerprint: of the encoder.
    """

    flags: Drawings
    emoji: dict[str, Drawings]
    icons: Drawings
    text_embeds: torch.Tensor
    text_rows: dict[str, int]
    fingerprint: str

    def texts(self, texts: list[str]) -> torch.Tensor:
        """Embeddings of some texts, (len(texts), projection_dim)."""
        return self.text_embeds[[self.text_rows[text] for text in texts]]


def embed_study(model, processor, folder: Path, icon_pool: int | None, batch_size: int) -> StudyEmbeds:
    """Embed all pictures and wordings with a dual encoder, or read what an earlier run has kept in the folder.

    Args:
        model: the base, in evaluation mode.
        processor: its processor.
        folder: where the embeddings are kept, one file for each base and pool.
        icon_pool: use only so many icons; all without it.
        batch_size: pictures or texts in one pass.
    """
    from hf_cloob.data.emoji import load_emoji
    from hf_cloob.data.flags import load_flags
    from hf_cloob.data.icons import load_icons
    from hf_cloob.reco_fingerprint import encoder_fingerprint

    icons = load_icons()
    usable = torch.tensor([row for row, withheld in enumerate(icons["names_withheld"]) if not withheld])
    order = torch.randperm(len(usable), generator=torch.Generator().manual_seed(POOL_SEED))[:icon_pool]
    datasets = {"flags": load_flags(), "icons": icons.select(usable[order].sort().values.tolist())}
    datasets |= {split: load_emoji()[split] for split in EMOJI_SPLITS}
    columns = {
        name: {column: list(rows[column]) for column in rows.column_names if column != "image"}
        for name, rows in datasets.items()
    }
    texts, fingerprint = all_texts(columns), encoder_fingerprint(model)
    contents = json.dumps([fingerprint, texts, {name: len(rows) for name, rows in datasets.items()}])
    path = folder / f"{hashlib.sha256(contents.encode()).hexdigest()[:16]}.safetensors"
    if not path.exists():
        tensors = {name: _embed_pictures(model, processor, rows, batch_size, name) for name, rows in datasets.items()}
        # Some emoji have names too long for a small context.
        tensors["texts"] = encode_texts(model, texts, processor, batch_size, truncation=True, show_progress=True)
        folder.mkdir(parents=True, exist_ok=True)
        save_file(tensors, path.with_suffix(".unfinished"))
        os.replace(path.with_suffix(".unfinished"), path)
    tensors = load_file(path)
    drawings = {name: Drawings(tensors[name], columns[name]) for name in datasets}
    return StudyEmbeds(
        flags=drawings["flags"],
        emoji={split: drawings[split] for split in EMOJI_SPLITS},
        icons=drawings["icons"],
        text_embeds=tensors["texts"],
        text_rows={text: row for row, text in enumerate(texts)},
        fingerprint=fingerprint,
    )


def emoji_wordings(captions: list[str]) -> list[str]:
    """Captions of an emoji in a memory, each with another of its names; none is the label that is asked for."""
    return [f"a drawing of {captions[0]}, {name}" for name in captions[1:] or captions]


def all_texts(columns: dict[str, dict[str, list]]) -> list[str]:
    """Every prompt and every wording, sorted."""
    flags = columns["flags"]
    texts = {*flags["label"], *columns["icons"]["caption"], *(text for row in flags["captions"] for text in row)}
    for split in EMOJI_SPLITS:
        for captions in columns[split]["captions"]:
            texts |= {captions[0], *emoji_wordings(captions)}
    return sorted(texts)


def _embed_pictures(model, processor, rows, batch_size: int, name: str) -> torch.Tensor:
    """(len(rows), projection_dim); decoded a part at a time, because all pictures together would be gigabytes."""
    print(f"embedding {len(rows)} pictures: {name}", flush=True)
    parts = [
        encode_images(model, list(rows[start : start + IMAGES_AT_ONCE]["image"]), processor, batch_size)
        for start in range(0, len(rows), IMAGES_AT_ONCE)
    ]
    return torch.cat(parts)
