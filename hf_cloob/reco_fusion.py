# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""RecoFusion: one transformer layer that refines an embedding with the neighbors it looked up."""

import math

import torch
from torch import nn
from torch.nn import functional as F

from .configuration_reco import NO_NULL_ENTRY


class ZeroInitLinear(nn.Linear):
    """A linear layer that starts at zero."""

    def reset_parameters(self) -> None:
        """Set weight and bias to zero."""
        nn.init.zeros_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)


class RecoFusion(nn.Module):
    """A Hopfield readout and one pre-norm transformer encoder layer over [query; neighbors], read out at the query.

        g = x + a sum_m w_m (y_m + U y_m),   w_m = exp(b s_m) / (exp(b s_0) + sum_j exp(b s_j))
        h = g + W_o Attention(LN(x); LN([x; y_1 ... y_k]))
        phi(x, {y_m}) = l2norm( h + W_2 gelu(W_1 LN'(h)) )

    The scores s_m are the similarities by which the neighbors were found, which their values alone do not tell. Three
    learned numbers, a, b and s_0, and the matrix U make the readout: with U = W_o = W_2 = 0, as at first, the layer is
    the training-free readout of a modern Hopfield network; with a = 0 too, the default, phi(x, .) = x. U sees nothing
    but what was found, so it cannot learn the training pairs by heart as the rest of the layer can.

    The null entry, whose value is zero and whose score is s_0 for every query, is a threshold: where all neighbors lie
    below it, nothing was found and the readout leaves the query as it is. The default, far below every cosine,
    switches it off. The neighbors' order does not matter. Only the query's output is read, so only its attention is
    computed.

    Args:
        embed_dim: projection_dim of the base.
        num_heads: attention heads, a divisor of embed_dim.
        hidden_dim: width of the hidden layer.
        readout_weight: a at first.
        readout_scale: b at first, an inverse temperature.
        readout_null_score: s_0 at first, a cosine.

    Source: Iscen et al. 2024 (RECO, arXiv 2306.07196), section 3: a single transformer layer, one for each modality;
    readout: Ramsauer et al. 2021 (arXiv 2008.02217), equation 3. Ours, where RECO's paper does not say: the readout,
    its null entry and U, pre-norm, and output projections that start at zero.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        hidden_dim: int,
        readout_weight: float = 0.0,
        readout_scale: float = 20.0,
        readout_null_score: float = NO_NULL_ENTRY,
    ):
        super().__init__()
        self.num_heads = num_heads
        self.readout_init = readout_weight, math.log(readout_scale), readout_null_score
        # Of shape (1,): FSDP cannot shard parameters of no dimension.
        self.readout_weight = nn.Parameter(torch.empty(1))
        self.readout_log_scale = nn.Parameter(torch.empty(1))
        self.readout_null_score = nn.Parameter(torch.empty(1))
        self.reset_readout()
        self.readout_proj = ZeroInitLinear(embed_dim, embed_dim, bias=False)
        self.attention_norm = nn.LayerNorm(embed_dim)
        self.q_proj = nn.Linear(embed_dim, embed_dim)
        self.k_proj = nn.Linear(embed_dim, embed_dim)
        self.v_proj = nn.Linear(embed_dim, embed_dim)
        self.out_proj = ZeroInitLinear(embed_dim, embed_dim)
        self.mlp_norm = nn.LayerNorm(embed_dim)
        self.fc1 = nn.Linear(embed_dim, hidden_dim)
        self.fc2 = ZeroInitLinear(hidden_dim, embed_dim)

    def readout_parameters(self) -> tuple[nn.Parameter, nn.Parameter, nn.Parameter]:
        """a, log b and s_0."""
        return self.readout_weight, self.readout_log_scale, self.readout_null_score

    def reset_readout(self) -> None:
        """Set a, b and s_0 to what they were made with."""
        for parameter, value in zip(self.readout_parameters(), self.readout_init, strict=True):
            nn.init.constant_(parameter, value)

    def forward(
        self, embeds: torch.Tensor, neighbor_embeds: torch.Tensor, neighbor_scores: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Refine embeddings.

        Args:
            embeds: (batch_size, projection_dim) queries x, L2-normalized.
            neighbor_embeds: (batch_size, num_neighbors, projection_dim) values y_m of the other modality,
                L2-normalized. A row of zeros is a missing neighbor and takes no part; num_neighbors may be 0.
            neighbor_scores: (batch_size, num_neighbors) cosines s_m of the queries and the neighbors' keys; without
                them the readout weighs all neighbors alike, and its null entry takes no part.

        Returns:
            (batch_size, projection_dim), L2-normalized, in at least float32.

        Raises:
            ValueError: for shapes that do not fit.
        """
        if neighbor_embeds.dim() != 3 or (len(embeds), embeds.shape[-1]) != (
            len(neighbor_embeds),
            neighbor_embeds.shape[-1],
        ):
            raise ValueError(
                "Expected embeddings (batch_size, projection_dim) and their neighbors (batch_size, num_neighbors, "
                f"projection_dim), got {tuple(embeds.shape)} and {tuple(neighbor_embeds.shape)}."
            )
        if neighbor_scores is not None and neighbor_scores.shape != neighbor_embeds.shape[:2]:
            raise ValueError(
                f"Expected a score for each of the neighbors {tuple(neighbor_embeds.shape[:2])}, got "
                f"{tuple(neighbor_scores.shape)}."
            )
        weight = self.q_proj.weight
        tokens = torch.cat([embeds.unsqueeze(1), neighbor_embeds.to(embeds.dtype)], dim=1)
        own = torch.ones(len(embeds), 1, dtype=torch.bool, device=embeds.device)
        present = torch.cat([own, neighbor_embeds.any(dim=-1)], dim=1)
        normed = self.attention_norm(tokens.to(weight.dtype))
        attended = F.scaled_dot_product_attention(
            self._heads(self.q_proj(normed[:, :1])),
            self._heads(self.k_proj(normed)),
            self._heads(self.v_proj(normed)),
            attn_mask=present[:, None, None, :],
        )
        # The sums in at least float32: in half precision a small update of a unit vector would be lost.
        states = embeds.to(torch.promote_types(embeds.dtype, torch.float32))
        states = states + self._readout(neighbor_embeds.to(states.dtype), neighbor_scores, present[:, 1:])
        states = states + self.out_proj(attended.flatten(1))
        update = self.fc2(F.gelu(self.fc1(self.mlp_norm(states.to(weight.dtype)))))
        return F.normalize(states + update, dim=-1)

    def _readout(self, values: torch.Tensor, scores: torch.Tensor | None, present: torch.Tensor) -> torch.Tensor:
        """a sum_m w_m (y_m + U y_m) over the neighbors that are present, (batch_size, embed_dim)."""
        null_score = self.readout_null_score.to(values.dtype)
        if scores is None:
            # A threshold has nothing to compare; it stays in the graph, as DistributedDataParallel wants.
            scores, null_score = values.new_zeros(present.shape), 0 * null_score + NO_NULL_ENTRY
        # A missing neighbor's score may be -inf, whose product with a gradient of zero would not be a number.
        scores = torch.cat(
            [null_score.expand(len(values), 1), scores.to(values.dtype).masked_fill(~present, 0)], dim=1
        )
        logits = self.readout_log_scale.to(values.dtype).exp() * scores
        missing = F.pad(~present, (1, 0))
        weights = logits.masked_fill(missing, float("-inf")).softmax(dim=1)[:, 1:]
        mixed = torch.einsum("nk,nkd->nd", weights, values)
        mixed = mixed + self.readout_proj(mixed.to(self.readout_proj.weight.dtype))
        return self.readout_weight.to(values.dtype) * mixed

    def _heads(self, states: torch.Tensor) -> torch.Tensor:
        """(batch_size, num_tokens, embed_dim) -> (batch_size, num_heads, num_tokens, head_dim)."""
        return states.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
