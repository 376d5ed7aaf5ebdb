# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""RECO's formulas as slow float64 loops, independent of the package; see `reference`."""

import math

import torch
from reference import Rows, clip, dot, log_sum_exp
from torch import nn


def nearest(query: torch.Tensor, keys: Rows, k: int, excluded: tuple[int, ...] = ()) -> list[int]:
    """The k keys of largest inner product, best first, ties in the order of the keys."""
    allowed = [row for row in range(len(keys)) if row not in excluded]
    return sorted(allowed, key=lambda row: -dot(query, keys[row]).item())[:k]


def linear(layer: nn.Linear, vector: torch.Tensor) -> torch.Tensor:
    weight, bias = layer.weight.double(), layer.bias.double()
    return torch.stack([dot(row, vector) + offset for row, offset in zip(weight, bias, strict=True)])


def layer_norm(layer: nn.LayerNorm, vector: torch.Tensor) -> torch.Tensor:
    centered = vector - vector.mean()
    return layer.weight.double() * centered / torch.sqrt((centered**2).mean() + layer.eps) + layer.bias.double()


def readout(layer, neighbors: Rows, scores: list | None) -> torch.Tensor:
    """a (1 + U) sum_m exp(b s_m) y_m / (exp(b s_0) + sum_j exp(b s_j)); without scores, of the neighbors' mean."""
    scale, zero = layer.readout_log_scale.double().exp(), torch.zeros((), dtype=torch.float64)
    if scores is None:
        shares = [zero + 1 / len(neighbors)] * len(neighbors)
    else:
        logits = [scale * score for score in scores]
        total = log_sum_exp(
            [scale * layer.readout_null_score.double().reshape(()), *(logit.reshape(()) for logit in logits)]
        )
        shares = [torch.exp(logit - total) for logit in logits]
    mixed = sum(share * value for share, value in zip(shares, neighbors, strict=True))
    projected = torch.stack([dot(row, mixed) for row in layer.readout_proj.weight.double()])
    return layer.readout_weight.double() * (mixed + projected)


def fusion(layer, query: torch.Tensor, neighbors: Rows, scores: list | None = None) -> torch.Tensor:
    """l2norm(h + W_2 gelu(W_1 LN'(h))), h = g + W_o Attention(LN(x); LN([x; neighbors])), one head at a time.

    g is the query with the readout of its neighbors.
    """
    tokens = [layer_norm(layer.attention_norm, token) for token in (query, *neighbors)]
    width = len(query) // layer.num_heads
    queried = linear(layer.q_proj, tokens[0])
    keys, values = ([linear(side, token) for token in tokens] for side in (layer.k_proj, layer.v_proj))
    heads = []
    for head in range(layer.num_heads):
        part = slice(head * width, (head + 1) * width)
        logits = [dot(queried[part], key[part]) / math.sqrt(width) for key in keys]
        total = log_sum_exp(logits)
        heads.append(sum(torch.exp(logit - total) * value[part] for logit, value in zip(logits, values, strict=True)))
    state = query + linear(layer.out_proj, torch.cat(heads))
    if neighbors:
        state = state + readout(layer, neighbors, scores)
    hidden = linear(layer.fc1, layer_norm(layer.mlp_norm, state))
    state = state + linear(layer.fc2, hidden * (1 + torch.erf(hidden / math.sqrt(2))) / 2)
    return state / torch.sqrt(dot(state, state))


def reco(images: Rows, texts: Rows, refined_images: Rows, refined_texts: Rows, t) -> torch.Tensor:
    """NCE(x', y') + NCE(x', y) + NCE(x, y')."""
    pairs = (refined_images, refined_texts), (refined_images, texts), (images, refined_texts)
    return sum(clip(first, second, t) for first, second in pairs)
