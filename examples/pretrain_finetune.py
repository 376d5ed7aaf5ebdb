# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What a run that starts from a checkpoint is measured on: the new task, and what the checkpoint knew before.

Both have a selection part, on which checkpoints and interpolations are chosen, and a test part, which is reported.
Metrics of the new task begin with selection_ and test_, those of the known one with known_selection_ and known_test_.
"""

import hashlib
from collections.abc import Callable
from types import SimpleNamespace

from command_line import UserError
from pretrain_data import build_data, caption_recalls, of_families, readable
from pretrain_stream import is_streamed

# The emoji protocol's selection and test parts, as the known task's.
KNOWN_EMOJI = {"selection": "selection", "test_seen": "test"}
# Shares of a family's concepts that a run on it trains on, selects on and is tested on.
SHARES = {"train": 0.5, "selection": 0.2, "test": 0.3}
# What the draw of a concept begins with, so that it is independent of the protocol's own halves.
DRAW = "finetune"


def build_run_data(args):
    """`build_data`'s training pairs and evaluation; of a run from a checkpoint with the known task, and a test of the
    new one unless its data is streamed."""
    if not args.model_name_or_path:
        return build_data(args)
    if is_streamed(args):
        return with_known_task(args, *build_data(args))
    if args.dataset_name == "emoji":
        if args.emoji_families is None:
            return build_data(args)
        if args.known_dataset_name not in (None, "emoji"):
            raise UserError(f"known_dataset_name of emoji is emoji, in another style; got {args.known_dataset_name!r}")
        return emoji_of_one_family(args)
    train_data, evaluate_selection = build_data(args)
    if args.validation_size >= len(train_data):
        raise UserError(f"validation_size {args.validation_size} is held out twice, and leaves nothing to train on")
    parts = train_data.train_test_split(test_size=args.validation_size, seed=args.seed)
    return with_known_task(args, parts["train"], evaluate_selection, readable(parts["test"]))


def with_known_task(args, train_data, evaluate_selection, test=None):
    """Training pairs, and their evaluation with the known task's; also on pairs for a test, where there are any."""
    evaluate_known = known_task(args)

    def evaluate(model, processor, final: bool, pooled_prompt_states=None) -> dict[str, float]:
        metrics = evaluate_selection(model, processor, final)
        if final and test is not None:
            metrics |= caption_recalls(model, processor, test, "test")
        return metrics | evaluate_known(model, processor, final)

    return train_data, evaluate


def emoji_of_one_family(args):
    """Some concepts of the chosen families to train on, others to be named; what is known are Noto's drawings."""
    from datasets import DatasetDict

    from hf_cloob.data.emoji import load_emoji
    from hf_cloob.evaluation.emoji import evaluate_emoji

    emoji = load_emoji()
    drawings = of_families(emoji["train"], args.emoji_families)
    part_of_row = [part_of(concept) for concept in drawings["concept"]]
    parts = {part: drawings.select([i for i, own in enumerate(part_of_row) if own == part]) for part in SHARES}
    splits = DatasetDict({**emoji, "new_selection": parts["selection"], "new_test": parts["test"]})
    names = {
        "new_selection": "selection",
        "selection": "known_selection",
        "new_test": "test",
        "test_seen": "known_test",
    }

    def evaluate(model, processor, final: bool, pooled_prompt_states=None) -> dict[str, float]:
        # The bare names, the plain protocol: a text tower that trains encodes them anew at every evaluation.
        measured = evaluate_emoji(
            model,
            processor,
            splits,
            splits=tuple(names) if final else ("new_selection", "selection"),
            include_retrieval=final,
            pooled_prompt_states=pooled_prompt_states,
        )
        return renamed(measured, names)

    return parts["train"], evaluate


def part_of(concept: str) -> str:
    """Whether a concept of a family is trained on, selected on or tested on: the same for every run."""
    draw = int.from_bytes(hashlib.sha256(f"{DRAW}:{concept}".encode()).digest()[:4], "big") / 2**32
    for part, share in SHARES.items():
        if draw < share:
            return part
        draw -= share
    return part


def renamed(metrics: dict[str, float], names: dict[str, str]) -> dict[str, float]:
    """Metrics by split under the splits' other names; the longest split that fits is the metric's."""
    ordered = sorted(names, key=len, reverse=True)
    split_of = {metric: next(split for split in ordered if metric.startswith(f"{split}_")) for metric in metrics}
    return {names[split] + metric.removeprefix(split): metrics[metric] for metric, split in split_of.items()}


def known_task(args) -> Callable[..., dict[str, float]]:
    """(model, processor, final) -> the known task's metrics; none where the flags name no such task."""
    if args.known_dataset_name is None:
        return lambda model, processor, final: {}
    if args.known_dataset_name == "emoji":
        from hf_cloob.data.emoji import load_emoji
        from hf_cloob.evaluation.emoji import evaluate_emoji

        emoji = load_emoji()

        def evaluate(model, processor, final: bool) -> dict[str, float]:
            splits = tuple(KNOWN_EMOJI) if final else ("selection",)
            measured = evaluate_emoji(model, processor, emoji, splits=splits, include_retrieval=False)
            return renamed(measured, {split: f"known_{name}" for split, name in KNOWN_EMOJI.items()})

        return evaluate
    return known_classes(args)


def known_classes(args) -> Callable[..., dict[str, float]]:
    """Zero-shot accuracy on images with classes; one half of them for selection, the other to report."""
    import torch
    from evaluation_data import load_classification

    from hf_cloob.evaluation.zero_shot import build_classifier, zero_shot_metrics

    suite, dataset, _ = load_classification(
        SimpleNamespace(
            dataset_name=args.known_dataset_name,
            suite=args.known_suite,
            dataset_split=args.known_split,
            label_column=args.known_label_column,
            **{"dataset_config": None, "train_split": None, "file_list": None, "suite_folder": None},
            **{"image_column": "image", "label_order": "suite"},
        )
    )
    if "labels" in dataset.column_names:
        raise UserError(f"known_dataset_name takes images of one class each; {args.known_dataset_name} has several")
    halves = dataset.train_test_split(test_size=0.5, seed=0)
    parts = {"known_selection": halves["train"], "known_test": halves["test"]}

    def evaluate(model, processor, final: bool) -> dict[str, float]:
        class_embeds = build_classifier(
            lambda texts: model.encode_texts(texts, processor), list(suite.class_names), suite.templates
        )
        metrics = {}
        for name, part in parts.items() if final else list(parts.items())[:1]:
            scored = zero_shot_metrics(
                model.encode_images(part["image"], processor), class_embeds, torch.tensor(part["label"][:]), (1,)
            )
            metrics |= {f"{name}_{metric}": value for metric, value in scored.items()}
            metrics[f"{name}_num_images"] = len(part)
        return metrics

    return evaluate
