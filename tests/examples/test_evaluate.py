# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""evaluate.py on small data in every layout: its figures are the embeddings' own, whoever computes them."""

import io
import json
import sys
import tarfile
from pathlib import Path

import pytest
import torch
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value
from datasets import Image as ImageFeature
from PIL import Image, ImageDraw
from transformers import CLIPProcessor

from hf_cloob import CloobModel
from hf_cloob.encoding import encode_images, encode_texts
from hf_cloob.evaluation.geometry import modality_gap
from hf_cloob.evaluation.retrieval_metrics import recall_at_k
from hf_cloob.evaluation.zero_shot import build_classifier, zero_shot_metrics
from tests.tiny_models import CAPTIONS, tiny_clip, tiny_config, tiny_processor, tiny_tokenizer, tokenized_text_config

COLORS = {"bright_red": (230, 30, 20), "green": (20, 200, 40), "navy": (10, 20, 120)}
SIZES = {"train": 24, "test": 10}


def picture(color: tuple[int, int, int], number: int) -> Image.Image:
    image = Image.new("RGB", (24, 20), tuple(min(255, part + number) for part in color))
    ImageDraw.Draw(image).rectangle((number % 9, 3, 12 + number % 7, 15), outline="white", width=1 + number % 3)
    return image


def png(image: Image.Image) -> bytes:
    data = io.BytesIO()
    image.save(data, format="PNG")
    return data.getvalue()


def pictures(split: str) -> list[Image.Image]:
    return [picture(color, number) for color in COLORS.values() for number in range(SIZES[split])]


def targets(split: str) -> torch.Tensor:
    return torch.arange(len(COLORS)).repeat_interleave(SIZES[split])


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models") / "cloob"
    CloobModel(tiny_config(text=tokenized_text_config(tiny_tokenizer()))).save_pretrained(folder)
    tiny_processor().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def class_folders(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("class_folders")
    for split, size in SIZES.items():
        for name, color in COLORS.items():
            (folder / split / name).mkdir(parents=True)
            for number in range(size):
                picture(color, number).save(folder / split / name / f"{number:03}.png")
    return folder


@pytest.fixture
def evaluated(evaluate_script, fresh_accelerate, monkeypatch, tmp_path):
    """Run evaluate.py's main in this process and read the metrics.json that it leaves."""

    def run(checkpoint: Path, **flags) -> dict:
        places = {"output_dir": tmp_path / "out", "cache_dir": tmp_path / "cache"}
        flags = places | {"num_workers": 0, "pictures": False} | flags
        line = [part for name, value in flags.items() for part in (f"--{name}", str(value))]
        monkeypatch.setattr(sys, "argv", ["evaluate.py", str(checkpoint), *line])
        evaluate_script.main()
        return json.loads((Path(flags["output_dir"]) / "metrics.json").read_text())

    return run


@pytest.fixture
def mistake(evaluated):
    def run(checkpoint: Path, **flags) -> str:
        with pytest.raises(SystemExit) as stop:
            evaluated(checkpoint, **flags)
        assert "\n" not in str(stop.value)
        return str(stop.value).removeprefix("evaluate.py: ")

    return run


def expected_zero_shot(folder: Path, names: list[str], templates: list[str]) -> dict:
    model, processor = CloobModel.from_pretrained(folder), tiny_processor()
    images = encode_images(model, pictures("test"), processor)
    classes = build_classifier(lambda texts: encode_texts(model, texts, processor), names, templates)
    found = zero_shot_metrics(images, classes, targets("test"))
    return {f"zero_shot_{name}": value for name, value in found.items()} | {
        "modality_gap": pytest.approx(modality_gap(images, classes), abs=1e-6)
    }


def test_class_folders_are_classified_and_probed(evaluated, checkpoint, class_folders):
    found = evaluated(checkpoint, suite="classification", dataset_name=class_folders, train_split="train")
    wanted = expected_zero_shot(checkpoint, ["bright red", "green", "navy"], ["a photo of a {}."])
    assert {name: found[name] for name in wanted} == wanted
    counts = {"num_images": 30, "num_classes": 3, "num_templates": 1, "skipped_images": 0}
    assert {name: found[name] for name in counts} == counts
    # Even random towers keep colors apart.
    assert found["linear_probe_top1"] > 0.9 and found["knn_top1"] > 0.9
    assert found["linear_probe_mean_per_class_top1"] == pytest.approx(found["linear_probe_top1"])


def test_flags_and_pictures_lie_beside_the_figures(evaluated, checkpoint, class_folders, tmp_path):
    flags = {"suite": "classification", "dataset_name": class_folders}
    found = evaluated(checkpoint, **flags, pictures=True)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"metrics.json", "arguments.json", "contact_sheet.png", "confusion.png"}
    recorded = json.loads((tmp_path / "out" / "arguments.json").read_text())
    assert recorded["checkpoint"] == [str(checkpoint)] and recorded["suite"] == "classification"
    # Into the same folder, where no picture of another evaluation may stay.
    assert evaluated(checkpoint, **flags) == found
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"metrics.json", "arguments.json"}


def test_a_second_evaluation_reads_the_embeddings_and_repeats_the_figures(
    evaluated, checkpoint, class_folders, tmp_path, monkeypatch
):
    flags = {"suite": "classification", "dataset_name": class_folders, "train_split": "train"}
    first = evaluated(checkpoint, **flags)
    assert len(list((tmp_path / "cache").iterdir())) == 3

    def no_pass(*args, **kwargs):
        raise AssertionError("The embeddings were computed again.")

    monkeypatch.setattr(CloobModel, "get_image_features", no_pass)
    monkeypatch.setattr(CloobModel, "get_text_features", no_pass)
    assert evaluated(checkpoint, **flags) == first
    with pytest.raises(AssertionError, match="computed again"):
        evaluated(checkpoint, **flags, cache_embeddings=False)


def test_a_suite_folder_brings_names_and_templates(evaluated, checkpoint, class_folders, tmp_path):
    (tmp_path / "suite").mkdir()
    names, templates = ["bright red", "green", "navy"], ["the sea is {}", "{}", "a {} house"]
    (tmp_path / "suite" / "classnames.txt").write_text("\n".join(names))
    lines = "\n".join(template.replace("{}", "{c}") for template in templates)
    (tmp_path / "suite" / "zeroshot_classification_templates.txt").write_text(lines)
    flags = {"suite": "classification", "dataset_name": class_folders, "suite_folder": tmp_path / "suite"}
    found = evaluated(checkpoint, **flags)
    wanted = expected_zero_shot(checkpoint, names, templates)
    assert {name: found[name] for name in wanted} == wanted
    assert found["num_templates"] == 3 and "knn_top1" not in found


def test_a_table_with_class_labels_and_a_broken_image(evaluated, checkpoint, tmp_path):
    rows = [{"bytes": png(image), "path": None} for image in pictures("test")]
    rows[4] = {"bytes": b"no picture", "path": None}
    features = Features(image=ImageFeature(), label=ClassLabel(names=list(COLORS)))
    table = Dataset.from_dict({"image": rows, "label": targets("test").tolist()}, features)
    DatasetDict(test=table).save_to_disk(tmp_path / "table")
    found = evaluated(checkpoint, suite="classification", dataset_name=tmp_path / "table")
    assert (found["num_images"], found["skipped_images"]) == (29, 1)
    model, processor = CloobModel.from_pretrained(checkpoint), tiny_processor()
    kept = [index for index in range(30) if index != 4]
    images = encode_images(model, [pictures("test")[index] for index in kept], processor)
    names = ["bright red", "green", "navy"]
    classes = build_classifier(lambda texts: encode_texts(model, texts, processor), names, ["a photo of a {}."])
    assert found["zero_shot_top1"] == zero_shot_metrics(images, classes, targets("test")[kept])["top1"]


def test_webdataset_shards_with_a_standard_suites_name(evaluated, checkpoint, tmp_path):
    folder = tmp_path / "cifar10"
    (folder / "test").mkdir(parents=True)
    names = ["bright red", "green", "navy"]
    (folder / "classnames.txt").write_text("\n".join(names))
    (folder / "zeroshot_classification_templates.txt").write_text("a photo of a {c}.")
    with tarfile.open(folder / "test" / "0.tar", "w") as archive:
        for index, (image, target) in enumerate(zip(pictures("test"), targets("test").tolist(), strict=True)):
            for suffix, content in (("png", png(image)), ("cls", str(target).encode())):
                member = tarfile.TarInfo(f"s{index:04}.{suffix}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    wanted = expected_zero_shot(checkpoint, names, ["a photo of a {}."])
    for suite in ("classification", "cifar10"):
        found = evaluated(checkpoint, suite=suite, dataset_name=folder)
        assert {name: found[name] for name in wanted} == wanted


def test_retrieval_with_several_captions_an_image(evaluated, checkpoint, tmp_path):
    captions = [[f"{CAPTIONS[index % 5]} {index}", f"number {index}"][: 1 + index % 2] for index in range(30)]
    rows = [{"bytes": png(image), "path": None} for image in pictures("test")]
    features = Features(image=ImageFeature(), caption=List(Value("string")))
    Dataset.from_dict({"image": rows, "caption": captions}, features).to_parquet(tmp_path / "pairs" / "test.parquet")
    found = evaluated(checkpoint, suite="retrieval", dataset_name=tmp_path / "pairs")
    model, processor = CloobModel.from_pretrained(checkpoint), tiny_processor()
    texts = [text for own in captions for text in own]
    owners = torch.tensor([index for index, own in enumerate(captions) for _ in own])
    images, text_embeds = encode_images(model, pictures("test"), processor), encode_texts(model, texts, processor)
    wanted = recall_at_k(images, text_embeds, owners)
    assert {name: found[name] for name in wanted} == wanted
    assert (found["num_images"], found["num_captions"], found["skipped_images"]) == (30, 45, 0)
    assert found["modality_gap"] == pytest.approx(modality_gap(images, text_embeds), abs=1e-6)


def test_a_clip_checkpoint_is_evaluated_alike(evaluated, class_folders, tmp_path):
    processor = tiny_processor()
    clip = tiny_clip()
    text = tokenized_text_config(processor.tokenizer)
    config = clip.config.to_dict() | {"text_config": text}
    clip = type(clip)(type(clip.config).from_dict(config)).eval()
    clip.save_pretrained(tmp_path / "clip")
    CLIPProcessor(processor.image_processor, processor.tokenizer).save_pretrained(tmp_path / "clip")
    found = evaluated(tmp_path / "clip", suite="classification", dataset_name=class_folders)
    images = encode_images(clip, pictures("test"), processor)
    names, templates = ["bright red", "green", "navy"], ["a photo of a {}."]
    classes = build_classifier(lambda texts: encode_texts(clip, texts, processor), names, templates)
    wanted = zero_shot_metrics(images, classes, targets("test"))
    assert found["zero_shot_top1"] == wanted["top1"]
    assert found["modality_gap"] == pytest.approx(modality_gap(images, classes), abs=1e-6)


def test_a_mistake_is_named_in_one_line(mistake, checkpoint, class_folders, tmp_path):
    assert "suite must be one of emoji, classification, retrieval, geometry, arithmetic, birdsnap" in mistake(
        checkpoint, suite="imagenett"
    )
    assert mistake(checkpoint, suite="imagenet") == "suite imagenet needs --dataset_name, a Hub dataset or a folder"
    assert "does not go with suite emoji" in mistake(checkpoint, dataset_name=class_folders)
    assert "dtype must be float32, bfloat16 or float16, got 'int8'" in mistake(checkpoint, dtype="int8")
    assert "batch_size must be at least 1, got 0" in mistake(checkpoint, batch_size=0)
    flags = {"suite": "classification", "dataset_name": class_folders}
    assert mistake(tmp_path / "nowhere", **flags).startswith(f"checkpoint '{tmp_path / 'nowhere'}': ")
    assert "train_split" in mistake(checkpoint, **flags, train_split="training")
    wrong = {"suite": "cifar10", "dataset_name": class_folders}
    assert "classes of" in mistake(checkpoint, **wrong)


@pytest.mark.slow
def test_two_processes_write_the_metrics_of_one_to_the_last_digit(command, checkpoint, class_folders, tmp_path):
    flags = ["--suite", "classification", "--dataset_name", class_folders, "--train_split", "train", "--batch_size", 4]
    for number in (1, 2):
        launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(number))
        places = ["--output_dir", tmp_path / f"out{number}", "--cache_dir", tmp_path / f"cache{number}"]
        result = command("evaluate.py", checkpoint, *flags, *places, launcher=launcher)
        assert result.returncode == 0, result.stderr
    assert (tmp_path / "out1" / "metrics.json").read_bytes() == (tmp_path / "out2" / "metrics.json").read_bytes()
    # Two processes took part: of 18 batches and more, each embedded its half and wrote once.
    names = [sorted(path.name for path in (tmp_path / f"cache{number}").iterdir()) for number in (1, 2)]
    assert names[0] == names[1] and len(names[0]) == 3
    for name in names[0]:
        one, two = ((tmp_path / f"cache{number}" / name).read_bytes() for number in (1, 2))
        assert one == two


@pytest.mark.slow
def test_the_emoji_suite_repeats_what_pretraining_measured(command, finished, tmp_path):
    # The short run of the fixture trains on its own pairs: its folder is what is evaluated here.
    result = command("evaluate.py", finished, "--output_dir", tmp_path / "out", "--cache_dir", tmp_path / "cache")
    assert result.returncode == 0, result.stderr
    found = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert found["test_seen_num_candidates"] == 1586 and found["test_unseen_num_images"] == 250
    assert 0 <= found["test_seen_top1"] <= found["test_seen_top5"] <= 1
    assert found["test_seen_group_knn_top1"] > 0.2
