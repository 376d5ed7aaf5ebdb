# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Building a memory from picture files: the encoder's own embeddings, row numbers as ids, broken rows left out."""

from io import BytesIO
from pathlib import Path

import pytest
import torch
from datasets import Dataset, Features, Image, IterableDataset, Value
from PIL import Image as PILImage
from tiny_reco import FAMILIES, save_base, stir, tiny_base, tiny_base_processor, unit_rows
from transformers.utils.logging import disable_progress_bar

from hf_cloob import RecoForZeroShot, RecoMemory, encoder_fingerprint
from hf_cloob.encoding import encode_images, encode_texts
from hf_cloob.reco_building import NoUsableRow
from hf_cloob.text_padding import padded_as_trained

CAPTIONS = ["a red apple", "two dogs run", "the sea", "a small house with a blue door and a tree", "a cat"]
QUIET = {"show_progress": False}


@pytest.fixture(scope="module")
def paths(tmp_path_factory) -> list[str]:
    folder = tmp_path_factory.mktemp("pictures")
    paths = [str(folder / f"{number}.png") for number in range(len(CAPTIONS))]
    for number, path in enumerate(paths):
        PILImage.effect_noise((20 + number, 24), 20 + 30 * number).convert("RGB").save(path)
    return paths


def rows_of(paths: list[str], captions=CAPTIONS) -> list[dict]:
    return [{"image": path, "caption": caption} for path, caption in zip(paths, captions, strict=True)]


@pytest.mark.parametrize("family", FAMILIES)
def test_entries_are_what_the_encoder_makes_of_the_pairs(family, paths):
    model, processor = tiny_base(family), tiny_base_processor(family)
    memory = RecoMemory.build(model, processor, rows_of(paths), batch_size=2, **QUIET)
    images = encode_images(model, paths, processor)
    texts = encode_texts(model, CAPTIONS, padded_as_trained(model, processor.tokenizer))
    torch.testing.assert_close(memory.image_embeds.float(), images, rtol=0, atol=1e-3)
    torch.testing.assert_close(memory.text_embeds.float(), texts, rtol=0, atol=1e-3)
    assert (images @ images.T).fill_diagonal_(0).max() < 0.999, "pictures that look alike prove nothing"
    assert memory.ids.tolist() == list(range(5)) and memory.captions_of(memory.ids) == CAPTIONS
    assert memory.fingerprint == encoder_fingerprint(model)


def test_a_dataset_a_list_and_a_stream_give_the_same_memory(paths):
    model, processor = tiny_base("cloob"), tiny_base_processor("cloob")
    features = Features({"picture": Image(), "text": Value("string")})
    table = Dataset.from_dict({"picture": paths, "text": CAPTIONS}, features=features)
    stream = IterableDataset.from_generator(lambda: iter(rows_of(paths)))
    expected = RecoMemory.build(model, processor, rows_of(paths), **QUIET)
    for memory in (
        RecoMemory.build(model, processor, table, "picture", "text", **QUIET),
        RecoMemory.build(model, processor, stream, **QUIET),
    ):
        assert torch.equal(memory.image_embeds, expected.image_embeds)
        assert torch.equal(memory.text_embeds, expected.text_embeds) and torch.equal(memory.ids, expected.ids)


def test_rows_that_cannot_be_used_are_left_out_counted_and_reported(paths, tmp_path, caplog):
    torn = Path(paths[0]).read_bytes()[:60]
    broken = [{"bytes": torn}, {"path": paths[1]}, {"path": str(tmp_path / "none.png")}, {"path": paths[3]}]
    broken.append({"path": paths[4]})
    captions = [*CAPTIONS[:3], " ", "a cat"]
    model, processor = tiny_base("cloob"), tiny_base_processor("cloob")
    rows = [{"bytes": None, "path": None} | row for row in broken]
    table = Dataset.from_dict({"image": rows, "caption": captions}).cast_column("image", Image())
    opened = [PILImage.open(BytesIO(row["bytes"])) if row["bytes"] else row["path"] for row in rows]
    for dataset in (rows_of(opened, captions), table):
        caplog.clear()
        memory = RecoMemory.build(model, processor, dataset, first_id=100, **QUIET)
        assert memory.ids.tolist() == [101, 104] and memory.captions_of([104]) == ["a cat"]
        assert "3 rows are not in the memory" in caplog.text and "1 no caption" in caplog.text


def test_of_several_captions_the_first_counts_and_long_ones_are_cut(paths):
    model, processor = tiny_base("clip"), tiny_base_processor("clip")
    captions = [["a red apple", "fruit"], ["two dogs run " * 50], [], None, ["a cat"]]
    memory = RecoMemory.build(model, processor, rows_of(paths, captions), **QUIET)
    assert memory.captions_of(memory.ids) == ["a red apple", "two dogs run " * 50, "a cat"]
    texts = encode_texts(model, ["a red apple"], processor)
    torch.testing.assert_close(memory.text_embeds[:1].float(), texts, rtol=0, atol=1e-3)


def test_a_model_with_a_memory_builds_with_its_base(paths, tmp_path):
    model = stir(RecoForZeroShot.from_base(save_base("cloob", tmp_path)))
    processor = tiny_base_processor("cloob")
    expected = RecoMemory.build(model.base, processor, rows_of(paths), **QUIET)
    model.set_memory(RecoMemory(unit_rows(4, 16, 1), unit_rows(4, 16, 2)))
    memory = RecoMemory.build(model, processor, rows_of(paths), **QUIET)
    assert torch.equal(memory.image_embeds, expected.image_embeds) and memory.fingerprint == expected.fingerprint
    model.set_memory(memory)


def test_mistakes_are_named(paths):
    model, processor = tiny_base("cloob"), tiny_base_processor("cloob")
    with pytest.raises(ValueError, match=r"no column 'captions' \(caption_column\); its columns are \['image', 'capt"):
        RecoMemory.build(model, processor, rows_of(paths), caption_column="captions", **QUIET)
    with pytest.raises(NoUsableRow, match="no usable row: 5 no caption"):
        RecoMemory.build(model, processor, rows_of(paths, [None] * 5), **QUIET)
    with pytest.raises(NoUsableRow, match="it is empty"):
        RecoMemory.build(model, processor, [], **QUIET)
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        RecoMemory.build(model, processor, rows_of(paths), batch_size=0, **QUIET)


def test_disabled_progress_bars_change_nothing(paths):
    model, processor = tiny_base("clip"), tiny_base_processor("clip")
    expected = RecoMemory.build(model, processor, rows_of(paths), batch_size=2)
    disable_progress_bar()
    memory = RecoMemory.build(model, processor, rows_of(paths), batch_size=2)
    assert torch.equal(memory.image_embeds, expected.image_embeds) and torch.equal(memory.ids, expected.ids)
