# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""memory.safetensors: what is written in pieces is an ordinary safetensors file, and a damaged one is refused."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_reco import unit_rows

from hf_cloob.reco_memory_file import MEMORY_FILE, open_memory_file, write_memory_file


def tensors(size: int = 11) -> dict[str, torch.Tensor]:
    return {
        "image_embeds": unit_rows(size, 6, 1).half(),
        "text_embeds": unit_rows(size, 6, 2).half(),
        "ids": torch.arange(size).flip(0),
    }


def pieces(content: dict[str, torch.Tensor], *sizes: int) -> dict[str, list[torch.Tensor]]:
    return {name: list(tensor.split(list(sizes))) for name, tensor in content.items()}


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_pieces_become_one_file_that_safetensors_reads(tmp_path):
    path, content = tmp_path / MEMORY_FILE, tensors()
    write_memory_file(path, pieces(content, 4, 1, 6), {"fingerprint": "abc", "note": 'ü "quoted"'})
    opened, metadata = open_memory_file(path)
    assert same(opened, content) and same(load_file(path), content)
    assert metadata == {"fingerprint": "abc", "note": 'ü "quoted"'}
    assert [file.name for file in tmp_path.iterdir()] == [MEMORY_FILE]


def test_a_file_that_is_open_stays_what_it_was_when_it_is_replaced(tmp_path):
    path, content = tmp_path / MEMORY_FILE, tensors()
    write_memory_file(path, pieces(content, 11), {})
    opened, _ = open_memory_file(path)
    other = {name: tensor.flip(0) for name, tensor in content.items()}
    write_memory_file(path, pieces(other, 11), {})
    assert same(opened, content) and same(open_memory_file(path)[0], other)


@pytest.mark.parametrize("length", [0, 5, 40, 300, -1])
def test_a_truncated_file_is_refused(tmp_path, length):
    path = tmp_path / MEMORY_FILE
    write_memory_file(path, pieces(tensors(), 11), {})
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ValueError, match=f"{MEMORY_FILE} is truncated or is no safetensors file"):
        open_memory_file(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ids": None}, "it lacks the tensors ids"),
        ({"image_embeds": unit_rows(11, 6)}, "image_embeds in .* must be torch.float16, found torch.float32"),
        ({"ids": torch.arange(10)}, "must hold one id for each of at least one entry"),
        ({"text_embeds": unit_rows(10, 6).half()}, "do not belong together"),
        ({"text_embeds": unit_rows(11, 5).half()}, "do not belong together"),
        ({name: tensor[:0] for name, tensor in tensors().items()}, "at least one entry"),
    ],
)
def test_a_file_of_other_tensors_is_refused(tmp_path, changes, message):
    content = {name: tensor for name, tensor in (tensors() | changes).items() if tensor is not None}
    save_file(content, tmp_path / MEMORY_FILE)
    with pytest.raises(ValueError, match=message):
        open_memory_file(tmp_path / MEMORY_FILE)
