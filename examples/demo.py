# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Classify emoji in a drawing style that was never trained on, through the stock zero-shot pipeline.

    python examples/demo.py runs/emoji_cloob

Writes `contact_sheet.png` (picture, true name, five best names with their probabilities) into the model's folder.
"""

import random
from dataclasses import dataclass, field
from pathlib import Path

from command_line import UserError, parse_arguments, user_errors


@dataclass
class DemoArguments:
    """Flags of demo.py."""

    model: str = field(default="runs/emoji_cloob", metadata={"help": "folder of a trained model"})
    num_seen: int = field(default=9, metadata={"help": "pictures of concepts that were trained on, in other styles"})
    num_unseen: int = field(default=3, metadata={"help": "pictures of concepts that were never trained on"})
    seed: int = field(default=0, metadata={"help": "which pictures"})


def main() -> None:
    args = parse_arguments(DemoArguments, __doc__.split("\n\n")[0], positional="model")
    try:
        demo(args)
    except UserError as error:
        raise SystemExit(f"demo.py: {error}") from None


def demo(args: DemoArguments) -> None:
    """Classify a few pictures, print the names and draw the contact sheet."""
    from transformers import MODEL_FOR_ZERO_SHOT_IMAGE_CLASSIFICATION_MAPPING, AutoConfig, pipeline

    import hf_cloob  # noqa: F401  registers the model with transformers' Auto classes
    from hf_cloob.data.emoji import emoji_classes, load_emoji
    from hf_cloob.evaluation.contact_sheet import contact_sheet

    if not (Path(args.model) / "config.json").is_file():
        raise UserError(f"{args.model} holds no model; train one with examples/pretrain.py --output_dir {args.model}")
    emoji = load_emoji()
    labels = list(dict.fromkeys(emoji_classes(emoji).labels))
    for name, split in (("num_seen", "test_seen"), ("num_unseen", "test_unseen")):
        if not 0 <= getattr(args, name) <= len(emoji[split]):
            raise UserError(f"{name} must be from 0 to {len(emoji[split])}, got {getattr(args, name)}")
    rng = random.Random(args.seed)
    rows = [
        emoji[split][index]
        for split, number in (("test_seen", args.num_seen), ("test_unseen", args.num_unseen))
        for index in sorted(rng.sample(range(len(emoji[split])), number))
    ]

    with user_errors():
        config = AutoConfig.from_pretrained(args.model)
    if type(config) not in MODEL_FOR_ZERO_SHOT_IMAGE_CLASSIFICATION_MAPPING:
        raise UserError(f"{args.model} holds a {config.model_type!r} model, which does not compare images with texts")
    with user_errors():
        classifier = pipeline("zero-shot-image-classification", model=args.model)
    print(f"{len(rows)} pictures among {len(labels)} names:")
    best = []
    for row in rows:
        results = classifier(row["image"], candidate_labels=labels, hypothesis_template="{}")[:5]
        best.append(results)
        mark = "✓" if results[0]["label"] == row["label"] else " "
        print(f" {mark} {row['label']:40} {results[0]['label']} ({results[0]['score']:.0%})")
    path = contact_sheet(
        [row["image"] for row in rows],
        [row["label"] for row in rows],
        [[result["label"] for result in results] for results in best],
        [[result["score"] for result in results] for results in best],
        Path(args.model) / "contact_sheet.png",
        title=f"Zero-shot among {len(labels)} names, a drawing style that was never trained on",
    )
    print(f"The contact sheet is {path}")


if __name__ == "__main__":
    main()
