# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Pretrain a CLOOB, a CLIP or a SigLIP on image-text pairs.

    accelerate launch examples/pretrain.py                                          # emoji, the embedded default
    accelerate launch examples/pretrain.py examples/recipes/emoji_clip.yaml --output_dir runs/clip
    accelerate launch examples/pretrain.py --dataset_name some/hub-dataset --caption_column text
    accelerate launch examples/pretrain.py examples/recipes/emoji_cloob.yaml --resume_from_checkpoint last

The output folder is a Hugging Face model with its processor, the best one by the selection data; beside it lie
`metrics.json`, `train_log.jsonl`, `training_curves.png` and the resume checkpoints in `checkpoints/`.
"""

import logging
import math
import os
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import ClassVar

from command_line import UserError, parse_arguments, user_errors
from pretrain_checks import (
    check_arguments,
    check_checkpoint_flags,
    check_output_dir,
    check_resumed_flags,
    check_towers_take_the_data,
    tower_config,
)

logger = logging.getLogger(__name__)


@dataclass
class PretrainArguments:
    """Flags of pretrain.py; the same names are the keys of a recipe."""

    REPLACES_DEFAULT_RECIPE: ClassVar[tuple[str, ...]] = ("dataset_name", "model_name_or_path")

    output_dir: str = field(default="runs/pretrain", metadata={"help": "folder of the finished model"})
    overwrite_output_dir: bool = field(default=False, metadata={"help": "allow an output folder that holds a model"})
    resume_from_checkpoint: str | None = field(default=None, metadata={"help": "'last' or a checkpoint's folder"})
    seed: int = field(default=0, metadata={"help": "seed of weights, data order, captions and augmentation"})

    dataset_name: str = field(default="emoji", metadata={"help": "'emoji', a Hub dataset or a folder of one"})
    dataset_config: str | None = field(default=None, metadata={"help": "configuration name of the Hub dataset"})
    dataset_split: str = field(default="train", metadata={"help": "split to train on"})
    image_column: str = field(default="image", metadata={"help": "column of the images"})
    caption_column: str = field(default="caption", metadata={"help": "column of captions, strings or lists"})
    validation_size: int = field(default=1000, metadata={"help": "pairs held out for selection (not for emoji)"})
    first_caption_share: float | None = field(
        default=None, metadata={"help": "probability of an image's first caption; default: all captions alike"}
    )

    model_name_or_path: str | None = field(default=None, metadata={"help": "a CLOOB or CLIP checkpoint to start from"})
    vision_model_name_or_path: str | None = field(default=None, metadata={"help": "pretrained vision tower"})
    text_model_name_or_path: str | None = field(
        default=None, metadata={"help": "pretrained text tower; 'package:NAME/FOLDER' is a folder in a Python package"}
    )
    vision_config: str | None = field(default=None, metadata={"help": "vision tower from scratch: JSON, model_type …"})
    text_config: str | None = field(default=None, metadata={"help": "text tower from scratch: JSON with model_type …"})
    tokenizer_name_or_path: str | None = field(
        default=None, metadata={"help": "tokenizer; default: the text tower's, or a BPE trained on the captions"}
    )
    vocab_size: int = field(default=8192, metadata={"help": "size of a BPE that is trained on the captions"})
    freeze_text_model: bool = field(default=False, metadata={"help": "lock the text tower; each caption runs once"})
    freeze_vision_model: bool = field(default=False, metadata={"help": "lock the vision tower"})
    text_pooling: str = field(default="auto", metadata={"help": "auto, pooler, mean, first or last"})
    projection_dim: int = field(default=512, metadata={"help": "width of the shared embedding space"})
    projection_type: str = field(default="linear", metadata={"help": "linear or mlp"})

    contrastive_loss: str = field(default="infoloob", metadata={"help": "infoloob, infonce or sigmoid"})
    hopfield_scale: str = field(default="auto", metadata={"help": "beta of the retrieval, 'auto' or 'none'"})
    retrieval_warmup_steps: int = field(default=0, metadata={"help": "steps over which retrieval is blended in"})
    tau_free_loss: bool = field(
        default=False, metadata={"help": "train infoloob on loss · t/2, the scale of the other losses"}
    )
    inverse_temperature: float | None = field(default=None, metadata={"help": "t; default: the loss's own"})
    learn_logit_scale: bool | None = field(default=None, metadata={"help": "default: the loss's own"})
    alignment_weight: float = field(default=0.0, metadata={"help": "weight of the alignment loss"})
    uniformity_weight: float = field(default=0.0, metadata={"help": "weight of the uniformity loss"})
    cross_modal_uniformity_weight: float = field(default=0.0, metadata={"help": "weight of cross-modal uniformity"})
    label_smoothing: float = field(default=0.0, metadata={"help": "label smoothing of infonce"})

    batch_size: int = field(default=512, metadata={"help": "pairs in the GLOBAL batch of all processes"})
    gradient_accumulation_steps: int = field(default=1, metadata={"help": "batches a step; not more negatives"})
    max_train_steps: int = field(default=10_000, metadata={"help": "optimizer steps"})
    learning_rate: float = field(default=1e-3, metadata={"help": "peak learning rate"})
    weight_decay: float = field(default=0.1, metadata={"help": "decay of matrices and kernels"})
    adam_beta2: float = field(default=0.98, metadata={"help": "CLIP's ViTs 0.98, ResNets 0.999"})
    adam_epsilon: float = field(default=1e-6, metadata={"help": "CLIP's ViTs 1e-6, ResNets 1e-8"})
    warmup_steps: int = field(default=500, metadata={"help": "linear warm-up of the learning rate"})
    lr_scheduler: str = field(default="cosine", metadata={"help": "cosine, cosine_with_restarts, linear, constant"})
    num_cycles: int = field(default=1, metadata={"help": "cycles of cosine_with_restarts"})
    max_grad_norm: float = field(default=1.0, metadata={"help": "gradient clipping"})
    mixed_precision: str = field(default="no", metadata={"help": "no, bf16 or fp16"})
    activation_checkpointing: bool = field(default=False, metadata={"help": "recompute activations, less memory"})
    channels_last: bool = field(default=False, metadata={"help": "memory format that is faster for convolutions"})

    image_size: int = field(default=224, metadata={"help": "side of the training images in pixels"})
    crop_scale: list[float] = field(default_factory=lambda: [0.9, 1.0], metadata={"help": "area of the random crop"})
    horizontal_flip: float = field(default=0.0, metadata={"help": "probability of a flip"})
    rotation: float = field(default=0.0, metadata={"help": "largest rotation in degrees"})
    translation: float = field(default=0.0, metadata={"help": "largest shift as a share of the side"})
    zoom: float = field(default=0.0, metadata={"help": "largest relative change of size"})
    brightness: float = field(default=0.0, metadata={"help": "largest relative change"})
    contrast: float = field(default=0.0, metadata={"help": "largest relative change"})
    saturation: float = field(default=0.0, metadata={"help": "largest relative change"})
    hue: float = field(default=0.0, metadata={"help": "largest turn of the color circle, a share of the full turn"})
    image_mean: list[float] | None = field(default=None, metadata={"help": "per channel; default: CLIP's"})
    image_std: list[float] | None = field(default=None, metadata={"help": "per channel; default: CLIP's"})
    keep_decoded: bool = field(default=False, metadata={"help": "keep decoded images in memory (small corpora)"})
    num_workers: int = field(default=2, metadata={"help": "processes that prepare images"})

    eval_steps: int = field(default=500, metadata={"help": "steps between evaluations on the selection data"})
    save_steps: int = field(default=1000, metadata={"help": "steps between resume checkpoints"})
    save_total_limit: int = field(default=2, metadata={"help": "resume checkpoints kept"})
    logging_steps: int = field(default=10, metadata={"help": "steps between lines of the log"})
    report_to: str | None = field(default=None, metadata={"help": "an Accelerate tracker, e.g. tensorboard"})


def main() -> None:
    # Read when torch loads: threads that wait by spinning take the cores from the processes that prepare images.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    args = parse_arguments(PretrainArguments, __doc__.split("\n\n")[0], default_recipe="emoji_cloob.yaml")
    try:
        pretrain(args)
    except UserError as error:
        raise SystemExit(f"pretrain.py: {error}") from None


def pretrain(args: PretrainArguments) -> dict:
    """Train, evaluate and save; returns what `metrics.json` holds."""
    import torch
    from accelerate import Accelerator
    from accelerate.utils import InitProcessGroupKwargs, set_seed
    from tqdm.auto import tqdm

    from hf_cloob.encoding import context_length
    from hf_cloob.training.checkpointing import TrainState, save_checkpoint
    from hf_cloob.training.frozen_towers import PooledTextCache, train_unfrozen
    from hf_cloob.training.optimization import build_optimizer, build_schedule
    from hf_cloob.training.run_log import RunLog, mean_pairwise_cosine, write_metrics

    run_started = time.perf_counter()
    output_dir = Path(args.output_dir)
    with user_errors():
        check_arguments(args)
        check_output_dir(args, output_dir)
        accelerator = Accelerator(
            # Under torchrun without a GPU, Accelerate would take each process for the only one.
            cpu=not torch.accelerator.is_available(),
            mixed_precision=args.mixed_precision,
            gradient_accumulation_steps=args.gradient_accumulation_steps,
            log_with=args.report_to,
            project_dir=str(output_dir),
            # The main process evaluates alone while the others wait for it.
            kwargs_handlers=[InitProcessGroupKwargs(timeout=timedelta(hours=6))],
        )
        if int(os.environ.get("WORLD_SIZE", 1)) != accelerator.num_processes:
            raise UserError(
                f"{os.environ['WORLD_SIZE']} processes were started, Accelerate joins {accelerator.num_processes}: "
                "set up the devices with `accelerate config` and start with `accelerate launch`"
            )
        set_seed(args.seed)

        with accelerator.main_process_first():
            train_data, evaluate = build_data(args)
        tokenizer, model = build_tokenizer_and_model(args, train_data)
        processor, transform = build_processor(args, tokenizer)
        check_towers_take_the_data(model, processor, args.image_size)
        max_length = context_length(model.config.text_config, tokenizer)
        frozen_text = None
        if args.freeze_text_model:
            frozen_text = PooledTextCache(model, tokenizer, max_length, training_captions(args, train_data))
        if args.activation_checkpointing:
            model.activation_checkpointing_enable()
        memory_format = torch.channels_last if args.channels_last else torch.contiguous_format
        model = model.to(memory_format=memory_format)

        optimizer = build_optimizer(
            model, args.learning_rate, args.weight_decay, (0.9, args.adam_beta2), args.adam_epsilon
        )
        schedule = build_schedule(
            optimizer, args.lr_scheduler, args.max_train_steps, args.warmup_steps, args.num_cycles
        )
        model, optimizer = accelerator.prepare(model, optimizer)
        bare_model = accelerator.unwrap_model(model)
        # The weights are drawn alike; from here on each process drops out its own units.
        set_seed(args.seed, device_specific=True)

        state = TrainState()
        accelerator.register_for_checkpointing(schedule, state)
        if args.resume_from_checkpoint:
            resume(args, accelerator, state, output_dir)
        loader = build_loader(args, train_data, tokenizer, transform, max_length, state.step, accelerator)
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            start_output_dir(args, output_dir, state.step)
        accelerator.wait_for_everyone()
        accelerator.init_trackers("hf_cloob", config={key: str(value) for key, value in asdict(args).items()})
        log = RunLog(accelerator, output_dir / "train_log.jsonl", state.step)

    accelerator.print(f"{accelerator.num_processes} process(es), {accelerator.device.type}, {len(train_data)} pairs")
    progress = tqdm(
        total=args.max_train_steps, initial=state.step, disable=not accelerator.is_local_main_process, unit="step"
    )
    train_unfrozen(bare_model)
    skipped = Counter()
    started, pairs_since_log = time.perf_counter(), 0
    for batch in loader:
        skipped.update(batch.pop("skipped"))
        texts = batch.pop("text")
        inputs = {"pixel_values": batch["pixel_values"].to(accelerator.device, memory_format=memory_format)}
        if frozen_text is not None:
            inputs["text_pooler_output"] = frozen_text(texts)
        else:
            inputs |= {name: batch[name].to(accelerator.device) for name in ("input_ids", "attention_mask")}

        with accelerator.accumulate(model):
            retrieval_weight = min(1.0, (state.step + 1) / max(args.retrieval_warmup_steps, 1))
            # Embeddings that are not finite, above all: the learning rate is the user's.
            with user_errors(f"step {state.step + 1}:"):
                outputs = model(**inputs, retrieval_weight=retrieval_weight, return_loss=True)
            tau_free = bare_model.logit_scale.detach().exp() / 2 if args.tau_free_loss else 1.0
            accelerator.backward(outputs.loss * tau_free)
            if accelerator.sync_gradients:
                grad_norm = accelerator.clip_grad_norm_(model.parameters(), args.max_grad_norm)
            optimizer.step()
            optimizer.zero_grad()
        pairs_since_log += len(texts) * accelerator.num_processes
        if not accelerator.sync_gradients:
            continue

        learning_rate = optimizer.param_groups[0]["lr"]
        schedule.step()
        state.step += 1
        progress.update()
        if state.step % args.logging_steps == 0 or state.step == 1:
            seconds = time.perf_counter() - started
            count_skipped(state, skipped)
            figures = {
                "loss": outputs.loss.item(),
                **{name: outputs[name].item() for name in outputs if name.endswith("_loss")},
                "image_mean_cosine": mean_pairwise_cosine(outputs.image_embeds.detach()).item(),
                "text_mean_cosine": mean_pairwise_cosine(outputs.text_embeds.detach()).item(),
                "retrieval_weight": retrieval_weight if bare_model.config.hopfield_scale else 0.0,
                "inverse_temperature": bare_model.logit_scale.exp().item(),
                "lr": learning_rate,
                "grad_norm": float(grad_norm),
                "skipped_samples": sum(state.skipped.values()),
                "pairs_per_second": pairs_since_log / seconds,
            }
            if not math.isfinite(figures["loss"]):
                raise UserError(f"the loss is {figures['loss']} at step {state.step}: lower learning_rate or use bf16")
            log.write(state.step, figures)
            progress.set_postfix(loss=f"{figures['loss']:.3f}", pairs_per_s=f"{figures['pairs_per_second']:.0f}")
            started, pairs_since_log = time.perf_counter(), 0
        if state.step % args.eval_steps == 0 or state.step == args.max_train_steps:
            if accelerator.is_main_process:
                keep_if_best(bare_model, processor, evaluate, state, log, output_dir)
            accelerator.wait_for_everyone()
            started, pairs_since_log = time.perf_counter(), 0
        if state.step % args.save_steps == 0:
            count_skipped(state, skipped)
            save_checkpoint(accelerator, output_dir / "checkpoints", state.step, args.save_total_limit)
    progress.close()
    count_skipped(state, skipped)
    metrics = {}
    if accelerator.is_main_process:
        if state.best_step == 0:
            keep_if_best(bare_model, processor, evaluate, state, log, output_dir)
        train_seconds = time.perf_counter() - run_started
        metrics = finish(args, processor, evaluate, state, output_dir, accelerator)
        # Apart from metrics.json, which two runs of one recipe and seed must write alike to the last digit.
        write_metrics(output_dir / "timing.json", {"train_seconds": train_seconds})
    accelerator.wait_for_everyone()
    # Before the process group goes: freed after it, DistributedDataParallel holds Python's lock while it waits for
    # gloo's threads, which may be waiting for that lock.
    model, optimizer = accelerator.free_memory(model, optimizer)
    accelerator.end_training()
    return metrics


def resume(args: PretrainArguments, accelerator, state, output_dir: Path) -> None:
    """Load the checkpoint that the flags name, if it is one of this very run."""
    from hf_cloob.training.checkpointing import find_checkpoint

    checkpoint = find_checkpoint(args.resume_from_checkpoint, output_dir / "checkpoints")
    check_resumed_flags(args, checkpoint)
    accelerator.load_state(str(checkpoint))
    if not (output_dir / "config.json").is_file():
        # Another folder than the checkpoint's: the best model of before is not here.
        state.best_metric, state.best_step = float("-inf"), 0


def start_output_dir(args: PretrainArguments, output_dir: Path, step: int) -> None:
    """Record the flags, and delete what this run will write anew."""
    from hf_cloob.training.checkpointing import drop_checkpoints_after
    from hf_cloob.training.run_log import write_metrics

    output_dir.mkdir(parents=True, exist_ok=True)
    drop_checkpoints_after(output_dir / "checkpoints", step)
    for name in ("metrics.json", "timing.json", "training_curves.png"):
        (output_dir / name).unlink(missing_ok=True)
    write_metrics(output_dir / "arguments.json", asdict(args))


def build_data(args: PretrainArguments):
    """The training pairs, and a function (model, processor, final) -> flat metrics on data that is not trained on.

    The first metric of a non-final evaluation is the one that selects the best checkpoint.
    """
    if args.dataset_name == "emoji":
        from hf_cloob.data.emoji import load_emoji
        from hf_cloob.evaluation.emoji import evaluate_emoji
        from hf_cloob.evaluation.prompts import EMOJI_TEMPLATES

        try:
            emoji = load_emoji()
        except RuntimeError as error:
            raise UserError(f"dataset emoji: {error}") from error

        def evaluate(model, processor, final: bool) -> dict[str, float]:
            splits = ("selection", "test_seen", "test_unseen") if final else ("selection",)
            return evaluate_emoji(model, processor, emoji, EMOJI_TEMPLATES, splits=splits, include_retrieval=final)

        return emoji["train"], evaluate

    from hf_cloob.data.sources import load_pairs
    from hf_cloob.evaluation.retrieval_metrics import recall_at_k

    pairs = load_pairs(
        args.dataset_name, args.dataset_config, args.dataset_split, args.image_column, args.caption_column
    )
    if not 2 <= args.validation_size < len(pairs):
        raise UserError(f"validation_size must be from 2 to below the {len(pairs)} pairs, got {args.validation_size}")
    parts = pairs.train_test_split(test_size=args.validation_size, seed=args.seed)
    held_out = readable(parts["test"])

    def evaluate(model, processor, final: bool) -> dict[str, float]:
        import torch

        captions = held_out["captions"][:]
        owners = torch.tensor([index for index, texts in enumerate(captions) for _ in texts])
        recalls = recall_at_k(
            model.encode_images(held_out["image"], processor),
            model.encode_texts([text for texts in captions for text in texts], processor, truncation=True),
            owners,
        )
        recalls = {f"selection_{name}": value for name, value in recalls.items()}
        both = [recalls[f"selection_{way}_recall@1"] for way in ("image_to_text", "text_to_image")]
        return {"selection_mean_recall@1": sum(both) / 2, **recalls, "selection_num_images": len(held_out)}

    return parts["train"], evaluate


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


def training_captions(args: PretrainArguments, train_data) -> list[str]:
    """Every caption that training may draw."""
    return [text for texts in train_data["captions"][:] for text in texts]


def build_tokenizer_and_model(args: PretrainArguments, train_data):
    """The tokenizer and a CloobModel, from a checkpoint, from pretrained towers or from configurations."""
    from transformers import AutoConfig, AutoTokenizer

    from hf_cloob import CloobModel
    from hf_cloob.data.tokenizers import train_bpe_tokenizer
    from hf_cloob.training.frozen_towers import freeze

    text_path = packaged_folder(args.text_model_name_or_path)
    tokenizer_path = packaged_folder(args.tokenizer_name_or_path) or text_path or args.model_name_or_path
    if tokenizer_path:
        with user_errors(f"tokenizer {tokenizer_path!r}:"):
            tokenizer = AutoTokenizer.from_pretrained(tokenizer_path)
    else:
        tokenizer = train_bpe_tokenizer(training_captions(args, train_data), args.vocab_size)

    objective = {
        "contrastive_loss": args.contrastive_loss,
        "hopfield_scale": parse_hopfield_scale(args.hopfield_scale),
        "learn_logit_scale": args.learn_logit_scale,
        "alignment_weight": args.alignment_weight,
        "uniformity_weight": args.uniformity_weight,
        "cross_modal_uniformity_weight": args.cross_modal_uniformity_weight,
        "label_smoothing": args.label_smoothing,
    }
    if args.inverse_temperature is not None:
        objective["logit_scale_init_value"] = math.log(args.inverse_temperature)
    paths = {"model": args.model_name_or_path, "vision_model": args.vision_model_name_or_path, "text_model": text_path}
    model_types = {}
    for flag, path in paths.items():
        with user_errors(f"{flag}_name_or_path {path!r}:"):
            model_types[flag] = AutoConfig.from_pretrained(path).model_type if path else None
    if model_types["model"] == "clip":
        model = CloobModel.from_clip(args.model_name_or_path, **objective)
    elif args.model_name_or_path:
        model = load_cloob(args.model_name_or_path, objective)
    else:
        model = CloobModel.from_vision_text_pretrained(
            args.vision_model_name_or_path or tower_config("vision", args.vision_config, image_size=args.image_size),
            text_path or tower_config("text", args.text_config, **token_fields(tokenizer)),
            projection_dim=args.projection_dim,
            projection_type=args.projection_type,
            text_pooling=args.text_pooling,
            **objective,
        )
    if args.model_name_or_path:
        check_checkpoint_flags(args, model.config)
    for frozen, tower in ((args.freeze_text_model, model.text_model), (args.freeze_vision_model, model.vision_model)):
        if frozen:
            freeze(tower)
    return tokenizer, model


def load_cloob(name_or_path: str, objective: dict):
    """The weights of a CLOOB checkpoint under the objective of the flags; its scale stays unless they give one."""
    from hf_cloob import CloobConfig, CloobModel

    config = CloobConfig(**CloobConfig.from_pretrained(name_or_path).to_dict() | objective)
    model = CloobModel.from_pretrained(name_or_path, config=config)
    if "logit_scale_init_value" in objective:
        model.log_inverse_temperature.data.fill_(objective["logit_scale_init_value"])
    return model


def build_processor(args: PretrainArguments, tokenizer):
    """The processor that is saved with the model, and the augmenting transform of the training images."""
    from transformers import CLIPImageProcessor

    from hf_cloob import CloobProcessor
    from hf_cloob.data.image_augmentation import TrainingTransform

    statistics = {"image_mean": args.image_mean, "image_std": args.image_std}
    image_processor = CLIPImageProcessor(
        size={"shortest_edge": args.image_size},
        crop_size={"height": args.image_size, "width": args.image_size},
        **{name: values for name, values in statistics.items() if values is not None},
    )
    amounts = ("horizontal_flip", "rotation", "translation", "zoom", "brightness", "contrast", "saturation", "hue")
    transform = TrainingTransform(
        args.image_size,
        tuple(image_processor.image_mean),
        tuple(image_processor.image_std),
        crop_scale=tuple(args.crop_scale),
        **{name: getattr(args, name) for name in amounts},
    )
    return CloobProcessor(image_processor, tokenizer), transform


def build_loader(args, train_data, tokenizer, transform, max_length: int, first_step: int, accelerator):
    """Batches of this process from `first_step` on; the sampler shards and seeds, so Accelerate must not."""
    import torch
    from torch.utils.data import DataLoader

    from hf_cloob.data.collator import ImageTextCollator
    from hf_cloob.data.pairs import ImageTextPairs
    from hf_cloob.data.sampler import NoDuplicatesBatchSampler

    pairs = ImageTextPairs(
        train_data,
        transform,
        seed=args.seed,
        first_caption_share=args.first_caption_share,
        keep_decoded=args.keep_decoded,
    )
    causes = {pairs[0, index].get("skipped") for index in range(min(8, len(pairs)))}
    if None not in causes:
        raise UserError(f"none of the first pictures of {args.dataset_name} can be read: {', '.join(sorted(causes))}")
    sampler = NoDuplicatesBatchSampler(
        len(pairs),
        pairs.duplicate_keys,
        args.batch_size,
        args.max_train_steps * args.gradient_accumulation_steps,
        seed=args.seed,
        first_step=first_step * args.gradient_accumulation_steps,
        process_index=accelerator.process_index,
        num_processes=accelerator.num_processes,
    )
    return DataLoader(
        pairs,
        batch_sampler=sampler,
        collate_fn=ImageTextCollator(tokenizer, max_length),
        num_workers=args.num_workers,
        pin_memory=accelerator.device.type == "cuda",
        # A loader without its own generator draws from torch's at every start, which a resumed run has once more.
        generator=torch.Generator(),
    )


def count_skipped(state, skipped: Counter) -> None:
    """Add the samples that all processes have skipped since the last call to the run's; every process must call."""
    from accelerate.utils import gather_object

    state.skipped = dict(sum((Counter(counts) for counts in gather_object([dict(skipped)])), Counter(state.skipped)))
    skipped.clear()


def keep_if_best(model, processor, evaluate, state, log, output_dir: Path) -> None:
    """Evaluate on the selection data and save the model if it is the best so far."""
    from hf_cloob.training.frozen_towers import train_unfrozen

    model.eval()
    figures = evaluate(model, processor, final=False)
    train_unfrozen(model)
    log.write(state.step, figures)
    selected = next(iter(figures.values()))
    if selected > state.best_metric:
        state.best_metric, state.best_step = selected, state.step
        model.save_pretrained(output_dir)
        processor.save_pretrained(output_dir)


def finish(args: PretrainArguments, processor, evaluate, state, output_dir: Path, accelerator) -> dict:
    """Evaluate the best checkpoint on everything and write metrics.json and the curves."""
    from hf_cloob import CloobModel
    from hf_cloob.evaluation.training_curves import training_curves
    from hf_cloob.training.run_log import write_metrics

    model = CloobModel.from_pretrained(output_dir).to(accelerator.device)
    metrics = evaluate(model, processor, final=True)
    metrics |= {"best_step": state.best_step, "steps": state.step, "seed": args.seed}
    metrics |= {"num_processes": accelerator.num_processes}
    metrics |= {"pairs_seen": state.step * args.gradient_accumulation_steps * args.batch_size}
    metrics |= {"skipped_samples": sum(state.skipped.values())}
    write_metrics(output_dir / "metrics.json", metrics)
    try:
        training_curves(output_dir / "train_log.jsonl", output_dir / "training_curves.png")
    except ImportError as error:
        # Nothing that a trained model should be lost for.
        print(f"No training_curves.png: {error}")
    for name, value in metrics.items():
        print(f"{name:45} {value:.4f}" if isinstance(value, float) else f"{name:45} {value}")
    for cause, count in state.skipped.items():
        print(f"skipped samples, {cause}: {count}")
    print(f"The model is in {output_dir}")
    return metrics


def parse_hopfield_scale(value: str) -> float | str | None:
    """'auto', 'none' or a number."""
    if value.lower() in ("auto", "none"):
        return "auto" if value.lower() == "auto" else None
    try:
        return float(value)
    except ValueError:
        raise UserError(f"hopfield_scale must be a number, 'auto' or 'none', got {value!r}") from None


def packaged_folder(name: str | None) -> str | None:
    """Resolve 'package:NAME/FOLDER' to a folder inside an installed Python package; other names stay as they are."""
    if name is None or not name.startswith("package:"):
        return name
    from importlib.util import find_spec

    package, _, folder = name.removeprefix("package:").partition("/")
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise UserError(f"{name!r} needs the Python package {package!r}: pip install 'hf_cloob[emoji]'")
    return str(Path(spec.submodule_search_locations[0]) / folder)


def token_fields(tokenizer) -> dict:
    """What a text tower from scratch must know of its tokenizer."""
    special = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    return {"vocab_size": len(tokenizer), **{name: value for name, value in special.items() if value is not None}}


if __name__ == "__main__":
    main()
