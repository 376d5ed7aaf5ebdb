# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Zero-shot image classification that pays for its labels once."""

from collections import Counter
from collections.abc import Callable, Sequence

import torch
from torch.nn import functional as F
from transformers import ZeroShotImageClassificationPipeline
from transformers.image_utils import load_image

from ..encoding import encode_texts
from ..evaluation.prompts import PromptTemplate
from ..evaluation.zero_shot import build_classifier
from ..text_padding import padded_as_trained

DEFAULT_TEMPLATE = "This is a photo of {}."
# Label sets kept at a time: a thousand labels of 512 dimensions are 2 MB.
MAX_LABEL_SETS = 8
PARAMETERS = ("candidate_labels", "hypothesis_template", "top_k", "truncation", "timeout")


class CloobZeroShotPipeline(ZeroShotImageClassificationPipeline):
    """The stock pipeline's answers, with every label embedded once instead of once an image.

    `pipeline("zero-shot-image-classification", model=folder, pipeline_class=CloobZeroShotPipeline)` takes CLOOB, CLIP
    and SigLIP checkpoints, and other models with `get_image_features`, `get_text_features` and `logit_scale`. Scores
    are the stock pipeline's: a softmax over the labels, or for a model with a bias of the sigmoid loss each label's
    own probability. (For a CLOOB with the sigmoid loss the stock pipeline shows a softmax instead.)

    The label embeddings (of a RECO, refined ones) are kept for later calls with the same labels and templates, at
    most `MAX_LABEL_SETS` sets, and forgotten when the model, a weight in it, or its memory is another one.
    `forget_labels()` does so by hand, for a change that leaves these in place, such as switching an adapter off.
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self._label_embeds: dict[tuple, torch.Tensor] = {}
        self._embedded_by: tuple | None = None

    def __call__(self, image=None, candidate_labels: Sequence[str] | None = None, **kwargs):
        """Assign labels to one image or many.

        Args:
            image: a PIL image, a path or a URL; or a list, a generator or a dataset of them.
            candidate_labels: the labels, each once; may be given to the constructor instead.
            hypothesis_template: a string with one `{}`, a callable from a label to a sentence, or a list of them,
                whose normalized embeddings are averaged and normalized again.
            top_k: number of labels in the answer; all by default.
            truncation: cut sentences that are longer than the context instead of raising.
            batch_size: images in one pass of the vision tower.
            timeout: seconds to wait for an image from the web.

        Returns:
            For each image a list of `{"score": float, "label": str}`, best first.

        Raises:
            ValueError: no image or no label; a label that is blank or repeated; a template without its one `{}`; a
                sentence longer than the context; a top_k below 1; an unknown argument.
        """
        image = kwargs.pop("images", image)
        if image is None:
            raise ValueError("image is missing: pass a PIL image, a path, a URL, or a list of them.")
        if candidate_labels is None and "candidate_labels" not in self._forward_params:
            raise ValueError("candidate_labels is missing: pass the list of labels to choose from.")
        if isinstance(image, list) and not image:
            return []
        return super().__call__(image, candidate_labels, **kwargs)

    def check_model_type(self, supported_models) -> None:
        """Look for what the pipeline calls, not for the model's name: new models and adapters work too.

        Raises:
            ValueError: the model lacks one of these methods.
        """
        needed = ("get_image_features", "get_text_features", "logit_scale")
        missing = [name for name in needed if not hasattr(self.model, name)]
        if missing:
            raise ValueError(
                f"{type(self.model).__name__} has no {', '.join(missing)}: CloobZeroShotPipeline takes dual encoders "
                "such as CloobModel, CLIPModel and SiglipModel."
            )

    def _sanitize_parameters(self, **kwargs) -> tuple[dict, dict, dict]:
        unknown = [name for name in kwargs if name not in PARAMETERS]
        if unknown:
            raise ValueError(f"CloobZeroShotPipeline has no argument {unknown[0]!r}; it has {', '.join(PARAMETERS)}.")
        given = {name: value for name, value in kwargs.items() if value is not None}
        preprocess_params = {"timeout": given["timeout"]} if "timeout" in given else {}
        # Labels and templates must not go through preprocess: what it returns is collated image by image.
        forward_params = {"truncation": given["truncation"]} if "truncation" in given else {}
        postprocess_params = {}
        if "candidate_labels" in given:
            labels = _checked_labels(given["candidate_labels"])
            forward_params["candidate_labels"] = postprocess_params["candidate_labels"] = labels
        if "hypothesis_template" in given:
            forward_params["hypothesis_template"] = _checked_templates(given["hypothesis_template"])
        if "top_k" in given:
            forward_params["top_k"] = _checked_top_k(given["top_k"])
        return preprocess_params, forward_params, postprocess_params

    def preprocess(self, image, timeout: float | None = None):
        """Load and prepare one image."""
        image = load_image(image, timeout=timeout)
        return self.image_processor(images=[image], return_tensors="pt").to(self.dtype)

    def _forward(
        self,
        model_inputs,
        candidate_labels: tuple[str, ...],
        hypothesis_template: tuple[PromptTemplate, ...] = (DEFAULT_TEMPLATE,),
        truncation: bool = False,
        top_k: int | None = None,
    ) -> dict[str, torch.Tensor]:
        label_embeds = self.label_embeds(candidate_labels, hypothesis_template, truncation)
        image_features = self.model.get_image_features(**model_inputs).pooler_output
        image_embeds = F.normalize(image_features.float(), dim=-1)
        logits = self.model.logit_scale.float().exp() * image_embeds @ label_embeds.to(image_embeds.device).T
        bias = _sigmoid_bias(self.model)
        scores = logits.softmax(dim=-1) if bias is None else torch.sigmoid(logits + bias.float())
        # A stable sort instead of topk: equal scores keep the order of the labels, as in the stock pipeline.
        scores, order = scores.sort(dim=-1, descending=True, stable=True)
        return {"scores": scores[:, :top_k], "order": order[:, :top_k]}

    def postprocess(self, model_outputs: dict[str, torch.Tensor], candidate_labels: tuple[str, ...]) -> list[dict]:
        """One image's answer: the labels with their scores, best first."""
        pairs = zip(model_outputs["scores"][0].tolist(), model_outputs["order"][0].tolist(), strict=True)
        return [{"score": score, "label": candidate_labels[index]} for score, index in pairs]

    def label_embeds(
        self,
        candidate_labels: Sequence[str],
        hypothesis_template: PromptTemplate | Sequence[PromptTemplate] = DEFAULT_TEMPLATE,
        truncation: bool = False,
    ) -> torch.Tensor:
        """The classifier (num_classes, projection_dim), rows L2-normalized, embedded now or kept from before.

        label_embeds_c = l2norm( mean_p l2norm(text_features(template_p(label_c))) )

        Args and errors: as in a call of the pipeline.

        Source: CLIP (arXiv 2103.00020, section 3.1.4); CLOOB (arXiv 2110.11316) evaluates the same way.
        """
        labels, templates = _checked_labels(candidate_labels), _checked_templates(hypothesis_template)
        embedded_by = _weights_identity(self.model) + _memory_identity(self.model)
        if embedded_by != self._embedded_by:
            self.forget_labels()
            self._embedded_by = embedded_by
        key = (labels, templates, truncation)
        # Taken out and put back in: the dict stays in the order of use, oldest first.
        embeds = self._label_embeds.pop(key, None)
        if embeds is None:
            embeds = build_classifier(self._encoder_of_texts(truncation), labels, templates)
            embeds = embeds.to(self.device)
        self._label_embeds[key] = embeds
        while len(self._label_embeds) > MAX_LABEL_SETS:
            self._label_embeds.pop(next(iter(self._label_embeds)))
        return embeds

    def forget_labels(self) -> None:
        """Drop all label embeddings; the next call embeds its labels again."""
        self._label_embeds.clear()

    def _encoder_of_texts(self, truncation: bool) -> Callable[[list[str]], torch.Tensor]:
        tokenizer = padded_as_trained(self.model, self.tokenizer)
        return lambda texts: encode_texts(self.model, texts, tokenizer, truncation=truncation)


def _weights_identity(model) -> tuple:
    """What changes when a model is exchanged, moved, trained or loaded anew; a millisecond, nothing is read."""
    return (id(model), *(_tensor_identity(parameter) for parameter in model.parameters()))


def _memory_identity(model) -> tuple:
    """What changes when a RECO's memory is exchanged or edited, or how it is used; empty for other models."""
    if getattr(model, "memory", None) is None:
        return ()
    return id(model.memory), model.memory.version, model.config.num_neighbors, model.config.refine_text


def _tensor_identity(tensor: torch.Tensor) -> tuple[int, int]:
    # Sharded and quantized tensors wrap others and have no address of their own.
    plain = type(tensor) in (torch.Tensor, torch.nn.Parameter)
    # Tensors of inference mode cannot be changed in place outside of it and do not count changes.
    return tensor.data_ptr() if plain else id(tensor), 0 if tensor.is_inference() else tensor._version


def _sigmoid_bias(model) -> torch.Tensor | None:
    """The bias of a model that was trained with the sigmoid loss, by SigLIP's name or by CLOOB's."""
    return getattr(model, "logit_bias", getattr(model, "sigmoid_bias", None))


def _checked_labels(labels: Sequence[str]) -> tuple[str, ...]:
    if isinstance(labels, str):
        raise ValueError(f"candidate_labels must be a list; got the single string {labels!r}. Write [{labels!r}].")
    labels = tuple(labels)
    if not labels:
        raise ValueError("candidate_labels is empty; give at least one label.")
    for index, label in enumerate(labels):
        if not isinstance(label, str) or not label.strip():
            raise ValueError(f"candidate_labels[{index}] is {label!r}; a label is a string that is not blank.")
    if len(set(labels)) < len(labels):
        label, count = Counter(labels).most_common(1)[0]
        raise ValueError(f"candidate_labels names {label!r} {count} times; labels share the score, give each once.")
    return labels


def _checked_templates(templates: PromptTemplate | Sequence[PromptTemplate]) -> tuple[PromptTemplate, ...]:
    templates = (templates,) if isinstance(templates, str) or callable(templates) else tuple(templates)
    if not templates:
        raise ValueError("hypothesis_template is an empty list; give at least one template.")
    for template in templates:
        if not callable(template) and (not isinstance(template, str) or template.count("{}") != 1):
            raise ValueError(
                f"hypothesis_template {template!r} must hold exactly one {{}} for the label, "
                f"for example {DEFAULT_TEMPLATE!r}."
            )
    return templates


def _checked_top_k(top_k: int) -> int:
    if not isinstance(top_k, int) or isinstance(top_k, bool) or top_k < 1:
        raise ValueError(f"top_k must be a whole number from 1 up, or None for all labels; got {top_k!r}.")
    return top_k
