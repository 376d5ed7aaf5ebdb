# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Read a corpus once, as training would, and count what could not be used."""

import torch

from .bad_samples import BadSample, Tally
from .image_decoding import decode_image
from .shards import Source


class SurveyedShards(torch.utils.data.Dataset):
    """One item a shard: what reading and decoding all of its pairs found. For a DataLoader with workers.

    Args:
        source: what to read.
        min_side: as in `decode_image`.
    """

    def __init__(self, source: Source, min_side: int | None = None):
        self.source, self.min_side = source, min_side

    def __len__(self) -> int:
        return self.source.num_shards

    def __getitem__(self, shard: int) -> dict:
        """num_good, num_bytes (of the pictures), skipped: cause -> count, skipped_at: cause -> first place."""
        bad, num_good, num_bytes = Tally(), 0, 0
        for item in self.source.read(shard, epoch=0):
            try:
                if isinstance(item, BadSample):
                    raise item
                decode_image(item.image, self.min_side)
            except BadSample as error:
                bad.add(error if error.place else BadSample(error.cause, item.place))
                continue
            num_good += 1
            num_bytes += len(item.image) if isinstance(item.image, bytes) else 0
        skipped, skipped_at = bad.take()
        return {"num_good": num_good, "num_bytes": num_bytes, "skipped": skipped, "skipped_at": skipped_at}
