# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Pairs that pretrain.py streams: from its flags to sources, held-out pairs and batches."""

import math
from dataclasses import dataclass
from typing import Any

from command_line import UserError
from pretrain_views import augmented_on_device, build_views

# Enough words for a tokenizer; reading more of remote shards before the first step would take minutes.
_NUM_FIRST_CAPTIONS = 20_000


@dataclass
class StreamedPairs:
    """Training data that is read from shards.

    Args:
        sources: of `hf_cloob.data.shards.Source`.
        weights: share of each, or None.
    """

    sources: list[Any]
    weights: list[float] | None

    def first_captions(self) -> list[str]:
        """Captions of the first pairs of every source."""
        from hf_cloob.data.shards import EncodedPair

        texts: list[str] = []
        for source in self.sources:
            own: list[str] = []
            for shard in range(source.num_shards):
                for item in source.read(shard, 0):
                    own += item.captions if isinstance(item, EncodedPair) else []
                    if len(own) >= _NUM_FIRST_CAPTIONS / len(self.sources):
                        break
                else:
                    continue
                break
            texts += own
        return texts


def is_streamed(args) -> bool:
    """Whether the flags name files or a folder, ask for streaming, or for a mixture of sources by weight."""
    return bool(args.train_files or args.train_dir or args.streaming or args.dataset_weights)


def size_of(train_data) -> str:
    """How much there is to train on, as far as it is known."""
    if not isinstance(train_data, StreamedPairs):
        return f"{len(train_data)} pairs"
    return ", ".join(f"{source.name} ({source.num_shards} shards)" for source in train_data.sources)


def open_sources(args) -> StreamedPairs:
    """The sources that the flags name: datasets first, then files, then the folder."""
    from hf_cloob.data.sources import dataset_names
    from hf_cloob.data.training_files import open_files, open_folder

    columns = {"image_column": args.image_column, "caption_column": args.caption_column, "seed": args.seed}
    sources = []
    if args.dataset_name != "emoji" or not (args.train_files or args.train_dir):
        sources += [_open_dataset(name, args) for name in dataset_names(args.dataset_name)]
    sources += [
        open_files(pattern, allow_pipe_urls=args.allow_pipe_urls, **columns) for pattern in args.train_files or []
    ]
    if args.train_dir:
        sources.append(open_folder(args.train_dir, **columns))
    if args.dataset_weights is not None and len(args.dataset_weights) != len(sources):
        raise UserError(f"dataset_weights takes a number for each of the {len(sources)} sources: {_names(sources)}")
    return StreamedPairs(sources, args.dataset_weights)


def open_stream(args):
    """The sources, and a dataset of the `validation_size` pairs that were taken out of them."""
    import datasets

    data = open_sources(args)
    pairs = []
    for number, source in enumerate(data.sources, start=1):
        pairs += source.hold_out(args.validation_size * number // len(data.sources) - len(pairs))
    if not 2 <= args.validation_size <= len(pairs):
        raise UserError(f"validation_size must be from 2 to below the number of pairs, got {args.validation_size}")
    images = [
        {"bytes": pair.image if isinstance(pair.image, bytes) else None, "path": _path(pair.image)} for pair in pairs
    ]
    features = datasets.Features({"image": datasets.Image(), "captions": datasets.List(datasets.Value("string"))})
    rows = {"image": images, "captions": [pair.captions for pair in pairs]}
    return data, datasets.Dataset.from_dict(rows, features=features)


def build_stream_loader(args, train_data: StreamedPairs, tokenizer, transforms, max_length: int, state, accelerator):
    """Batches of this process from the step and the positions on that `state` has."""
    import torch

    from hf_cloob.data.collator import ImageTextCollator
    from hf_cloob.data.pairs import SampleMaker
    from hf_cloob.data.stream import PairStream

    if not state.stream_layout:
        # Two processes may become one, or one two, and workers two or four, without another order of the data.
        blocks = args.stream_blocks or math.lcm(2, accelerator.num_processes)
        phases = args.stream_phases or math.lcm(4, max(1, args.num_workers))
        state.stream_layout = {"num_blocks": blocks, "num_phases": phases}
    if state.stream_layout["num_phases"] % max(1, args.num_workers):
        raise UserError(
            f"num_workers must divide the stream's {state.stream_layout['num_phases']} phases, got "
            f"{args.num_workers}: "
            "set stream_phases when a run is started"
        )

    stream = PairStream(
        train_data.sources,
        SampleMaker(transforms.pair, args.seed, **build_views(args, transforms.strong, train_data.first_captions)),
        ImageTextCollator(tokenizer, max_length),
        args.batch_size,
        args.max_train_steps * args.gradient_accumulation_steps,
        weights=train_data.weights,
        seed=args.seed,
        buffer_size=args.shuffle_buffer_size,
        first_caption_share=args.first_caption_share,
        # Twice what is needed: the crop is a part of the picture, and is resized once more.
        min_side=2 * transforms.image_size if args.reduced_jpeg_decoding else None,
        first_step=state.step * args.gradient_accumulation_steps,
        positions=state.stream_positions,
        process_index=accelerator.process_index,
        num_processes=accelerator.num_processes,
        **state.stream_layout,
    )
    loader = torch.utils.data.DataLoader(
        stream,
        batch_size=None,
        num_workers=args.num_workers,
        pin_memory=accelerator.device.type == "cuda",
        generator=torch.Generator(),
    )
    first_batch = state.step * args.gradient_accumulation_steps
    return augmented_on_device(args, loader, transforms.strong, first_batch, accelerator)


def _open_dataset(name: str, args):
    from hf_cloob.data.corpora import corpus_columns, is_corpus
    from hf_cloob.data.sources import load_table
    from hf_cloob.data.training_files import streamed_source, table_source

    shown = f"{name} ({args.dataset_split})"
    if args.streaming and not is_corpus(name):
        import datasets

        try:
            streamed = datasets.load_dataset(name, args.dataset_config, split=args.dataset_split, streaming=True)
        except FileNotFoundError as error:
            raise UserError(f"No dataset {name!r} on the Hub or on disk: {error}") from error
        return streamed_source(streamed, args.image_column, args.caption_column, shown)
    table = load_table(name, args.dataset_config, args.dataset_split)
    image, captions = args.image_column, args.caption_column
    if is_corpus(name):
        image, captions, _ = corpus_columns(table)
    return table_source(table, image, captions, shown, args.seed)


def _names(sources) -> str:
    return ", ".join(source.name for source in sources)


def _path(image: bytes | str) -> str | None:
    return None if isinstance(image, bytes) else image
