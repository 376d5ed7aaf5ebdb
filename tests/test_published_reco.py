# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""A published RECO folder, memory included, in a fresh interpreter with torch and transformers alone."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image, ImageDraw
from tiny_reco import SIGLIP_CONTEXT, random_memory, save_base, stir, tiny_base_processor
from transformers import AutoModel, pipeline

from hf_cloob import RecoForZeroShot

LABELS = ["a red apple", "the sea", "two dogs that run", "a small house with a blue door and a tree"]
FAMILIES = ("clip", "cloob", "siglip")
# What a user without this package has not: the package, and what only it brings along.
SCRIPT = """
import json, sys
for name in ("hf_cloob", "datasets", "pyarrow", "pyarrow.parquet", "accelerate", "faiss", "pandas"):
    sys.modules[name] = None
from transformers import AutoConfig, AutoModel, AutoModelForZeroShotImageClassification, AutoTokenizer, pipeline
from transformers.models.auto.image_processing_auto import AutoImageProcessor
labels, picture = json.loads(sys.argv[1]), sys.argv[2]
trust = {"trust_remote_code": True}
scores = lambda at: pipeline("zero-shot-image-classification", model=at, **trust)(picture, candidate_labels=labels)
results = {}
for folder in sys.argv[3:]:
    config = AutoConfig.from_pretrained(folder, **trust)
    model = AutoModel.from_pretrained(folder, **trust)
    zero_shot = AutoModelForZeroShotImageClassification.from_pretrained(folder, **trust)
    again = folder + "_again"
    model.save_pretrained(again, save_memory=True)
    AutoTokenizer.from_pretrained(folder, **trust).save_pretrained(again)
    AutoImageProcessor.from_pretrained(folder, **trust).save_pretrained(again)
    ids = model.memory.add(-model.memory.image_embeds[:1], model.memory.text_embeds[:1])
    model.memory.remove(ids)
    results[folder] = {
        "classes": [type(part).__name__ for part in (config, model, zero_shot, model.base)],
        "modules": [type(part).__module__.split(".")[0] for part in (config, model, model.memory)],
        "entries": [len(model.memory), len(zero_shot.memory)],
        "scores": scores(folder),
        "scores_again": scores(again),
    }
print(json.dumps(results))
"""


@pytest.fixture(scope="module")
def picture(tmp_path_factory) -> str:
    image = Image.new("RGB", (60, 48), "white")
    ImageDraw.Draw(image).ellipse((12, 10, 46, 44), fill=(200, 30, 20))
    path = tmp_path_factory.mktemp("picture") / "apple.png"
    image.save(path)
    return str(path)


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> dict[str, Path]:
    """A folder of each family with weights, code, memory and processor."""
    folder = tmp_path_factory.mktemp("published")
    paths = {family: folder / f"reco_{family}" for family in FAMILIES}
    for family, path in paths.items():
        readout = {"readout_weight_init_value": 1.0, "readout_null_score_init_value": 0.2}
        model = stir(RecoForZeroShot.from_base(save_base(family, folder), num_neighbors=3, **readout))
        model.set_memory(random_memory(40, model.config.projection_dim))
        model.save_pretrained(path, save_memory=True)
        tiny_base_processor(family).save_pretrained(path)
    return paths


def as_dict(scores: list[dict]) -> dict[str, float]:
    return {entry["label"]: entry["score"] for entry in scores}


def test_a_fresh_interpreter_without_the_package_scores_the_same(published, picture, tmp_path):
    folders = [str(path) for path in published.values()]
    command = [sys.executable, "-I", "-c", SCRIPT, json.dumps(LABELS), picture, *folders]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    results = json.loads(done.stdout.splitlines()[-1])
    names = {"clip": "CLIPModel", "cloob": "CloobModel", "siglip": "SiglipModel"}
    for family, path in published.items():
        result = results[str(path)]
        assert result["classes"] == ["RecoConfig", "RecoForZeroShot", "RecoForZeroShot", names[family]]
        assert set(result["modules"]) == {"transformers_modules"} and result["entries"] == [40, 40]
        ours = as_dict(pipeline("zero-shot-image-classification", model=str(path))(picture, candidate_labels=LABELS))
        assert max(ours.values()) - min(ours.values()) > 1e-3, "scores that are all equal prove nothing"
        for scores in (result["scores"], result["scores_again"]):
            assert as_dict(scores) == pytest.approx(ours, abs=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_stock_pipeline_uses_the_memory(family, published, picture):
    scores = as_dict(
        pipeline("zero-shot-image-classification", model=str(published[family]))(
            picture, candidate_labels=LABELS, hypothesis_template="{}"
        )
    )
    model, processor = RecoForZeroShot.from_pretrained(published[family]), tiny_base_processor(family)
    # As SigLIP was trained; the pipeline pads to the longest label.
    padding = {"padding": "max_length", "max_length": SIGLIP_CONTEXT} if family == "siglip" else {"padding": True}
    inputs = processor(text=LABELS, images=Image.open(picture).convert("RGB"), return_tensors="pt", **padding)
    with torch.no_grad():
        expected = model(**inputs).logits_per_image[0].softmax(dim=0)
        plain = model.base(**inputs).logits_per_image[0].softmax(dim=0)
    assert scores == pytest.approx(dict(zip(LABELS, expected.tolist(), strict=True)), abs=1e-5)
    assert (expected - plain).abs().max() > 1e-3


def test_the_code_is_saved_flat_and_as_it_is(published):
    package = Path(sys.modules["hf_cloob"].__file__).parent
    saved = {path.name for path in published["clip"].glob("*.py")}
    needed = {"configuration_reco.py", "modeling_reco.py", "reco_memory.py", "configuration_cloob.py"}
    assert needed <= saved and not [path for path in published["clip"].iterdir() if path.is_dir()]
    for name in saved:
        assert (published["clip"] / name).read_bytes() == (package / name).read_bytes()
    auto_map = json.loads((published["clip"] / "config.json").read_text())["auto_map"]
    assert auto_map == {
        "AutoConfig": "configuration_reco.RecoConfig",
        "AutoModel": "modeling_reco.RecoForZeroShot",
        "AutoModelForZeroShotImageClassification": "modeling_reco.RecoForZeroShot",
    }


def test_a_missing_memory_stops_remote_code_too(published, tmp_path):
    folder = shutil.copytree(published["clip"], tmp_path / "copy")
    (folder / "memory.safetensors").unlink()
    with pytest.raises(ValueError, match="announces a memory of 40 entries"):
        AutoModel.from_pretrained(folder, trust_remote_code=True)
