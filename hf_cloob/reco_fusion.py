# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""RecoFusion: one transformer layer that refines an embedding with the neighbors it looked up."""

import torch
from torch import nn
from torch.nn import functional as F


class ZeroInitLinear(nn.Linear):
    """A linear layer that starts at zero."""

    def reset_parameters(self) -> None:
        """Set weight and bias to zero."""
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)


class RecoFusion(nn.Module):
    """One pre-norm transformer encoder layer over [query; neighbors], read out at the query.

        h = x + W_o Attention(LN(x); LN([x; y_1 ... y_k]))
        phi(x, {y_m}) = l2norm( h + W_2 gelu(W_1 LN'(h)) )

    Nothing tells the neighbors' order, so it does not matter. W_o and W_2 start at zero: phi(x, .) = x at first. Only
    the query's output is read, so only its attention is computed.

    Args:
        embed_dim: projection_dim of the base.
        num_heads: attention heads, a divisor of embed_dim.
        hidden_dim: width of the hidden layer.

    Source: Iscen et al. 2024 (RECO, arXiv 2306.07196), section 3: a single transformer layer, one for each modality.
    Ours, where the paper does not say: pre-norm, and output projections that start at zero.
    """

    def __init__(self, embed_dim: int, num_heads: int, hidden_dim: int):
        super().__init__()
        self.num_heads = num_heads
        self.attention_norm = nn.LayerNorm(embed_dim)
        self.q_proj = nn.Linear(embed_dim, embed_dim)
        self.k_proj = nn.Linear(embed_dim, embed_dim)
        self.v_proj = nn.Linear(embed_dim, embed_dim)
        self.out_proj = ZeroInitLinear(embed_dim, embed_dim)
        self.mlp_norm = nn.LayerNorm(embed_dim)
        self.fc1 = nn.Linear(embed_dim, hidden_dim)
        self.fc2 = ZeroInitLinear(hidden_dim, embed_dim)

    def forward(self, embeds: torch.Tensor, neighbor_embeds: torch.Tensor) -> torch.Tensor:
        """Refine embeddings.

        Args:
            embeds: (batch_size, projection_dim) queries x, L2-normalized.
            neighbor_embeds: (batch_size, num_neighbors, projection_dim) values y_m of the other modality,
                L2-normalized. A row of zeros is a missing neighbor and takes no part; num_neighbors may be 0.

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
        states = states + self.out_proj(attended.flatten(1))
        update = self.fc2(F.gelu(self.fc1(self.mlp_norm(states.to(weight.dtype)))))
        return F.normalize(states + update, dim=-1)

    def _heads(self, states: torch.Tensor) -> torch.Tensor:
        """(batch_size, num_tokens, embed_dim) -> (batch_size, num_heads, num_tokens, head_dim)."""
        return states.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
