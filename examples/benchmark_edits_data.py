# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What benchmark_edits.py edits and asks: a memory of icons and emoji without a single flag, and the flags."""

import random
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from checkpoints import load_processor
from command_line import UserError, user_errors

if TYPE_CHECKING:
    import datasets
    import torch


def load_model(model_name_or_path: str, num_neighbors: int | None, readout: tuple[float, float]):
    """A RECO without its memory, its processor, and whether it was trained; of a base the training-free readout.

    Args:
        num_neighbors: entries that every query looks up; the checkpoint's own number, or 10, without it.
        readout: weight and inverse temperature of a base's readout.
    """
    from transformers import AutoConfig

    from hf_cloob import RecoForZeroShot

    with user_errors(f"checkpoint {model_name_or_path!r}:"):
        is_reco = AutoConfig.from_pretrained(model_name_or_path).model_type == "reco"
        if is_reco:
            model = RecoForZeroShot.from_pretrained(model_name_or_path, load_memory=False)
        else:
            weight, scale = readout
            model = RecoForZeroShot.from_base(
                model_name_or_path, readout_weight_init_value=weight, readout_scale_init_value=scale
            )
    if num_neighbors is not None:
        model.config.num_neighbors = num_neighbors
    return model.eval(), load_processor(model_name_or_path), is_reco


@dataclass
class EditData:
    """The memory before any edit, and the flags.

    Args:
        memory: [`RecoMemory`] of icons that name nothing withheld, then of emoji; an id is a row of `distractors`.
        distractors: their pictures, one dataset.
        num_icons: how many of them are icons.
        flags: `load_flags`.
        image_embeds: (num_flags, projection_dim) of their drawings.
        text_embeds: caption -> (projection_dim,), of all their captions.
        labels: "flag: Germany" ..., each once, in the order of the codes.
        label_embeds: (num_labels, projection_dim).
        seed: of the choice among a flag's captions.
    """

    memory: Any
    distractors: "datasets.Dataset"
    num_icons: int
    flags: "datasets.Dataset"
    image_embeds: "torch.Tensor"
    text_embeds: "dict[str, torch.Tensor]"
    labels: list[str]
    label_embeds: "torch.Tensor"
    seed: int

    @cached_property
    def rows(self) -> list[dict]:
        """The flags' columns without the pictures, one dict a drawing."""
        return self.flags.remove_columns("image").to_list()

    @cached_property
    def drawings(self) -> dict[tuple[str, str], int]:
        """(family, code) -> row."""
        return {(row["family"], row["code"]): number for number, row in enumerate(self.rows)}

    @cached_property
    def label_codes(self) -> list[str]:
        """The code of each label."""
        codes = {row["label"]: row["code"] for row in self.rows}
        return [codes[label] for label in self.labels]

    def is_right(self, label: int, row: int) -> bool:
        """Whether a label, by its number, names the flag of a drawing; codes of one flag count."""
        return self.label_codes[label] in self.rows[row]["same_flag_codes"]

    def candidates(self, family: str, added_family: str, half: str) -> list[tuple[int, int]]:
        """Rows (in family, in added_family) of a half's flags that both draw and that neither draws ambiguously."""
        pairs = [
            (row, self.drawings[added_family, code])
            for (own, code), row in self.drawings.items()
            if own == family and (added_family, code) in self.drawings and self.rows[row]["half"] == half
        ]
        return [pair for pair in pairs if not any(self.rows[row]["ambiguous"] for row in pair)]

    def caption(self, row: int) -> str:
        """One of a drawing's captions that name the flag: a text encoder was told of no two-letter code."""
        code = self.rows[row]["code"]
        named = [caption for caption in self.rows[row]["captions"] if code.upper() not in caption.split()]
        return random.Random(f"{self.seed} {code}").choice(named)


def load_data(args, model, processor) -> EditData:
    """Embed everything with the model's base, or read what an earlier run has kept."""
    import datasets
    import torch

    from hf_cloob import RecoMemory
    from hf_cloob.data.emoji import load_emoji
    from hf_cloob.data.flags import load_flags
    from hf_cloob.data.icons import load_icons
    from hf_cloob.data.npm_packages import default_cache_dir
    from hf_cloob.data.sources import normalize_pairs
    from hf_cloob.evaluation.cached_encoder import CachedEncoder
    from hf_cloob.evaluation.image_loading import DatasetImages
    from hf_cloob.reco_fingerprint import encoder_fingerprint

    cache_dir = Path(args.cache_dir) if args.cache_dir else default_cache_dir()
    icons, emoji, flags = (
        load_icons(cache_dir, collections=args.icon_collections or None),
        load_emoji(cache_dir)["train"],
        load_flags(cache_dir),
    )
    families = sorted(set(flags["family"]))
    if unknown := sorted({*args.query_families, args.added_family} - set(families)):
        raise UserError(f"query_families and added_family must be some of {', '.join(families)}, got {unknown}")
    encoder = CachedEncoder(model.base, cache_dir / "embeddings", batch_size=256, truncation=True, show_progress=True)
    usable = [row for row, withheld in enumerate(icons["names_withheld"]) if not withheld]
    # Of all icons, as benchmark_memory.py embeds them: one file for both.
    images = encoder.encode_images(DatasetImages(icons, "image"), processor)[usable]
    images = torch.cat([images, encoder.encode_images(DatasetImages(emoji, "image"), processor)])
    pairs = [normalize_pairs(icons.select(usable)), normalize_pairs(emoji, caption_column="captions")]
    distractors = datasets.concatenate_datasets(pairs)
    captions = [own[0] for own in distractors["captions"]]
    texts = encoder.encode_texts(captions, processor)
    fingerprint = encoder_fingerprint(model.base)
    wordings = sorted({caption for own in flags["captions"] for caption in own})
    codes = dict(sorted(zip(flags["code"], flags["label"], strict=True)))
    return EditData(
        memory=RecoMemory(images, texts, captions=captions, fingerprint=fingerprint),
        distractors=distractors,
        num_icons=len(usable),
        flags=flags,
        image_embeds=encoder.encode_images(DatasetImages(flags, "image"), processor),
        text_embeds=dict(zip(wordings, encoder.encode_texts(wordings, processor), strict=True)),
        labels=list(codes.values()),
        label_embeds=encoder.encode_texts(list(codes.values()), processor),
        seed=args.seed,
    )
