# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""transformers' Trainer trains a CloobModel as it is."""

import pytest
import torch
from gloo import run_in_processes
from tiny_models import tiny_cloob, tiny_inputs
from transformers import Trainer, TrainingArguments

from hf_cloob import CloobModel


class Pairs(torch.utils.data.Dataset):
    def __init__(self, count: int):
        self.inputs = tiny_inputs(count)

    def __len__(self) -> int:
        return len(self.inputs["input_ids"])

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {name: rows[index] for name, rows in self.inputs.items()}


def collate(rows: list[dict]) -> dict:
    """What a user adds to any collator: the wish for a loss."""
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]} | {"return_loss": True}


def build_trainer(folder, model: CloobModel, **fields) -> Trainer:
    arguments = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=4,
        per_device_eval_batch_size=4,
        learning_rate=1e-3,
        logging_steps=1,
        report_to=[],
        use_cpu=True,
        dataloader_pin_memory=False,
        disable_tqdm=True,
        **fields,
    )
    return Trainer(model, arguments, data_collator=collate, train_dataset=Pairs(8), eval_dataset=Pairs(8))


@pytest.mark.parametrize("contrastive_loss", ["infoloob", "infonce", "sigmoid"])
def test_training_logs_the_loss_evaluates_and_saves_a_loadable_checkpoint(tmp_path, contrastive_loss):
    model = tiny_cloob(contrastive_loss=contrastive_loss)
    before = model.text_projection.weight.clone()
    trainer = build_trainer(tmp_path, model, max_steps=3, save_steps=3)
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert len(losses) == 3 and not torch.equal(before, model.text_projection.weight)
    assert torch.tensor(trainer.evaluate()["eval_loss"]).isfinite()
    loaded = CloobModel.from_pretrained(tmp_path / "checkpoint-3")
    assert all(torch.equal(loaded.state_dict()[name], weight) for name, weight in model.state_dict().items())


def test_the_trainers_first_loss_and_step_are_those_of_a_plain_loop(tmp_path):
    model, plain = tiny_cloob(contrastive_loss="infonce"), tiny_cloob(contrastive_loss="infonce").train()
    fields = {"optim": "sgd", "lr_scheduler_type": "constant", "max_grad_norm": 0.0, "warmup_steps": 0}
    trainer = build_trainer(tmp_path, model, max_steps=1, save_strategy="no", **fields)
    trainer.args.per_device_train_batch_size = trainer._train_batch_size = 8
    trainer.train()
    inputs = tiny_inputs(8)
    loss = plain(**inputs, return_loss=True).loss
    loss.backward()
    torch.optim.SGD(plain.parameters(), lr=1e-3).step()
    assert trainer.state.log_history[0]["loss"] == pytest.approx(loss.item(), abs=1e-3)
    for name, parameter in plain.named_parameters():
        torch.testing.assert_close(dict(model.named_parameters())[name], parameter, rtol=1e-4, atol=1e-6)


def test_accumulated_steps_are_averaged_and_never_scaled_by_a_number_of_items(tmp_path):
    model = tiny_cloob(contrastive_loss="infonce")
    trainer = build_trainer(tmp_path, model, max_steps=1, save_strategy="no", gradient_accumulation_steps=2)
    # forward takes **kwargs, from which Trainer would conclude that it scales its loss by num_items_in_batch.
    assert trainer.model_accepts_loss_kwargs is False
    trainer.train()
    one_batch = tiny_cloob(contrastive_loss="infonce").train()(**tiny_inputs(4), return_loss=True).loss.item()
    assert trainer.state.log_history[0]["loss"] == pytest.approx(one_batch, rel=0.4)


SGD = {"optim": "sgd", "lr_scheduler_type": "constant", "max_grad_norm": 0.0, "warmup_steps": 0, "max_steps": 1}


def train_one_step(rank: int, folder: str, per_device_batch_size: int) -> tuple[float, dict[str, torch.Tensor]]:
    """The loss and the weights after one step on all 8 pairs, this process's share of them."""
    model = tiny_cloob(contrastive_loss="infoloob")
    trainer = build_trainer(f"{folder}/{rank}", model, save_strategy="no", **SGD)
    trainer.args.per_device_train_batch_size = trainer._train_batch_size = per_device_batch_size
    trainer.train()
    return trainer.state.log_history[0]["loss"], {name: each.detach() for name, each in model.named_parameters()}


@pytest.mark.slow
def test_two_processes_of_a_trainer_take_the_step_of_one_on_the_global_batch(tmp_path):
    expected_loss, expected = train_one_step(0, str(tmp_path / "one"), 8)
    for loss, weights in run_in_processes(train_one_step, 2, str(tmp_path / "two"), 4, keep=False):
        assert loss == pytest.approx(expected_loss, abs=1e-3)
        for name, weight in weights.items():
            torch.testing.assert_close(weight, expected[name], rtol=1e-4, atol=1e-6)
