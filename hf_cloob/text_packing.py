# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Texts of a batch laid end to end in few rows, so that a causal text tower spends nothing on their padding."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class PackedTexts:
    """The rows that a text tower runs on, and the way back to one row a text.

    Attributes:
        input_ids: (num_rows, row_length) tokens; 0 where no text lies.
        position_ids: (num_rows, row_length), from 0 for every text.
        attention_mask: (num_rows, 1, row_length, row_length), True where a token may look: up to itself, at its own
            text only.
        places: (total_tokens,) of the tokens in the flattened rows.
        padded_places: (total_tokens,) of the tokens in the flattened padded batch.
        padded_shape: (batch_size, num_tokens) of the padded batch.
    """

    input_ids: torch.Tensor
    position_ids: torch.Tensor
    attention_mask: torch.Tensor
    places: torch.Tensor
    padded_places: torch.Tensor
    padded_shape: torch.Size

    def unpacked(self, states: torch.Tensor) -> torch.Tensor:
        """(num_rows, row_length, width) -> (batch_size, num_tokens, width), zeros for padding."""
        padded = states.new_zeros(self.padded_shape.numel(), states.shape[-1])
        return padded.index_copy(0, self.padded_places, states.flatten(0, 1)[self.places]).unflatten(
            0, self.padded_shape
        )


def pack_texts(
    input_ids: torch.Tensor, attention_mask: torch.Tensor, pooled_places: torch.Tensor, row_length: int
) -> PackedTexts | None:
    """Lay right-padded texts end to end.

    The larger a batch, the longer its longest caption, until padding to it pads nearly everything: most captions have
    about a dozen tokens. Here each text keeps its positions and sees only itself, so with causal attention the states
    of its tokens are those of the padded batch.

    Args:
        input_ids: (batch_size, num_tokens).
        attention_mask: (batch_size, num_tokens), 1 for tokens, 0 for padding.
        pooled_places: (batch_size,) place of each text's token whose state will be pooled.
        row_length: most tokens of a row, the tower's context length.

    Returns:
        None if there is nothing to save, or if a text is empty, too long, padded on another side than the right or
        pooled at padding.

    Source: Krell et al. 2021 (sequence packing without cross-contamination, arXiv 2107.02027).
    """
    lengths = _lengths(attention_mask, pooled_places)
    if min(lengths) == 0 or max(lengths) > row_length:
        return None
    starts, num_rows = best_fit(lengths, row_length)
    width = max(start % row_length + length for start, length in zip(starts, lengths, strict=True))
    if num_rows * width >= input_ids.numel():
        return None
    # Indices are made on the host, where the lengths are already: no further synchronization.
    offsets = torch.arange(input_ids.shape[1]).expand(input_ids.shape)
    is_token = offsets < torch.tensor(lengths)[:, None]
    firsts = torch.tensor([start // row_length * width + start % row_length for start in starts])
    places = (firsts[:, None] + offsets)[is_token].to(input_ids.device)
    padded_places = is_token.flatten().nonzero().squeeze(1).to(input_ids.device)

    def rows(values: torch.Tensor) -> torch.Tensor:
        values = values.to(input_ids.device)
        return values.new_zeros(num_rows * width).index_copy(0, places, values).view(num_rows, width)

    texts = rows(torch.arange(1, len(lengths) + 1).repeat_interleave(torch.tensor(lengths)))
    same_text = texts[:, None, :, None] == texts[:, None, None, :]
    return PackedTexts(
        input_ids=rows(input_ids.flatten()[padded_places]),
        position_ids=rows(offsets[is_token]),
        attention_mask=same_text.tril(),
        places=places,
        padded_places=padded_places,
        padded_shape=input_ids.shape,
    )


def best_fit(lengths: list[int], row_length: int) -> tuple[list[int], int]:
    """Lay the longest text first, each where it leaves least room.

    Args:
        lengths: batch_size numbers of tokens, from 1 to `row_length`.
        row_length: places of a row.

    Returns:
        the first place of each text, counted through rows of `row_length`, and the number of rows.
    """
    rows_by_room: list[list[int]] = [[] for _ in range(row_length)]
    starts, num_rows = [0] * len(lengths), 0
    for text in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
        length = lengths[text]
        room = next((room for room in range(length, row_length) if rows_by_room[room]), row_length)
        if room == row_length:
            row, num_rows = num_rows, num_rows + 1
        else:
            row = rows_by_room[room].pop()
        starts[text] = row * row_length + row_length - room
        rows_by_room[room - length].append(row)
    return starts, num_rows


def _lengths(attention_mask: torch.Tensor, pooled_places: torch.Tensor) -> list[int]:
    """Tokens of each text, 0 for one that cannot be packed; the only place that looks at the data."""
    is_token = attention_mask != 0
    lengths = is_token.sum(dim=1)
    is_prefix = is_token == (torch.arange(is_token.shape[1], device=lengths.device) < lengths[:, None])
    return torch.where(is_prefix.all(dim=1) & (pooled_places < lengths), lengths, 0).tolist()
