# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The pairs that pretrain.py trains on, what it is evaluated on, its processor and its batches."""

import logging

from command_line import UserError
from pretrain_stream import is_streamed, open_stream
from pretrain_views import augmented_on_device, build_image_transforms, build_views

logger = logging.getLogger(__name__)

DEFAULT_IMAGE_SIZE = 224


def build_data(args):
    """The training pairs, and a function (model, processor, final) -> flat metrics on data that is not trained on.

    The first metric of a non-final evaluation is the one that selects the best checkpoint. The function also takes
    `pooled_prompt_states`, texts -> pooled states of a locked text tower, for the prompts of `evaluation_prompts`.
    """
    if is_streamed(args):
        train_data, held_out = open_stream(args)
        return train_data, recall_evaluation(readable(held_out))
    if args.dataset_name == "emoji":
        from hf_cloob.data.emoji import load_emoji
        from hf_cloob.evaluation.emoji import evaluate_emoji
        from hf_cloob.evaluation.prompts import EMOJI_TEMPLATES

        try:
            emoji = load_emoji()
        except RuntimeError as error:
            raise UserError(f"dataset emoji: {error}") from error

        def evaluate(model, processor, final: bool, pooled_prompt_states=None) -> dict[str, float]:
            return evaluate_emoji(
                model,
                processor,
                emoji,
                EMOJI_TEMPLATES,
                splits=("selection", "test_seen", "test_unseen") if final else ("selection",),
                include_retrieval=final,
                pooled_prompt_states=pooled_prompt_states,
            )

        return of_families(emoji["train"], args.emoji_families), evaluate

    from hf_cloob.data.sources import load_pairs

    columns = args.image_column, args.caption_column
    pairs = load_pairs(args.dataset_name, args.dataset_config, args.dataset_split, *columns)
    if args.validation_split:
        held_out = load_pairs(args.dataset_name, args.dataset_config, args.validation_split, *columns)
    else:
        pairs, held_out = split_off_validation(pairs, args.validation_size, args.seed)
    return pairs, recall_evaluation(readable(held_out))


def recall_evaluation(held_out):
    """The function of `build_data` for pairs that are held out: their recall both ways."""

    def evaluate(model, processor, final: bool, pooled_prompt_states=None) -> dict[str, float]:
        return caption_recalls(model, processor, held_out, "selection")

    return evaluate


def caption_recalls(model, processor, held_out, name: str) -> dict[str, float]:
    """Retrieval among held-out pairs, flat metrics that begin with a name; their mean comes first."""
    import torch

    from hf_cloob.evaluation.retrieval_metrics import recall_at_k

    captions = held_out["captions"][:]
    owners = torch.tensor([index for index, texts in enumerate(captions) for _ in texts])
    recalls = recall_at_k(
        model.encode_images(held_out["image"], processor),
        model.encode_texts([text for texts in captions for text in texts], processor, truncation=True),
        owners,
    )
    recalls = {f"{name}_{metric}": value for metric, value in recalls.items()}
    both = [recalls[f"{name}_{way}_recall@1"] for way in ("image_to_text", "text_to_image")]
    return {f"{name}_mean_recall@1": sum(both) / 2, **recalls, f"{name}_num_images": len(held_out)}


def split_off_validation(pairs, size: int, seed: int) -> tuple:
    """What is trained on, and the random pairs that are held out for selection."""
    if not 2 <= size < len(pairs):
        raise UserError(f"validation_size must be from 2 to below the {len(pairs)} pairs, got {size}")
    parts = pairs.train_test_split(test_size=size, seed=seed)
    return parts["train"], parts["test"]


def of_families(emoji, families: list[str] | None):
    """The drawings of some training families, of all without a choice."""
    if families is None:
        return emoji
    known = sorted(set(emoji["family"]))
    if not families or not set(families) <= set(known):
        raise UserError(f"emoji_families must be some of {', '.join(known)}, got {', '.join(families) or 'none'}")
    return emoji.filter(lambda family: family in families, input_columns="family")


def evaluation_prompts(args) -> list[str]:
    """The prompts that every evaluation embeds again, where there are any: those of emoji's classes."""
    if args.dataset_name != "emoji" or is_streamed(args):
        return []
    from hf_cloob.data.emoji import load_emoji
    from hf_cloob.evaluation.emoji import emoji_prompts
    from hf_cloob.evaluation.prompts import EMOJI_TEMPLATES

    return emoji_prompts(load_emoji(), EMOJI_TEMPLATES)


def readable(pairs):
    """The pairs whose pictures can be read; evaluation cannot leave any out later."""
    from hf_cloob.data.pairs import ImageTextPairs

    pictures = ImageTextPairs(pairs, transform=lambda image, rng: None)
    kept = [index for index in range(len(pairs)) if "skipped" not in pictures[0, index]]
    if not kept:
        raise UserError(f"none of the {len(pairs)} held-out pictures can be read")
    if len(kept) < len(pairs):
        logger.warning("%d of %d held-out pairs dropped: unreadable image", len(pairs) - len(kept), len(pairs))
    return pairs.select(kept)


def training_captions(train_data) -> list[str]:
    """Every caption that training may draw; of a stream, the first thousands."""
    if not hasattr(train_data, "column_names"):
        return train_data.first_captions()
    return [text for texts in train_data["captions"][:] for text in texts]


def build_processor(args, tokenizer):
    """The processor that is saved with the model, and the augmenting transforms of the training images."""
    from hf_cloob import CloobProcessor

    image_processor = build_image_processor(args)
    statistics = tuple(image_processor.image_mean), tuple(image_processor.image_std)
    transforms = build_image_transforms(args, image_side(image_processor), *statistics)
    return CloobProcessor(image_processor, tokenizer), transforms


def build_image_processor(args):
    """The checkpoint's own image processor, CLIP's without one; flags that are given replace its values."""
    from transformers import CLIPImageProcessor

    # Not from the top: there, older versions ask for torchvision, which no processor of PIL needs.
    from transformers.models.auto.image_processing_auto import AutoImageProcessor

    start = None
    if args.model_name_or_path:
        try:
            start = AutoImageProcessor.from_pretrained(args.model_name_or_path)
        except (OSError, ValueError):
            logger.warning("%s has no image processor: CLIP's is used", args.model_name_or_path)
    given = {name: getattr(args, name) for name in ("image_size", "image_mean", "image_std")}
    own = {name: getattr(start, name) for name in ("image_mean", "image_std") if start is not None}
    if start is not None:
        own["image_size"] = image_side(start)
        if all(value is None or value == own[name] for name, value in given.items()):
            return start
    values = own | {name: value for name, value in given.items() if value is not None}
    side = values.pop("image_size", DEFAULT_IMAGE_SIZE)
    return CLIPImageProcessor(size={"shortest_edge": side}, crop_size={"height": side, "width": side}, **values)


def image_side(image_processor) -> int:
    """The side of the square pictures that an image processor gives."""
    crops = getattr(image_processor, "do_center_crop", False) and image_processor.crop_size
    size = crops or image_processor.size
    return size["height"] if "height" in size else size["shortest_edge"]


def build_loader(args, train_data, tokenizer, transforms, max_length: int, first_step: int, accelerator):
    """Batches of this process from `first_step` on; the sampler shards and seeds, so Accelerate must not."""
    import torch
    from torch.utils.data import DataLoader

    from hf_cloob.data.collator import ImageTextCollator
    from hf_cloob.data.pairs import ImageTextPairs
    from hf_cloob.data.sampler import NoDuplicatesBatchSampler

    pairs = ImageTextPairs(
        train_data,
        transforms.pair,
        seed=args.seed,
        first_caption_share=args.first_caption_share,
        keep_decoded=args.keep_decoded,
        **build_views(args, transforms.strong, lambda: training_captions(train_data)),
    )
    causes = {pairs[0, index].get("skipped") for index in range(min(8, len(pairs)))}
    if None not in causes:
        raise UserError(f"none of the first pictures of {args.dataset_name} can be read: {', '.join(sorted(causes))}")
    first_batch = first_step * args.gradient_accumulation_steps
    sampler = NoDuplicatesBatchSampler(
        len(pairs),
        pairs.duplicate_keys,
        args.batch_size,
        args.max_train_steps * args.gradient_accumulation_steps,
        seed=args.seed,
        first_step=first_batch,
        process_index=accelerator.process_index,
        num_processes=accelerator.num_processes,
    )
    loader = DataLoader(
        pairs,
        batch_sampler=sampler,
        collate_fn=ImageTextCollator(tokenizer, max_length, pairs.placeholder()),
        num_workers=args.num_workers,
        pin_memory=accelerator.device.type == "cuda",
        # A loader without its own generator draws from torch's at every start, which a resumed run has once more.
        generator=torch.Generator(),
    )
    return augmented_on_device(args, loader, transforms.strong, first_batch, accelerator)
