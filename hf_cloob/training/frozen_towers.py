# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Locked towers: no gradient, no dropout, and each distinct caption encoded once."""

import hashlib
import json
import os
import uuid
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def freeze(module: nn.Module) -> None:
    """Stop a tower's gradients."""
    for parameter in module.parameters():
        parameter.requires_grad_(False)


def train_unfrozen(model) -> None:
    """Training mode, but not for a frozen tower: neither its dropout nor its batch statistics may move.

    In a tower of which a part trains, as one with adapters, frozen BatchNorm layers keep their statistics too.
    """
    model.train()
    for tower in (model.text_model, model.vision_model):
        if is_frozen(tower):
            tower.eval()
        for layer in tower.modules():
            if isinstance(layer, _BatchNorm) and is_frozen(layer):
                layer.eval()


def is_frozen(module: nn.Module) -> bool:
    """Whether a module has parameters, and none of them trains."""
    trainable = [parameter.requires_grad for parameter in module.parameters()]
    return bool(trainable) and not any(trainable)


class PooledTextCache:
    """Pooled states of a frozen text tower, computed once per distinct caption.

    A frozen tower without dropout gives a caption the same vector in every epoch, so its cost is paid once; the
    projection behind it still trains. Source: locked tuning, Zhai et al. 2022 (LiT, arXiv 2111.07991), with the text
    tower locked instead of the vision tower.

    A caption is encoded together with a fixed block of others. The last bits of a matrix product depend on its other
    rows, and a run that resumes must find the vectors that the interrupted one had.

    Args:
        model: a [`CloobModel`] whose text tower is frozen.
        tokenizer: the tower's tokenizer.
        max_length: captions are cut to it.
        captions: every caption that training will draw.
        max_entries: captions kept; the others, and unknown ones, are encoded each time they come.
        block_size: captions encoded together, of similar length.
        cache_dir: folder in which the states stay for the next run, which then encodes no caption at all; every
            caption is encoded at once. None: each block when it is needed, for this run only.

    Raises:
        ValueError: if the text tower still has trainable parameters.
    """

    def __init__(
        self,
        model,
        tokenizer,
        max_length: int,
        captions: Iterable[str],
        max_entries: int = 1_000_000,
        block_size: int = 64,
        cache_dir: str | os.PathLike | None = None,
    ):
        trainable = [name for name, parameter in model.text_model.named_parameters() if parameter.requires_grad]
        if trainable:
            raise ValueError(
                f"The text tower trains {len(trainable)} parameters ({trainable[0]} ...): freeze it first."
            )
        self.model, self.tokenizer, self.max_length = model, tokenizer, max_length
        ordered = sorted(list(dict.fromkeys(captions))[:max_entries], key=lambda caption: (len(caption), caption))
        self._blocks = [ordered[start : start + block_size] for start in range(0, len(ordered), block_size)]
        self._block_of = {caption: number for number, block in enumerate(self._blocks) for caption in block}
        self._rows: dict[str, torch.Tensor] = {} if cache_dir is None or not ordered else self._kept(Path(cache_dir))

    def __call__(self, texts: list[str]) -> torch.Tensor:
        """Pooled, not projected states (batch_size, width of the text tower) of a batch of captions."""
        if not texts:
            # A process whose whole batch could not be read has none, and the others' shape.
            return self([""])[:0]
        new = [text for text in dict.fromkeys(texts) if text not in self._rows]
        for number in sorted({self._block_of[text] for text in new if text in self._block_of}):
            self._rows |= self._encode(self._blocks[number])
        others = self._encode([text for text in new if text not in self._block_of])
        return torch.stack([others[text] if text in others else self._rows[text] for text in texts])

    @torch.no_grad()
    def _encode(self, texts: list[str]) -> dict[str, torch.Tensor]:
        if not texts:
            return {}
        tower = self.model.text_model
        was_training = tower.training
        tower.eval()
        inputs = self.tokenizer(
            texts, padding=True, truncation=True, max_length=self.max_length, return_tensors="pt"
        ).to(self.model.device)
        # Alone in float32: what is computed once must not depend on the autocast of the step that needed it.
        with torch.autocast(self.model.device.type, enabled=False):
            pooled = self.model.pooled_text_states(**inputs).pooler_output
        tower.train(was_training)
        return dict(zip(texts, pooled, strict=True))

    def _kept(self, cache_dir: Path) -> dict[str, torch.Tensor]:
        """The states of all captions, from disk or for it."""
        from safetensors.torch import load_file, save_file

        path = cache_dir / f"{self._fingerprint()}.safetensors"
        if not path.is_file():
            rows: dict[str, torch.Tensor] = {}
            for block in self._blocks:
                rows |= self._encode(block)
            # Written aside and renamed: an interrupted run leaves nothing behind that looks finished.
            cache_dir.mkdir(parents=True, exist_ok=True)
            aside = cache_dir / f".writing-{uuid.uuid4().hex}"
            save_file({"states": torch.stack(list(rows.values())).cpu()}, aside)
            os.replace(aside, path)
        states = load_file(path)["states"].to(self.model.device)
        return dict(zip(self._block_of, states, strict=True))

    def _fingerprint(self) -> str:
        """A name for everything that the states follow from: weights, tokenizer, captions and their blocks."""
        tower, config = self.model.text_model, self.model.config
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        words = json.loads(backend.to_str()) if backend is not None else self.tokenizer.get_vocab()
        # Padding and truncation are those of the last call.
        words = {name: value for name, value in words.items() if name not in ("padding", "truncation")}
        settings = [type(tower).__name__, config.text_config.to_dict(), config.text_pooling, words, self.max_length]
        digest = hashlib.sha256(json.dumps([settings, self._blocks], sort_keys=True, default=str).encode())
        for name, tensor in tower.state_dict().items():
            digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
        return digest.hexdigest()[:32]
