# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Embeddings for benchmark_memory.py: real pictures' and captions', moved a little until there are enough of them."""

import random
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from checkpoints import load_encoder

if TYPE_CHECKING:
    import torch

WORDS = (
    "a the of on in with and red green blue small large old young two three man woman child dog cat horse bird tree "
    "house street car boat table chair window field sea mountain river sky sun snow rain city park garden road bridge"
).split()
WORDS_IN_A_CAPTION = 10
# Cosine of a copy and what it is a copy of. Turning icons by up to 5 degrees, moving them by 5 %, scaling them by 10 %
# and darkening them by 10 % moves their embeddings by an emoji CLOOB to 0.87 to 0.97 (tenth and ninetieth percentile).
COPY_COSINES = (0.85, 0.97)
ROWS_AT_ONCE = 50_000
# At most this share of the icons is held out for queries.
QUERY_SHARE = 0.2


class IconEmbeds(NamedTuple):
    """Embeddings of icons, in a random order.

    Args:
        queries: (num_queries, projection_dim) of pictures that are not in the memory.
        images: (num_icons, projection_dim).
        texts: (num_icons, projection_dim) of their captions.
    """

    queries: "torch.Tensor"
    images: "torch.Tensor"
    texts: "torch.Tensor"


def embed_icons(args) -> IconEmbeds:
    """Embed the icons with every checkpoint and put the embeddings side by side, as an ensemble's."""
    import torch
    from torch.nn.functional import normalize

    from hf_cloob.data.icons import load_icons
    from hf_cloob.data.npm_packages import default_cache_dir
    from hf_cloob.evaluation.cached_encoder import CachedEncoder
    from hf_cloob.evaluation.image_loading import DatasetImages

    cache_dir = Path(args.cache_dir) if args.cache_dir else default_cache_dir()
    icons = load_icons(cache_dir, collections=args.icon_collections or None)
    sides: tuple[list, list] = [], []
    for checkpoint in args.model_name_or_path:
        model, processor = load_encoder(checkpoint)
        encoder = CachedEncoder(model, cache_dir / "embeddings", batch_size=256, truncation=True, show_progress=True)
        sides[0].append(encoder.encode_images(DatasetImages(icons, "image"), processor))
        sides[1].append(encoder.encode_texts(icons["caption"], processor))
    # Each is of unit norm: the cosine of what they make together is the mean of their cosines.
    images, texts = (normalize(torch.cat(side, dim=1), dim=1) for side in sides)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(args.seed))
    num_queries = min(args.num_queries, int(QUERY_SHARE * len(images)))
    queried, kept = order[:num_queries], order[num_queries:]
    return IconEmbeds(images[queried], images[kept], texts[kept])


def write_memory(icons: IconEmbeds, memory_size: int, seed: int, folder: Path) -> None:
    """Save a memory: the icons first, then copies of them in the same order, and captions of ten words."""
    from hf_cloob import RecoMemory

    words = random.Random(seed)
    captions = [" ".join(words.choices(WORDS, k=WORDS_IN_A_CAPTION)) for _ in range(memory_size)]
    sides = (with_copies(icons.images, memory_size, seed), with_copies(icons.texts, memory_size, seed + 10**9))
    RecoMemory(*sides, captions=captions).save_pretrained(folder)


def with_copies(embeds, rows: int, seed: int):
    """The embeddings, then copies moved in random directions, float16 (rows, projection_dim).

    The directions are those of the whole space, which is harder for an index than what pictures do: that stays in
    fewer dimensions.
    """
    import torch
    from torch.nn.functional import normalize

    result = torch.empty(rows, embeds.shape[1], dtype=torch.float16)
    for start in range(0, rows, ROWS_AT_ONCE):
        numbers = torch.arange(start, min(start + ROWS_AT_ONCE, rows))
        generator = torch.Generator().manual_seed(seed + start)
        originals = embeds[numbers % len(embeds)]
        noise = torch.randn(originals.shape, generator=generator)
        noise = normalize(noise - (noise * originals).sum(dim=1, keepdim=True) * originals, dim=1)
        cosine = torch.empty(len(numbers), 1).uniform_(*COPY_COSINES, generator=generator)
        cosine[numbers < len(embeds)] = 1.0
        result[numbers] = normalize(cosine * originals + (1 - cosine**2).sqrt() * noise, dim=1).half()
    return result
