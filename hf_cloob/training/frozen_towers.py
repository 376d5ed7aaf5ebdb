# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Locked towers: no gradient, no dropout, and each distinct caption encoded once."""

import torch
from torch import nn


def freeze(module: nn.Module) -> None:
    """Stop a tower's gradients."""
    for parameter in module.parameters():
        parameter.requires_grad_(False)


class PooledTextCache:
    """Pooled states of a frozen text tower, computed once per distinct caption.

    A frozen tower without dropout gives a caption the same vector in every epoch, so its cost is paid once; the
    projection behind it still trains. Source: locked tuning, Zhai et al. 2022 (LiT, arXiv 2111.07991), with the text
    tower locked instead of the vision tower.

    Args:
        model: a [`CloobModel`] whose text tower is frozen.
        tokenizer: the tower's tokenizer.
        max_length: captions are cut to it.
        max_entries: captions kept; later ones are encoded each time they come.

    Raises:
        ValueError: if the text tower still has trainable parameters.
    """

    def __init__(self, model, tokenizer, max_length: int, max_entries: int = 1_000_000):
        trainable = [name for name, parameter in model.text_model.named_parameters() if parameter.requires_grad]
        if trainable:
            raise ValueError(
                f"The text tower trains {len(trainable)} parameters ({trainable[0]} ...): freeze it first."
            )
        self.model, self.tokenizer, self.max_length, self.max_entries = model, tokenizer, max_length, max_entries
        self._rows: dict[str, torch.Tensor] = {}

    def __call__(self, texts: list[str]) -> torch.Tensor:
        """Pooled, not projected states (batch_size, width of the text tower) of a batch of captions."""
        new = [text for text in dict.fromkeys(texts) if text not in self._rows]
        computed = dict(zip(new, self._encode(new), strict=True)) if new else {}
        rows = torch.stack([computed[text] if text in computed else self._rows[text] for text in texts])
        room = max(self.max_entries - len(self._rows), 0)
        self._rows.update((text, computed[text]) for text in new[:room])
        return rows

    @torch.no_grad()
    def _encode(self, texts: list[str]) -> torch.Tensor:
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
        return pooled
