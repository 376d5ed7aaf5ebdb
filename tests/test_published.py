# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""A saved folder carries its code: a fresh interpreter without this package loads it and scores the same."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image, ImageDraw
from tiny_models import CAPTIONS, WIDTH, tiny_config, tiny_processor, tiny_tokenizer, tokenized_text_config
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForZeroShotImageClassification,
    AutoProcessor,
    AutoTokenizer,
    pipeline,
)
from transformers.models.auto.image_processing_auto import AutoImageProcessor

from hf_cloob import CloobConfig, CloobModel, CloobProcessor

LABELS = ["a red apple", "the sea", "two dogs that run", "a small house with a blue door and a tree"]
KINDS = ("clip_towers", pytest.param("other_towers", marks=pytest.mark.slow))
# The package is made impossible to import, even where it is installed.
SCRIPT = """
import json, sys
sys.modules["hf_cloob"] = None
from transformers import (
    AutoConfig, AutoModel, AutoModelForZeroShotImageClassification, AutoProcessor, pipeline,
)
folder, image, again, labels = sys.argv[1], sys.argv[2], sys.argv[3], json.loads(sys.argv[4])
trust = {"trust_remote_code": True}
config = AutoConfig.from_pretrained(folder, **trust)
model = AutoModel.from_pretrained(folder, **trust)
zero_shot = AutoModelForZeroShotImageClassification.from_pretrained(folder, **trust)
processor = AutoProcessor.from_pretrained(folder, **trust)
scores = lambda at: pipeline("zero-shot-image-classification", model=at, **trust)(image, candidate_labels=labels)
result = {
    "classes": [type(part).__name__ for part in (config, model, zero_shot, processor)],
    "modules": [type(part).__module__.split(".")[0] for part in (config, model, zero_shot, processor)],
    "scores": scores(folder),
    "texts": model.encode_texts(labels, processor).tolist(),
}
model.save_pretrained(again)
processor.save_pretrained(again)
result["scores_again"] = scores(again)
print(json.dumps(result))
"""


def build(kind: str) -> tuple[CloobModel, CloobProcessor]:
    tokenizer = tiny_tokenizer()
    torch.manual_seed(0)
    if kind == "clip_towers":
        return CloobModel(tiny_config(text=tokenized_text_config(tokenizer))), tiny_processor(tokenizer)
    text = {"model_type": "bert", **WIDTH, "vocab_size": len(tokenizer), "max_position_embeddings": 77}
    vision = {"model_type": "resnet", "embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]}
    fields = {"contrastive_loss": "sigmoid", "projection_type": "mlp", "text_pooling": "mean"}
    return CloobModel(tiny_config(text, vision | {"layer_type": "basic"}, **fields)), tiny_processor(tokenizer)


@pytest.fixture(scope="module", params=KINDS)
def published(request, tmp_path_factory) -> Path:
    """A trained and saved folder: a few steps make the scores tell the labels apart."""
    folder = tmp_path_factory.mktemp("published") / request.param
    model, processor = build(request.param)
    images = [Image.effect_noise((32, 32), 10 + 40 * index).convert("RGB") for index in range(len(CAPTIONS))]
    inputs = processor(text=CAPTIONS, images=images, padding=True, return_tensors="pt")
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(5):
        model.train()(**inputs, return_loss=True).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def picture(tmp_path_factory) -> str:
    image = Image.new("RGB", (60, 48), "white")
    draw = ImageDraw.Draw(image)
    draw.ellipse((12, 10, 46, 44), fill=(200, 30, 20))
    draw.line((30, 10, 34, 2), fill=(60, 120, 40), width=3)
    path = tmp_path_factory.mktemp("picture") / "apple.png"
    image.save(path)
    return str(path)


def as_dict(scores: list[dict]) -> dict[str, float]:
    return {entry["label"]: entry["score"] for entry in scores}


def test_a_fresh_interpreter_without_the_package_scores_the_same(published, picture, tmp_path):
    command = [
        sys.executable,
        "-I",
        "-c",
        SCRIPT,
        str(published),
        picture,
        str(tmp_path / "again"),
        json.dumps(LABELS),
    ]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["classes"] == ["CloobConfig", "CloobModel", "CloobModel", "CloobProcessor"]
    assert set(result["modules"]) == {"transformers_modules"}
    ours = as_dict(pipeline("zero-shot-image-classification", model=str(published))(picture, candidate_labels=LABELS))
    assert max(ours.values()) - min(ours.values()) > 1e-3, "scores that are all equal prove nothing"
    for scores in (result["scores"], result["scores_again"]):
        assert as_dict(scores) == pytest.approx(ours, abs=1e-5)
    model, processor = CloobModel.from_pretrained(published), CloobProcessor.from_pretrained(published)
    torch.testing.assert_close(torch.tensor(result["texts"]), model.encode_texts(LABELS, processor))
    # What the remote code saved is again a folder of this package, code included.
    again = CloobModel.from_pretrained(tmp_path / "again")
    assert all(torch.equal(again.state_dict()[name], weight) for name, weight in model.state_dict().items())
    saved = {path.name for path in published.glob("*.py")}
    assert {path.name for path in (tmp_path / "again").glob("*.py")} == saved


def test_every_core_module_that_the_model_needs_is_saved_and_none_of_the_rings(published):
    saved = {path.name for path in published.glob("*.py")}
    assert {"configuration_cloob.py", "modeling_cloob.py", "processing_cloob.py", "towers.py"} <= saved
    package = Path(sys.modules["hf_cloob"].__file__).parent
    for name in saved:
        assert (published / name).read_bytes() == (package / name).read_bytes()
    assert not [path for path in published.iterdir() if path.is_dir()]


def test_all_auto_classes_are_recorded(published):
    auto_map = json.loads((published / "config.json").read_text())["auto_map"]
    assert auto_map == {
        "AutoConfig": "configuration_cloob.CloobConfig",
        "AutoModel": "modeling_cloob.CloobModel",
        "AutoModelForZeroShotImageClassification": "modeling_cloob.CloobModel",
    }
    processor = json.loads((published / "processor_config.json").read_text())
    assert processor["auto_map"]["AutoProcessor"] == "processing_cloob.CloobProcessor"


def test_with_the_package_no_remote_code_is_needed(published):
    assert type(AutoConfig.from_pretrained(published)) is CloobConfig
    assert type(AutoModel.from_pretrained(published)) is CloobModel
    assert type(AutoModelForZeroShotImageClassification.from_pretrained(published)) is CloobModel
    processor = AutoProcessor.from_pretrained(published)
    assert type(processor) is CloobProcessor
    assert type(AutoImageProcessor.from_pretrained(published)) is type(processor.image_processor)
    assert AutoTokenizer.from_pretrained(published)(LABELS) == processor.tokenizer(LABELS)


def test_the_pipelines_scores_are_the_softmax_of_the_logits(published, picture):
    scores = pipeline("zero-shot-image-classification", model=str(published))(
        picture, candidate_labels=LABELS, hypothesis_template="{}"
    )
    model, processor = CloobModel.from_pretrained(published), CloobProcessor.from_pretrained(published)
    inputs = processor(text=LABELS, images=Image.open(picture), padding=True, return_tensors="pt")
    with torch.no_grad():
        expected = model(**inputs).logits_per_image[0].softmax(dim=0)
    assert as_dict(scores) == pytest.approx(dict(zip(LABELS, expected.tolist(), strict=True)), abs=1e-6)


def test_batched_pictures_score_as_single_ones(published, picture):
    pipe = pipeline("zero-shot-image-classification", model=str(published))
    pictures = [Image.open(picture), Image.new("RGB", (20, 30), "blue"), Image.open(picture).rotate(90)]
    batched = pipe(pictures, candidate_labels=LABELS, batch_size=3)
    for image, scores in zip(pictures, batched, strict=True):
        assert as_dict(scores) == pytest.approx(as_dict(pipe(image, candidate_labels=LABELS)), abs=1e-5)


def test_a_label_over_the_context_is_one_clear_error(published, picture):
    pipe = pipeline("zero-shot-image-classification", model=str(published))
    with pytest.raises(ValueError, match="tokens a text, the text tower takes at most 77.*a label or its template"):
        pipe(picture, candidate_labels=["a cat", "the sea and a house " * 30])


def test_one_tower_of_a_published_folder_loads(published):
    from hf_cloob import CloobTextModelWithProjection, CloobVisionModelWithProjection

    for cls in (CloobTextModelWithProjection, CloobVisionModelWithProjection):
        _, info = cls.from_pretrained(published, output_loading_info=True)
        assert not info["missing_keys"] and not info["unexpected_keys"]
