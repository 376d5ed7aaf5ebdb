# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The fixed emoji protocol: zero-shot accuracy and retrieval on a drawing style that was never trained on.

Model selection reads the `selection_*` figures only; what is reported are the `test_seen_*` and `test_unseen_*` ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional as F

from ..gap_closing import subtract_offset
from .prompts import EMOJI_TEMPLATES, PromptTemplate, fill_templates
from .retrieval_metrics import recall_at_k
from .zero_shot import build_classifier, zero_shot_metrics

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

ZERO_SHOT_KS = (1, 5)
RETRIEVAL_KS = (1, 5, 10)
EVALUATION_SPLITS = ("selection", "test_seen", "test_unseen")
UNSEEN_SPLIT = "test_unseen"
REQUIRED_COLUMNS = ("image", "captions", "concept", "label")


def evaluate_emoji(
    model: Any,
    processor: Any,
    emoji: DatasetDict,
    templates: Sequence[PromptTemplate] = EMOJI_TEMPLATES[:1],
    batch_size: int = 256,
    splits: Sequence[str] = EVALUATION_SPLITS,
    include_retrieval: bool = True,
    pooled_prompt_states: Callable[[list[str]], torch.Tensor] | None = None,
) -> dict[str, float]:
    """Measures a model on the emoji protocol.

    Zero-shot: every picture is ranked among ALL concepts of the corpus, training ones included; unseen concepts also
    among the unseen alone. Retrieval: within one split, a picture against the captions that name it and no other
    (`captions_of_one_image`). Accuracies and recalls are fractions from 0 to 1; ties count against the model.

    Args:
        model: has `encode_images(images, processor, batch_size)` and `encode_texts(texts, processor)`, both
            returning (n, projection_dim) L2-normalized tensors.
        processor: handed to both.
        emoji: splits with the columns image, captions, concept and label; one picture a concept in each of `splits`.
        templates: prompt templates; the bare label unless others are given.
        batch_size: pictures, or prompts, in one call of the model.
        splits: which to measure; a training loop asks for `("selection",)`.
        include_retrieval: False leaves the recalls out, which saves encoding every caption.
        pooled_prompt_states: for a model with a frozen text tower, whose states a training loop keeps from one
            evaluation to the next: from n of the `emoji_prompts` to its pooled, not projected states (n, width). The
            prompts' embeddings are then l2norm(model.text_projection(states)), and `model.encode_texts` embeds
            captions only. None: it embeds the prompts too.

    Returns:
        For each split `{split}_top1`, `{split}_top5`, `{split}_image_to_text_recall@1` to
        `{split}_text_to_image_recall@10`, `{split}_num_images`, `{split}_num_candidates`, `{split}_num_captions`; for
        the unseen concepts also `test_unseen_among_unseen_top1`, `…_top5` and `…_num_candidates`.

    Raises:
        ValueError: a split or column that is not there, an empty split, two pictures of one concept in a split.
    """
    _check_splits(emoji, splits)
    concepts = concept_labels(emoji)
    class_index = {concept: index for index, concept in enumerate(concepts)}

    def encode_prompts(prompts: list[str]) -> torch.Tensor:
        if pooled_prompt_states is None:
            return model.encode_texts(prompts, processor)
        with torch.no_grad():
            embeds = subtract_offset(model.text_projection(pooled_prompt_states(prompts)), model.text_offset)
            return F.normalize(embeds.float(), dim=-1).cpu()

    class_embeds = build_classifier(encode_prompts, list(concepts.values()), templates, batch_size)
    metrics: dict[str, float] = {}
    for split in splits:
        image_embeds = model.encode_images(list(emoji[split]["image"]), processor, batch_size)
        targets = torch.tensor([class_index[concept] for concept in emoji[split]["concept"]])
        candidate_sets = {split: torch.arange(len(concepts))}
        if split == UNSEEN_SPLIT:
            candidate_sets[f"{split}_among_unseen"] = targets
        for name, candidates in candidate_sets.items():
            scored = zero_shot_metrics(image_embeds, class_embeds, targets, ZERO_SHOT_KS, candidates)
            # One picture a concept: the mean per class would repeat the mean over pictures.
            metrics |= {f"{name}_top{k}": scored[f"top{k}"] for k in ZERO_SHOT_KS}
            metrics[f"{name}_num_candidates"] = len(candidates)
        metrics[f"{split}_num_images"] = len(targets)
        if include_retrieval:
            texts, text_to_image = captions_of_one_image(emoji[split])
            recalls = recall_at_k(image_embeds, model.encode_texts(texts, processor), text_to_image, RETRIEVAL_KS)
            metrics |= {f"{split}_{name}": value for name, value in recalls.items()}
            metrics[f"{split}_num_captions"] = len(texts)
    return metrics


def concept_labels(emoji: DatasetDict) -> dict[str, str]:
    """Maps every concept of all splits to its label, sorted by concept: the classes in their fixed order."""
    pairs = {pair for split in emoji.values() for pair in zip(split["concept"], split["label"], strict=True)}
    labels = dict(sorted(pairs))
    if len(labels) < len(pairs):
        concept, count = Counter(concept for concept, _ in pairs).most_common(1)[0]
        raise ValueError(f"concept {concept!r} has {count} labels in the dataset; a concept has one.")
    return labels


def emoji_prompts(emoji: DatasetDict, templates: Sequence[PromptTemplate] = EMOJI_TEMPLATES[:1]) -> list[str]:
    """Lists the sentences that `evaluate_emoji` embeds for its classes, class by class."""
    filled = fill_templates(list(concept_labels(emoji).values()), templates)
    return [sentence for sentences in filled for sentence in sentences]


def captions_of_one_image(split: Dataset) -> tuple[list[str], torch.Tensor]:
    """Lists the captions that name one picture of a split, for retrieval.

    A tag such as "face" stands with a hundred pictures and cannot point at one of them, so a caption belongs to a
    picture when it is the picture's label, or when no other picture of the split has it (upper and lower case and
    white space aside). Other captions are left out.

    Returns:
        num_texts captions, and (num_texts,) int64 with the row of each one's picture.
    """
    labels = [_normalized(label) for label in split["label"]]
    # A dict drops an image's repeated captions and keeps their order; the label is one of them, always.
    captions = [
        {label: raw} | {_normalized(caption): caption for caption in row}
        for label, raw, row in zip(labels, split["label"], split["captions"], strict=True)
    ]
    users = Counter(key for row in captions for key in row)
    kept = [
        (caption, index)
        for index, row in enumerate(captions)
        for key, caption in row.items()
        if key == labels[index] or users[key] == 1
    ]
    return [caption for caption, _ in kept], torch.tensor([index for _, index in kept])


def _normalized(caption: str) -> str:
    return " ".join(caption.split()).casefold()


def _check_splits(emoji: DatasetDict, splits: Sequence[str]) -> None:
    available = sorted(emoji)
    if isinstance(splits, str) or not splits:
        raise ValueError(f"splits must be a list of some of {available}; got {splits!r}.")
    for split, dataset in emoji.items():
        missing = [column for column in REQUIRED_COLUMNS if column not in dataset.column_names]
        if missing:
            raise ValueError(f"split {split!r} lacks the columns {missing}; it has {dataset.column_names}.")
    for split in splits:
        if split not in emoji:
            raise ValueError(f"splits names {split!r}; the dataset has {available}.")
        if len(emoji[split]) == 0:
            raise ValueError(f"split {split!r} is empty; nothing can be measured.")
        concept, count = Counter(emoji[split]["concept"]).most_common(1)[0]
        if count > 1:
            raise ValueError(
                f"split {split!r} has {count} pictures of concept {concept!r}; "
                "the protocol measures splits with one picture a concept."
            )
