# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Adapters on real tower classes: train, save, load, merge; what is published is an ordinary model."""

import copy
import inspect

import pytest
import torch
from peft import AutoPeftModel, LoraConfig, PeftModel, get_peft_model
from tiny_models import WIDTH, tiny_cloob, tiny_inputs
from tiny_reco import inputs_of, random_memory, save_base, stir

from hf_cloob import CloobModel, RecoForZeroShot
from hf_cloob.training.frozen_towers import freeze, train_unfrozen
from hf_cloob.training.lora import ADAPTER_FOLDER, adaptable_layers, add_lora, save_merged

RESNET = {
    "model_type": "resnet",
    "layer_type": "basic",
    "embedding_size": 8,
    "hidden_sizes": [8, 16],
    "depths": [1, 1],
}
BERT = {"model_type": "bert", **WIDTH, "vocab_size": 99}
SIGLIP = {"model_type": "siglip_text_model", **WIDTH, "vocab_size": 99, "bos_token_id": 1, "eos_token_id": 2}
# peft's own calls ask a model of transformers for its old name of activation checkpointing.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
# peft asks before it imports the class that an adapter's file names; older ones do not.
ALLOWED = {"import_allowlist": ["hf_cloob.modeling_cloob"]}
AUTO = ALLOWED if "import_allowlist" in inspect.signature(AutoPeftModel.from_pretrained).parameters else {}


def logits(model) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(**tiny_inputs()).logits_per_image


def train(model, steps: int = 3):
    """A few steps with a rate that shows; returns the model."""
    optimizer = torch.optim.Adam([each for each in model.parameters() if each.requires_grad], lr=0.02)
    for seed in range(steps):
        train_unfrozen(model)
        model(**tiny_inputs(seed=seed), return_loss=True).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return model


@pytest.fixture
def base(tmp_path):
    """A saved CLOOB with BatchNorm in its vision tower, loaded as a user would."""
    tiny_cloob(text=BERT, vision=RESNET, text_pooling="mean").save_pretrained(tmp_path / "base")
    return CloobModel.from_pretrained(tmp_path / "base")


def test_adapters_start_as_the_model_itself_and_only_they_and_the_projections_train(base):
    before = logits(base)
    model = add_lora(base, rank=2)
    torch.testing.assert_close(logits(model), before, rtol=0, atol=0)
    trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trainable and all(".lora_" in name or "_projection." in name for name in trainable)
    assert any("encoder.stages" in name for name in trainable) and any("encoder.layer.1" in name for name in trainable)


@pytest.mark.parametrize("text", [None, BERT, SIGLIP], ids=["clip", "bert", "siglip"])
def test_every_trainable_parameter_gets_a_gradient(text):
    pooling = {} if text is not BERT else {"text_pooling": "mean"}
    model = add_lora(tiny_cloob(text=text, **pooling), rank=2).train()
    # B is zero at the start, so A's gradient is zero too, but it must be there: DistributedDataParallel waits for it.
    model(**tiny_inputs(), return_loss=True).loss.backward()
    missing = [name for name, each in model.named_parameters() if each.requires_grad and each.grad is None]
    assert missing == []


def test_a_frozen_tower_gets_no_adapters():
    model = tiny_cloob()
    freeze(model.text_model)
    assert {name.split(".")[0] for name in adaptable_layers(model)} == {"vision_model"}


def test_target_modules_are_chosen_by_the_last_part_of_their_names():
    model = add_lora(tiny_cloob(), rank=2, alpha=8, target_modules=["q_proj", "v_proj"])
    adapted = {name.split(".lora_")[0].rsplit(".", 1)[-1] for name, _ in model.named_parameters() if ".lora_" in name}
    assert adapted == {"q_proj", "v_proj"}
    assert (model.peft_config["default"].r, model.peft_config["default"].lora_alpha) == (2, 8)


def test_frozen_batch_norms_keep_their_statistics_while_adapters_train(base):
    buffers = {name: buffer.clone() for name, buffer in base.named_buffers()}
    train(add_lora(base, rank=2))
    moved = [name for name, buffer in base.named_buffers() if not torch.equal(buffers.get(name, buffer), buffer)]
    assert moved == []


def test_what_is_saved_is_the_merged_model_with_the_adapters_beside_it(base, tmp_path):
    before = logits(base)
    model = train(add_lora(base, rank=2))
    trained = logits(model)
    assert (trained - before).abs().max() > 0.1
    save_merged(model, tmp_path / "out")
    merged = CloobModel.from_pretrained(tmp_path / "out")
    torch.testing.assert_close(logits(merged), trained, rtol=1e-4, atol=1e-4)
    assert not any("lora" in name for name, _ in merged.named_parameters())
    # Training goes on with the adapters, unmerged.
    torch.testing.assert_close(logits(model), trained, rtol=0, atol=0)

    start = CloobModel.from_pretrained(tmp_path / "base")
    by_hand = PeftModel.from_pretrained(start, tmp_path / "out" / ADAPTER_FOLDER)
    torch.testing.assert_close(logits(by_hand), trained, rtol=1e-5, atol=1e-5)
    by_name = AutoPeftModel.from_pretrained(tmp_path / "out" / ADAPTER_FOLDER, **AUTO)
    torch.testing.assert_close(logits(by_name), trained, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(logits(by_name.merge_and_unload()), trained, rtol=1e-4, atol=1e-4)


def test_a_model_without_adapters_is_saved_as_it_is(base, tmp_path):
    save_merged(base, tmp_path / "out")
    assert not (tmp_path / "out" / ADAPTER_FOLDER).exists()
    assert torch.equal(logits(CloobModel.from_pretrained(tmp_path / "out")), logits(base))


def test_training_state_can_be_taken_up_again(base):
    """What a resume checkpoint holds: the state dict of the model with its adapters."""
    fresh = copy.deepcopy(base)
    model = train(add_lora(base, rank=2))
    resumed = add_lora(fresh, rank=2)
    resumed.load_state_dict(model.state_dict())
    assert torch.equal(logits(resumed), logits(model))


FUSION_LAYERS = r".*_fusion\.(q_proj|k_proj|v_proj|out_proj|fc1|fc2)"


def test_fusion_layers_of_reco_take_adapters_which_are_saved_loaded_and_merged(tmp_path):
    base = save_base("cloob", tmp_path)
    reco = stir(RecoForZeroShot.from_base(base, num_neighbors=3))
    reco.save_pretrained(tmp_path / "reco")
    inputs, memory = inputs_of("cloob"), random_memory()

    def scores(model) -> torch.Tensor:
        with torch.no_grad():
            return model.eval()(**inputs).logits_per_image

    reco.set_memory(memory)
    before = scores(reco)
    model = get_peft_model(reco, LoraConfig(r=2, target_modules=FUSION_LAYERS))
    torch.testing.assert_close(scores(model), before)
    trainable = [parameter for name, parameter in model.named_parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(trainable, lr=0.02)
    pairs = inputs | {name: inputs[name][:3] for name in ("input_ids", "attention_mask")}
    for _ in range(3):
        model.train()(**pairs, exclude_ids=torch.full((3,), -1), return_loss=True).loss.backward()
        optimizer.step()
    trained = scores(model)
    assert (trained - before).abs().max() > 0.05
    model.save_pretrained(tmp_path / "adapter")

    loaded = PeftModel.from_pretrained(RecoForZeroShot.from_pretrained(tmp_path / "reco"), tmp_path / "adapter")
    loaded.set_memory(memory)
    torch.testing.assert_close(scores(loaded), trained, rtol=1e-5, atol=1e-5)
    merged = loaded.merge_and_unload()
    assert isinstance(merged, RecoForZeroShot)
    torch.testing.assert_close(scores(merged), trained, rtol=1e-4, atol=1e-4)


def test_impossible_ranks_and_targets_are_refused():
    with pytest.raises(ValueError, match="lora_rank must be at least 1, got 0"):
        add_lora(tiny_cloob(), rank=0)
    with pytest.raises(ValueError, match=r"lora_target_modules is \['query'\], .* 'q_proj'"):
        add_lora(tiny_cloob(), rank=2, target_modules=["query"])
