# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""CloobZeroShotPipeline against the stock pipeline, on CLOOB, CLIP and SigLIP models and drawn pictures."""

import subprocess
import sys
from contextlib import contextmanager

import pytest
import torch
from PIL import Image, ImageDraw
from torch.nn import functional as F
from transformers import (
    AutoConfig,
    CLIPModel,
    SiglipConfig,
    SiglipImageProcessor,
    SiglipModel,
    ZeroShotImageClassificationPipeline,
    pipeline,
)

import hf_cloob
from hf_cloob import CloobModel
from hf_cloob.hub.pipelines import MAX_LABEL_SETS, CloobZeroShotPipeline
from tests.tiny_models import CLIP_VISION, tiny_config, tiny_processor, tiny_tokenizer, tokenized_text_config

LABELS = ["a cat", "two dogs", "the sea", "a small house with a blue door", "an apple", "a tree"]
TEMPLATES = ["a photo of {}.", "{}", "a drawing of {} on a table"]
FAMILIES = ("cloob", "sigmoid", "clip", "siglip")


def pictures(number: int = 5) -> list[Image.Image]:
    images = []
    for index in range(number):
        image = Image.new("RGB", (40 + 7 * index, 36), (20 * index, 90, 255 - 30 * index))
        drawing = ImageDraw.Draw(image)
        drawing.ellipse((4 + index, 5, 25, 30 - index), fill=(250, 40 * index % 255, 30))
        drawing.line((0, 0, 30, 10 + 5 * index), fill="white", width=3)
        images.append(image)
    return images


def build_model(family: str):
    """A tiny random model whose embeddings spread, so that wrong scores cannot hide behind equal ones."""
    torch.manual_seed(3)
    text = tokenized_text_config(tiny_tokenizer(64 if family == "siglip" else 77))
    if family in ("cloob", "sigmoid"):
        loss = {"contrastive_loss": "sigmoid"} if family == "sigmoid" else {}
        model = CloobModel(tiny_config(text=text, **loss))
    elif family == "clip":
        configs = {"text_config": text, "vision_config": CLIP_VISION}
        model = CLIPModel(AutoConfig.for_model("clip", **configs, projection_dim=16))
    else:
        vision = {key: value for key, value in CLIP_VISION.items() if key != "model_type"}
        text = {key: value for key, value in text.items() if key != "model_type"} | {"projection_size": 32}
        model = SiglipModel(SiglipConfig(text_config=text, vision_config=vision))
        torch.nn.init.constant_(model.logit_scale, 2.0)
        torch.nn.init.constant_(model.logit_bias, -1.5)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(3)
    return model.eval()


def build_pipelines(family: str) -> tuple[CloobZeroShotPipeline, ZeroShotImageClassificationPipeline]:
    model = build_model(family)
    processor = tiny_processor(tiny_tokenizer(64 if family == "siglip" else 77))
    size = {"height": 16, "width": 16}
    image_processor = SiglipImageProcessor(size=size) if family == "siglip" else processor.image_processor
    parts = {"model": model, "tokenizer": processor.tokenizer, "image_processor": image_processor, "device": "cpu"}
    task = "zero-shot-image-classification"
    return pipeline(task, pipeline_class=CloobZeroShotPipeline, **parts), pipeline(task, **parts)


@contextmanager
def counted(model):
    """Rows that the text and the image tower are given."""
    rows = {"text": 0, "image": 0}

    def count(side):
        def hook(module, args, kwargs, output):
            tensor = kwargs.get("input_ids" if side == "text" else "pixel_values", args[0] if args else None)
            rows[side] += len(tensor)

        return hook

    hooks = [
        model.text_model.register_forward_hook(count("text"), with_kwargs=True),
        model.vision_model.register_forward_hook(count("image"), with_kwargs=True),
    ]
    yield rows
    for hook in hooks:
        hook.remove()


def assert_same_answers(answers: list[list[dict]], expected: list[list[dict]]) -> None:
    assert len(answers) == len(expected)
    for answer, wanted in zip(answers, expected, strict=True):
        assert [result["label"] for result in answer] == [result["label"] for result in wanted]
        scores = torch.tensor([result["score"] for result in answer])
        assert torch.allclose(scores, torch.tensor([result["score"] for result in wanted]), rtol=0, atol=1e-5)
        assert scores.unique().numel() > 1


@pytest.mark.parametrize("family", ["cloob", "clip", "siglip"])
@pytest.mark.parametrize("batch_size", [1, 2])
def test_scores_and_order_equal_the_stock_pipelines(family, batch_size):
    ours, stock = build_pipelines(family)
    arguments = {"candidate_labels": LABELS, "hypothesis_template": "a photo of {} here", "batch_size": batch_size}
    assert_same_answers(ours(pictures(), **arguments), stock(pictures(), **arguments))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_default_template_and_a_single_image_equal_the_stock_pipelines(family):
    ours, stock = build_pipelines(family)
    image = pictures(1)[0]
    answer, wanted = ours(image, candidate_labels=LABELS), stock(image, candidate_labels=LABELS)
    if family == "sigmoid":  # The stock pipeline takes the softmax for every model that is not called siglip.
        assert [result["label"] for result in answer] == [result["label"] for result in wanted]
    else:
        assert_same_answers([answer], [wanted])


def test_a_sigmoid_cloob_gives_each_label_its_own_probability():
    ours, _ = build_pipelines("sigmoid")
    processor = tiny_processor()
    images = ours.model.encode_images(pictures(), processor)
    texts = ours.model.encode_texts(LABELS, processor)
    wanted = torch.sigmoid(ours.model.logit_scale.exp() * images @ texts.T + ours.model.sigmoid_bias)
    for row, answer in zip(wanted, ours(pictures(), LABELS, hypothesis_template="{}"), strict=True):
        scores = {result["label"]: result["score"] for result in answer}
        assert torch.allclose(torch.tensor([scores[label] for label in LABELS]), row, rtol=0, atol=1e-6)


def test_a_saved_folder_works_as_the_documentation_writes_it(tmp_path):
    build_model("cloob").save_pretrained(tmp_path / "model")
    tiny_processor().save_pretrained(tmp_path / "model")
    folder, task = str(tmp_path / "model"), "zero-shot-image-classification"
    ours = pipeline(task, model=folder, pipeline_class=hf_cloob.CloobZeroShotPipeline, device="cpu")
    stock = pipeline(task, model=folder, device="cpu")
    arguments = {"candidate_labels": LABELS, "batch_size": 32}
    assert_same_answers(ours(pictures(), **arguments), stock(pictures(), **arguments))
    answers = ours(pictures(), hypothesis_template=TEMPLATES, top_k=5, **arguments)
    assert [len(answer) for answer in answers] == [5] * 5


@pytest.mark.parametrize("family", FAMILIES)
def test_labels_are_embedded_once_for_all_images_and_calls(family):
    ours, stock = build_pipelines(family)
    with counted(ours.model) as rows:
        ours(pictures(4), candidate_labels=LABELS)
        assert rows == {"text": len(LABELS), "image": 4}
        ours(pictures(3), candidate_labels=LABELS, batch_size=2, top_k=2)
        ours(pictures(1)[0], candidate_labels=list(LABELS))
        assert rows == {"text": len(LABELS), "image": 8}
    with counted(stock.model) as rows:
        stock(pictures(4), candidate_labels=LABELS)
        assert rows == {"text": 4 * len(LABELS), "image": 4}


def test_other_labels_templates_or_weights_are_embedded_anew():
    ours, _ = build_pipelines("clip")
    model, image = ours.model, pictures(1)[0]
    with counted(model) as rows:

        def embedded(labels=LABELS, template="{}"):
            before = rows["text"]
            ours(image, candidate_labels=labels, hypothesis_template=template)
            return rows["text"] - before

        assert [embedded(), embedded()] == [6, 0]
        assert [embedded(LABELS[:2]), embedded(LABELS[::-1]), embedded(template="the {}")] == [2, 6, 6]
        assert [embedded(), embedded(LABELS[:2]), embedded(template="the {}")] == [0, 0, 0]
        with torch.no_grad():
            model.text_projection.weight.mul_(0.5)
        assert [embedded(), embedded()] == [6, 0]
        model.text_projection.weight.data = model.text_projection.weight.data + 1.0
        assert [embedded(), embedded()] == [6, 0]
        model.text_projection.weight = torch.nn.Parameter(model.text_projection.weight.detach().clone())
        assert [embedded(), embedded()] == [6, 0]
        model.load_state_dict(build_model("clip").state_dict())
        assert [embedded(), embedded()] == [6, 0]
        ours.forget_labels()
        assert [embedded(), embedded()] == [6, 0]


def test_a_changed_model_changes_the_answers():
    ours, stock = build_pipelines("cloob")
    arguments = {"candidate_labels": LABELS, "hypothesis_template": "{}"}
    before = ours(pictures(), **arguments)
    torch.manual_seed(9)
    other = CloobModel(ours.model.config).eval()
    with torch.no_grad():
        other.text_projection.weight.mul_(5)
    ours.model = stock.model = other
    assert_same_answers(ours(pictures(), **arguments), stock(pictures(), **arguments))
    assert ours(pictures(), **arguments) != before


def test_only_the_last_used_label_sets_are_kept():
    ours, _ = build_pipelines("clip")
    image = pictures(1)[0]
    for index in range(MAX_LABEL_SETS):
        ours(image, candidate_labels=[f"label {index}"])
    ours(image, candidate_labels=["label 0"])
    with counted(ours.model) as rows:
        ours(image, candidate_labels=["one more"])
        ours(image, candidate_labels=["label 0"])
        assert rows["text"] == 1
        ours(image, candidate_labels=["label 1"])
        assert rows["text"] == 2
    assert len(ours._label_embeds) == MAX_LABEL_SETS


@pytest.mark.parametrize("family", FAMILIES)
def test_several_templates_are_averaged_and_normalized_again(family):
    ours, stock = build_pipelines(family)
    model, tokenizer = ours.model, ours.tokenizer
    padding = {"padding": "max_length", "max_length": 64} if family == "siglip" else {"padding": True}
    with torch.no_grad():
        of_templates = [
            F.normalize(
                model.get_text_features(
                    **tokenizer([template.format(label) for label in LABELS], return_tensors="pt", **padding)
                ).pooler_output,
                dim=-1,
            )
            for template in TEMPLATES
        ]
    wanted = F.normalize(torch.stack(of_templates).mean(dim=0), dim=-1)
    assert torch.allclose(ours.label_embeds(LABELS, TEMPLATES), wanted, rtol=0, atol=1e-6)
    assert not torch.allclose(ours.label_embeds(LABELS, TEMPLATES[0]), wanted, rtol=0, atol=1e-4)

    with torch.no_grad():
        pixels = ours.image_processor(images=pictures(), return_tensors="pt")["pixel_values"]
        logits = F.normalize(model.get_image_features(pixels).pooler_output, dim=-1) @ wanted.T
        logits = logits * model.logit_scale.exp()
        scores = (
            torch.sigmoid(logits + getattr(model, "logit_bias", getattr(model, "sigmoid_bias", None)))
            if family.startswith("sig")
            else logits.softmax(dim=-1)
        )
    for batch_size in (1, 3):
        answers = ours(pictures(), LABELS, hypothesis_template=TEMPLATES, batch_size=batch_size)
        for row, answer in zip(scores, answers, strict=True):
            found = {result["label"]: result["score"] for result in answer}
            assert torch.allclose(torch.tensor([found[label] for label in LABELS]), row, rtol=0, atol=1e-5)


def test_a_template_may_be_a_callable():
    ours, _ = build_pipelines("clip")
    by_function = ours.label_embeds(LABELS, lambda label: f"the {label}!")
    assert torch.equal(by_function, ours.label_embeds(LABELS, "the {}!"))


def test_top_k_is_the_head_of_the_whole_answer():
    ours, _ = build_pipelines("clip")
    whole = ours(pictures(), candidate_labels=LABELS)
    assert ours(pictures(), candidate_labels=LABELS, top_k=2) == [answer[:2] for answer in whole]
    assert ours(pictures(), candidate_labels=LABELS, top_k=50) == whole
    scores = [result["score"] for result in whole[0]]
    assert scores == sorted(scores, reverse=True) and sum(scores) == pytest.approx(1.0)


def test_generators_paths_and_constructor_arguments_work(tmp_path):
    ours, _ = build_pipelines("clip")
    whole = ours(pictures(), candidate_labels=LABELS, top_k=3)
    assert_same_answers(list(ours((image for image in pictures()), LABELS, top_k=3, batch_size=2)), whole)
    pictures()[2].save(tmp_path / "picture.png")
    assert ours(str(tmp_path / "picture.png"), candidate_labels=LABELS, top_k=3) == whole[2]
    preset = CloobZeroShotPipeline(
        model=ours.model,
        tokenizer=ours.tokenizer,
        image_processor=ours.image_processor,
        device="cpu",
        candidate_labels=LABELS,
        top_k=3,
    )
    assert preset(pictures()) == whole
    assert [len(answer) for answer in preset(pictures(), ["the sea", "a tree"])] == [2] * 5
    assert ours([], candidate_labels=LABELS) == []


def test_labels_are_embedded_in_evaluation_mode():
    ours, _ = build_pipelines("clip")
    wanted = ours.label_embeds(LABELS)
    ours.forget_labels()
    ours.model.train()
    assert torch.equal(ours.label_embeds(LABELS), wanted) and ours.model.training


def test_half_precision_scores_are_close_and_finite():
    ours, _ = build_pipelines("cloob")
    wanted = ours(pictures(), candidate_labels=LABELS)
    ours.model.to(torch.bfloat16)
    for answer, full in zip(ours(pictures(), candidate_labels=LABELS), wanted, strict=True):
        by_label = {result["label"]: result["score"] for result in full}
        assert all(abs(result["score"] - by_label[result["label"]]) < 0.2 for result in answer)
        assert sum(result["score"] for result in answer) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "candidate_labels is missing"),
        ({"candidate_labels": []}, "candidate_labels is empty"),
        ({"candidate_labels": "a cat"}, "single string 'a cat'"),
        ({"candidate_labels": ["a cat", " "]}, r"candidate_labels\[1\] is ' '"),
        ({"candidate_labels": ["a cat", 7]}, r"candidate_labels\[1\] is 7"),
        ({"candidate_labels": ["a cat", "a dog", "a cat"]}, "'a cat' 2 times"),
        ({"candidate_labels": LABELS, "hypothesis_template": "a photo"}, "'a photo' must hold exactly one {}"),
        ({"candidate_labels": LABELS, "hypothesis_template": ["{}", "{} {}"]}, "'{} {}' must hold exactly one"),
        ({"candidate_labels": LABELS, "hypothesis_template": []}, "empty list"),
        ({"candidate_labels": LABELS, "top_k": 0}, "top_k must be a whole number from 1 up.*got 0"),
        ({"candidate_labels": LABELS, "topk": 3}, "no argument 'topk'"),
        ({"candidate_labels": ["a cat", "cat " * 90]}, "'This is a photo of cat cat.*takes at most 77"),
    ],
)
def test_a_mistake_is_named(arguments, message):
    ours, _ = build_pipelines("clip")
    with pytest.raises(ValueError, match=message):
        ours(pictures(2), **arguments)


def test_a_missing_image_and_a_model_of_another_kind_are_named():
    ours, _ = build_pipelines("clip")
    with pytest.raises(ValueError, match="image is missing"):
        ours(candidate_labels=LABELS)
    parts = {"tokenizer": ours.tokenizer, "image_processor": ours.image_processor, "device": "cpu"}
    with pytest.raises(ValueError, match="CLIPVisionTransformer has no get_image_features|CLIP.* has no get_image"):
        CloobZeroShotPipeline(model=ours.model.vision_model, **parts)


@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_truncation_cuts_what_is_longer_than_the_context(family):
    ours, stock = build_pipelines(family)
    long = ["a cat", "two dogs run " * 40]
    with pytest.raises(ValueError, match="truncation=True"):
        ours(pictures(2), long)
    answers = ours(pictures(2), long, truncation=True)
    if family == "siglip":  # The stock pipeline always truncates for SigLIP.
        assert_same_answers(answers, stock(pictures(2), candidate_labels=long))
    assert [len(answer) for answer in answers] == [2, 2]


def test_the_package_loads_the_pipeline_only_when_asked():
    code = (
        "import sys, hf_cloob\n"
        "assert 'CloobZeroShotPipeline' in dir(hf_cloob)\n"
        "assert not any(name.startswith('hf_cloob.hub') for name in sys.modules)\n"
        "from hf_cloob import CloobZeroShotPipeline\n"
        "assert 'hf_cloob.hub.pipelines' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="no attribute 'CloobPipeline'"):
        _ = hf_cloob.CloobPipeline
