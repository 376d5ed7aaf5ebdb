# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Embeddings that are computed once: shared out over all processes, and kept on disk for the next evaluation."""

import hashlib
import json
import logging
import os
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch.nn import functional as F
from transformers.image_utils import load_image

from ..distributed import all_gather_with_grad
from ..encoding import encode_texts
from ..text_padding import padded_as_trained
from .image_loading import DatasetImages, PreparedImages, collate_prepared
from .ranking import check_positive

logger = logging.getLogger(__name__)

# Raised whenever the same model and data would give other embeddings, so that old files are not taken for them.
CACHE_VERSION = 1
# Entries of a configuration that do not change what a model computes; the weights tell their dtype themselves.
NO_SETTINGS = ("_name_or_path", "architectures", "auto_map", "dtype", "torch_dtype", "transformers_version")


class CachedEncoder:
    """A dual encoder in the place of a model with `encode_images` and `encode_texts`.

    Every process embeds a contiguous share of the batches and receives the embeddings of all, in their order. The
    batches do not depend on the number of processes, and so neither do the embeddings.

    Args:
        model: any model of transformers with `get_image_features` and `get_text_features`; put in evaluation mode.
        cache_dir: where embeddings are kept, under a name made of the weights, the processor and the data; None keeps
            nothing. A process that does not find a file makes all of them embed again.
        process_index: this process.
        num_processes: all processes; each must make the same calls in the same order.
        batch_size: most images or texts in one pass of a process; the methods' own `batch_size` may be less.
        num_workers: processes that read and prepare images, for each of them.
        truncation: cut texts that are longer than the context instead of raising.
        show_progress: show progress bars.

    Raises:
        ValueError: a model without these methods, a batch_size below 1, or a process_index outside of
            0..num_processes−1.
    """

    def __init__(
        self,
        model: Any,
        cache_dir: str | os.PathLike | None = None,
        process_index: int = 0,
        num_processes: int = 1,
        batch_size: int = 64,
        num_workers: int = 0,
        truncation: bool = False,
        show_progress: bool = False,
    ):
        missing = [name for name in ("get_image_features", "get_text_features") if not hasattr(model, name)]
        if missing:
            raise ValueError(f"{type(model).__name__} has no {' and no '.join(missing)}: it is not a dual encoder.")
        if not 0 <= process_index < num_processes:
            raise ValueError(f"process_index must be from 0 to {num_processes - 1}, got {process_index}.")
        check_positive(batch_size=batch_size)
        self.model = model.eval()
        self.cache_dir = Path(cache_dir) if cache_dir is not None else None
        self.process_index, self.num_processes = process_index, num_processes
        self.batch_size, self.num_workers = batch_size, num_workers
        self.truncation, self.show_progress = truncation, show_progress
        self._model_fingerprint = model_fingerprint(model) if self.cache_dir else ""

    def encode_images(self, images: Sequence, processor: Any, batch_size: int | None = None) -> torch.Tensor:
        """Embed images: (num_images, projection_dim), L2-normalized float32 on the CPU.

        Raises:
            ValueError: no image, or one that cannot be read.
        """
        embeds, rows = self.encode_readable_images(images, processor, batch_size)
        if len(rows) < len(images):
            missing = sorted(set(range(len(images))) - set(rows.tolist()))
            raise ValueError(
                f"{len(missing)} of {len(images)} images cannot be read, the first is image {missing[0]}."
            )
        return embeds

    def encode_readable_images(
        self, images: Sequence, processor: Any, batch_size: int | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Embed the images that can be read; the others are left out, counted and logged.

        Args:
            images: PIL images or paths, or [`DatasetImages`].
            processor: a processor with an `image_processor`, or an image processor.
            batch_size: images in one pass of the vision tower, at most the encoder's own `batch_size`.

        Returns:
            (num_readable, projection_dim) embeddings, and (num_readable,) int64 with each one's place in `images`.

        Raises:
            ValueError: no image at all, or none that can be read.
        """
        if len(images) == 0:
            raise ValueError("Got no images to embed.")
        image_processor = getattr(processor, "image_processor", processor)
        key = (
            ("images", _images_fingerprint(images), image_processor.to_json_string())
            if self.cache_dir
            else ("images",)
        )
        tensors = self._cached(key, lambda: self._embed_images(images, image_processor, self._capped(batch_size)))
        if len(tensors["rows"]) == 0:
            raise ValueError(f"None of the {len(images)} images can be read.")
        return tensors["embeds"], tensors["rows"]

    def encode_texts(self, texts: Sequence[str], processor: Any, batch_size: int | None = None) -> torch.Tensor:
        """Embed texts: (num_texts, projection_dim), L2-normalized float32 on the CPU.

        Raises:
            ValueError: no text, or one longer than the context (unless `truncation` cuts it).
        """
        texts = list(texts)
        if not texts:
            raise ValueError("Got no texts to embed.")
        tokenizer = getattr(processor, "tokenizer", processor)
        key = ("texts", *texts, str(self.truncation), _tokenizer_fingerprint(tokenizer)) if self.cache_dir else ()
        return self._cached(key, lambda: self._embed_texts(texts, tokenizer, self._capped(batch_size)))["embeds"]

    def _embed_images(self, images: Sequence, image_processor: Any, batch_size: int) -> dict[str, torch.Tensor]:
        loader = torch.utils.data.DataLoader(
            PreparedImages(images, image_processor),
            batch_sampler=self._own_batches(range(len(images)), batch_size),
            collate_fn=collate_prepared,
            num_workers=self.num_workers,
        )
        embeds, rows, unreadable = [], [], Counter()
        for batch_rows, inputs, causes in self._progress(loader, "Embedding images"):
            unreadable.update(causes)
            if batch_rows:
                rows += batch_rows
                embeds.append(self._image_embeds(inputs))
        if unreadable:
            logger.warning("%d images left out: %s", unreadable.total(), dict(unreadable))
        if not embeds:  # The others must know the width even of no rows.
            blank = image_processor(images=[Image.new("RGB", (64, 64))], return_tensors="pt")
            embeds.append(self._image_embeds(blank)[:0])
        return self._gathered(embeds=torch.cat(embeds), rows=torch.tensor(rows, dtype=torch.int64))

    @torch.inference_mode()
    def _image_embeds(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        device, dtype = self.model.device, self.model.dtype
        moved = {
            name: value.to(device, dtype if value.is_floating_point() else None) for name, value in inputs.items()
        }
        return F.normalize(self.model.get_image_features(**moved).pooler_output.float(), dim=-1).cpu()

    def _embed_texts(self, texts: list[str], tokenizer: Any, batch_size: int) -> dict[str, torch.Tensor]:
        # Texts of one length share a batch, so that little is padded.
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        own = self._own_batches(order, batch_size)
        padded = padded_as_trained(self.model, tokenizer)
        embeds = [
            encode_texts(self.model, [texts[index] for index in batch], padded, batch_size, self.truncation)
            for batch in self._progress(own, "Embedding texts")
        ]
        if not embeds:
            embeds.append(encode_texts(self.model, texts[:1], padded, truncation=self.truncation)[:0])
        gathered = self._gathered(embeds=torch.cat(embeds))["embeds"]
        restored = torch.empty_like(gathered)
        restored[torch.tensor(order)] = gathered
        return {"embeds": restored}

    def _capped(self, batch_size: int | None) -> int:
        check_positive(batch_size=1 if batch_size is None else batch_size)
        return self.batch_size if batch_size is None else min(batch_size, self.batch_size)

    def _own_batches(self, rows: Sequence[int], batch_size: int) -> list[list[int]]:
        """This process's share of whole batches: a batch is the same whichever process embeds it."""
        batches = [list(rows[start : start + batch_size]) for start in range(0, len(rows), batch_size)]
        first, last = (
            len(batches) * index // self.num_processes for index in (self.process_index, self.process_index + 1)
        )
        return batches[first:last]

    @torch.no_grad()
    def _gathered(self, **tensors: torch.Tensor) -> dict[str, torch.Tensor]:
        if self.num_processes == 1:
            return tensors
        gathered = all_gather_with_grad(*(tensor.to(self.model.device) for tensor in tensors.values()))
        return {name: tensor.cpu() for name, tensor in zip(tensors, gathered, strict=True)}

    def _cached(self, key: tuple[str, ...], compute: Callable[[], dict]) -> dict[str, torch.Tensor]:
        if self.cache_dir is None:
            return compute()
        from safetensors.torch import load_file, save_file

        name = _digest(str(CACHE_VERSION), self._model_fingerprint, *key)
        path = self.cache_dir / f"{name}.safetensors"
        if self._gathered(found=torch.tensor([path.is_file()]))["found"].all():
            return load_file(path)
        tensors = compute()
        if self.process_index == 0:
            # Written aside and renamed: an interrupted run leaves nothing behind that looks finished.
            self.cache_dir.mkdir(parents=True, exist_ok=True)
            aside = self.cache_dir / f".writing-{uuid.uuid4().hex}"
            save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, aside)
            os.replace(aside, path)
        return tensors

    def _progress(self, batches: Any, description: str) -> Any:
        from tqdm.auto import tqdm

        return tqdm(batches, desc=description, unit="batch", disable=not self.show_progress, leave=False)


def model_fingerprint(model: torch.nn.Module) -> str:
    """A name for what a model computes: its configuration and the bytes of its weights; about a second a gigabyte."""
    config = _settings(model.config.to_dict())
    digest = hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode())
    for name, tensor in model.state_dict().items():
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(flat.view(torch.uint8).numpy())
    return digest.hexdigest()


def _settings(config: Any) -> Any:
    """A configuration without what saving and loading write into it."""
    if not isinstance(config, dict):
        return config
    return {name: _settings(value) for name, value in config.items() if name not in NO_SETTINGS}


def _images_fingerprint(images: Sequence) -> str:
    if isinstance(images, DatasetImages):
        return images.fingerprint
    digest = hashlib.sha256()
    for image in images:
        loaded = load_image(image)
        digest.update(f"{loaded.size}".encode())
        digest.update(loaded.tobytes())
    return digest.hexdigest()


def _tokenizer_fingerprint(tokenizer: Any) -> str:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    return backend.to_str() if backend is not None else f"{tokenizer!r} {sorted(tokenizer.get_vocab().items())}"


def _digest(*parts: str) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
