# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Embeddings computed once: equal to the model's own, the same on any number of processes, kept on disk."""

import io
import logging

import pytest
import torch
from datasets import Dataset, Features
from datasets import Image as ImageFeature
from PIL import Image
from safetensors.torch import load_file
from torch.nn import functional as F

from hf_cloob import CloobModel
from hf_cloob.encoding import encode_images, encode_texts
from hf_cloob.evaluation.cached_encoder import CachedEncoder, model_fingerprint
from hf_cloob.evaluation.image_loading import DatasetImages
from tests.gloo import run_in_processes
from tests.test_text_padding import tiny_siglip
from tests.tiny_models import (
    CAPTIONS,
    tiny_clip,
    tiny_cloob,
    tiny_config,
    tiny_processor,
    tiny_tokenizer,
    tokenized_text_config,
)

TEXTS = [f"{caption} {extra}" for extra in ("today", "on a hill", "") for caption in CAPTIONS]


def pictures(number: int = 11) -> list[Image.Image]:
    return [Image.new("RGB", (20 + index, 16), (20 * index, 250 - 20 * index, 100)) for index in range(number)]


def tiny_model() -> CloobModel:
    torch.manual_seed(0)
    return CloobModel(tiny_config(text=tokenized_text_config(tiny_tokenizer()))).eval()


def encoded_dataset(broken: tuple[int, ...] = ()) -> Dataset:
    rows = []
    for index, picture in enumerate(pictures()):
        data = io.BytesIO()
        picture.save(data, format="PNG")
        rows.append({"bytes": b"broken" if index in broken else data.getvalue(), "path": None})
    return Dataset.from_dict({"image": rows}, Features(image=ImageFeature()))


class Passes:
    """Counts the rows that a model's towers are given."""

    def __init__(self, model):
        self.rows = 0
        model.text_model.register_forward_hook(self.count, with_kwargs=True)
        model.vision_model.register_forward_hook(self.count, with_kwargs=True)

    def count(self, module, args, kwargs, output):
        self.rows += len(next(iter(value for value in (*args, *kwargs.values()) if isinstance(value, torch.Tensor))))

    def since(self) -> int:
        rows, self.rows = self.rows, 0
        return rows


def test_embeddings_equal_the_models_own():
    model, processor = tiny_model(), tiny_processor()
    encoder = CachedEncoder(model, batch_size=4)
    own = encode_images(model, pictures(), processor)
    assert torch.allclose(encoder.encode_images(pictures(), processor), own, rtol=0, atol=1e-6)
    assert torch.allclose(
        encoder.encode_texts(TEXTS, processor), encode_texts(model, TEXTS, processor), rtol=0, atol=1e-6
    )
    assert torch.allclose(
        encoder.encode_images(DatasetImages(encoded_dataset(), "image"), processor), own, rtol=0, atol=1e-6
    )


def test_siglip_texts_are_padded_as_it_was_trained():
    tokenizer = tiny_tokenizer(24)
    model = tiny_siglip(tokenizer)
    inputs = tokenizer(TEXTS, padding="max_length", max_length=24, return_tensors="pt")
    with torch.no_grad():
        wanted = F.normalize(model.get_text_features(**inputs).pooler_output, dim=-1)
    embeds = CachedEncoder(model, batch_size=4).encode_texts(TEXTS, tiny_processor(tokenizer))
    assert torch.allclose(embeds, wanted, rtol=0, atol=1e-6)


def test_worker_processes_change_nothing():
    model, processor = tiny_model(), tiny_processor()
    with_workers = CachedEncoder(model, batch_size=4, num_workers=2).encode_images(pictures(), processor)
    assert torch.equal(with_workers, CachedEncoder(model, batch_size=4).encode_images(pictures(), processor))


def test_a_second_encoder_reads_what_the_first_has_kept(tmp_path):
    model, processor = tiny_model(), tiny_processor()
    first = CachedEncoder(model, tmp_path)
    wanted = first.encode_images(pictures(), processor), first.encode_texts(TEXTS, processor)
    files = sorted(tmp_path.iterdir())
    assert len(files) == 2 and all(file.suffix == ".safetensors" for file in files)

    again = tiny_model()
    passes = Passes(again)
    second = CachedEncoder(again, tmp_path)
    assert torch.equal(second.encode_images(pictures(), processor), wanted[0])
    assert torch.equal(second.encode_texts(TEXTS, processor), wanted[1])
    assert passes.since() == 0
    assert torch.equal(load_file(files[0])["embeds"], wanted[0]) or torch.equal(
        load_file(files[0])["embeds"], wanted[1]
    )


def test_other_weights_data_or_processors_are_embedded_anew(tmp_path):
    model, processor = tiny_model(), tiny_processor()
    passes = Passes(model)
    CachedEncoder(model, tmp_path).encode_images(pictures(), processor)
    assert passes.since() == 11

    def embedded(images=None, changed=processor):
        CachedEncoder(model, tmp_path).encode_images(images or pictures(), changed)
        return passes.since()

    assert embedded() == 0
    assert embedded(pictures()[:-1]) == 10
    other = tiny_processor()
    other.image_processor.image_mean = [0.1, 0.2, 0.3]
    assert embedded(changed=other) == 11
    with torch.no_grad():
        model.visual_projection.weight.mul_(1.01)
    assert [embedded(), embedded()] == [11, 0]
    dataset = DatasetImages(encoded_dataset(), "image")
    assert [embedded(dataset), embedded(dataset)] == [11, 0]

    CachedEncoder(model, tmp_path).encode_texts(TEXTS, processor)
    assert passes.since() == len(TEXTS)
    CachedEncoder(model, tmp_path).encode_texts(TEXTS[::-1], processor)
    CachedEncoder(model, tmp_path, truncation=True).encode_texts(TEXTS, processor)
    CachedEncoder(model, tmp_path).encode_texts(TEXTS, tiny_processor(tiny_tokenizer(50)))
    assert passes.since() == 2 * len(TEXTS)  # A shorter context alone changes no embedding of texts that fit.


def test_the_fingerprint_of_a_model_follows_its_weights_and_settings_not_its_place(tmp_path):
    model = tiny_model()
    model.save_pretrained(tmp_path / "here")
    loaded = type(model).from_pretrained(tmp_path / "here")
    assert model_fingerprint(loaded) == model_fingerprint(model)
    assert model_fingerprint(tiny_cloob(seed=1)) != model_fingerprint(tiny_cloob(seed=0))
    loaded.config.text_pooling = "mean"
    assert model_fingerprint(loaded) != model_fingerprint(model)


def test_broken_images_are_left_out_counted_and_logged(tmp_path, caplog):
    model, processor = tiny_model(), tiny_processor()
    encoder = CachedEncoder(model, tmp_path, batch_size=2)
    images = DatasetImages(encoded_dataset(broken=(0, 4, 5)), "image")
    with caplog.at_level(logging.WARNING):
        embeds, rows = encoder.encode_readable_images(images, processor)
    assert rows.tolist() == [1, 2, 3, 6, 7, 8, 9, 10]
    assert torch.allclose(embeds, encode_images(model, pictures(), processor)[rows], rtol=0, atol=1e-6)
    assert "3 images left out: {'UnidentifiedImageError': 3}" in caplog.text
    assert encoder.encode_readable_images(images, processor)[1].tolist() == rows.tolist()
    with pytest.raises(ValueError, match="3 of 11 images cannot be read, the first is image 0"):
        encoder.encode_images(images, processor)
    with pytest.raises(ValueError, match="None of the 11 images can be read"):
        encoder.encode_readable_images(DatasetImages(encoded_dataset(range(11)), "image"), processor)


def embed_in_a_process(rank: int, num_processes: int, cache_dir) -> dict:
    encoder = CachedEncoder(tiny_model(), cache_dir, rank, num_processes, batch_size=2)
    images, rows = encoder.encode_readable_images(DatasetImages(encoded_dataset((0, 1, 6)), "image"), tiny_processor())
    few = encoder.encode_images(pictures(2), tiny_processor())
    texts = encoder.encode_texts(TEXTS, tiny_processor())
    return {
        "images": images,
        "rows": rows,
        "few": few,
        "texts": texts,
        "one": encoder.encode_texts(TEXTS[:1], tiny_processor()),
    }


def test_two_processes_give_one_processs_embeddings_to_the_last_bit(tmp_path):
    alone = embed_in_a_process(0, 1, None)
    for found in run_in_processes(embed_in_a_process, 2, 2, tmp_path):
        assert {name: torch.equal(found[name], alone[name]) for name in alone} == dict.fromkeys(alone, True)
    # What two processes have kept serves one, and what one has kept serves two.
    model = tiny_model()
    passes = Passes(model)
    assert torch.equal(
        CachedEncoder(model, tmp_path, batch_size=2).encode_texts(TEXTS, tiny_processor()), alone["texts"]
    )
    assert passes.since() == 0


def test_each_process_embeds_its_share_only():
    shares = [CachedEncoder(tiny_clip(), None, rank, 3, batch_size=2)._own_batches(range(11), 2) for rank in range(3)]
    assert shares == [[[0, 1], [2, 3]], [[4, 5], [6, 7]], [[8, 9], [10]]]


def test_a_mistake_is_named():
    model, processor = tiny_model(), tiny_processor()
    encoder = CachedEncoder(model)
    with pytest.raises(ValueError, match="no images"):
        encoder.encode_images([], processor)
    with pytest.raises(ValueError, match="no texts"):
        encoder.encode_texts([], processor)
    with pytest.raises(ValueError, match="takes at most 77"):
        encoder.encode_texts(["the sea", "dog " * 200], processor)
    assert len(CachedEncoder(model, truncation=True).encode_texts(["dog " * 200], processor)) == 1
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        encoder.encode_texts(TEXTS, processor, batch_size=0)
    with pytest.raises(ValueError, match="process_index must be from 0 to 1, got 2"):
        CachedEncoder(model, process_index=2, num_processes=2)
    with pytest.raises(ValueError, match="is not a dual encoder"):
        CachedEncoder(model.vision_model)
