# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Which losses a run with strong views has beside the contrastive one, and which of them go together."""

from dataclasses import dataclass

from .auxiliary_heads import PAPER_SIZES

# The weight of each auxiliary loss in the code released with SLIP and with Fini et al. 2023.
AUXILIARY_WEIGHTS = {"slip": 1.0, "barlip": 1.0, "siamlip": 1.0, "byolip": 1.0, "swalip": 0.2}
TWO_VIEWS = ("slip", "swalip")
SIAMESE = ("siamlip", "byolip")


@dataclass(frozen=True)
class AuxiliarySettings:
    """The losses beside the contrastive one.

    Args:
        num_strong_views: A, strongly augmented images and texts of each pair.
        strong_pairs: train a head of their own on all strong pairs (CLIP-rocket).
        auxiliary_loss: "none" or a key of `AUXILIARY_WEIGHTS`.
        auxiliary_weight: its weight; None is the paper's.
        strong_label_smoothing: of the strong pairs.
        strong_inverse_temperature: start of their learned inverse temperature, in [1, 100].
        strong_text_dropout: dropout on the input of each text layer, for strong texts only.
        strong_head_sizes: widths of the strong pairs' head, its output last.
        auxiliary_head_sizes: widths of the auxiliary loss's heads; None is the paper's. SwALIP uses the strong head.
        ema_momentum: of BYOLIP's copy.

    Raises:
        ValueError: for an illegal value or combination.
    """

    num_strong_views: int = 2
    strong_pairs: bool = False
    auxiliary_loss: str = "none"
    auxiliary_weight: float | None = None
    strong_label_smoothing: float = 0.1
    strong_inverse_temperature: float = 10.0
    strong_text_dropout: float = 0.0
    strong_head_sizes: tuple[int, ...] = PAPER_SIZES["strong"]
    auxiliary_head_sizes: tuple[int, ...] | None = None
    ema_momentum: float = 0.99

    def __post_init__(self):
        allowed = ("none", *AUXILIARY_WEIGHTS)
        if self.auxiliary_loss not in allowed:
            raise ValueError(f"auxiliary_loss must be one of {', '.join(allowed)}, got {self.auxiliary_loss!r}.")
        if not self.strong_pairs and self.auxiliary_loss == "none":
            raise ValueError("strong_pairs or an auxiliary_loss must use the strong views, got neither.")
        if self.num_strong_views < 1:
            raise ValueError(
                f"strong_pairs and auxiliary_loss need strong views, got num_strong_views={self.num_strong_views}."
            )
        if self.auxiliary_loss in TWO_VIEWS and self.num_strong_views != 2:
            raise ValueError(
                f"auxiliary_loss={self.auxiliary_loss!r} takes 2 strong views, got num_strong_views="
                f"{self.num_strong_views}."
            )
        if self.auxiliary_weight is not None and not 0 < self.auxiliary_weight < float("inf"):
            raise ValueError(f"auxiliary_weight must be a finite number above 0, got {self.auxiliary_weight}.")
        if not 0 <= self.strong_label_smoothing < 1:
            raise ValueError(f"strong_label_smoothing must be in [0, 1), got {self.strong_label_smoothing}.")
        if self.auxiliary_loss == "swalip" and self.strong_pairs and self.strong_label_smoothing:
            raise ValueError(
                f"auxiliary_loss='swalip' sharpens what smoothing flattens: with it strong_label_smoothing must be 0, "
                f"got {self.strong_label_smoothing}."
            )
        if not 1 <= self.strong_inverse_temperature <= 100:
            raise ValueError(f"strong_inverse_temperature must be in [1, 100], got {self.strong_inverse_temperature}.")
        if not 0 <= self.strong_text_dropout < 1:
            raise ValueError(f"strong_text_dropout must be in [0, 1), got {self.strong_text_dropout}.")
        if self.strong_text_dropout and not self.uses_strong_texts:
            raise ValueError(
                f"strong_text_dropout={self.strong_text_dropout} acts on strong texts, which auxiliary_loss="
                f"{self.auxiliary_loss!r} does not use: set it to 0, or use strong_pairs."
            )

    @property
    def uses_strong_head(self) -> bool:
        return self.strong_pairs or self.auxiliary_loss == "swalip"

    @property
    def uses_strong_texts(self) -> bool:
        return self.uses_strong_head or self.auxiliary_loss in ("barlip", *SIAMESE)

    @property
    def aligns_weak_states(self) -> bool:
        return self.auxiliary_loss in ("barlip", *SIAMESE)
