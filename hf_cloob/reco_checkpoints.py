# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""How a RecoForZeroShot comes from a base, and how it is saved and loaded together with its memory."""

import os

import torch
from transformers import AutoModel, PreTrainedConfig

from .configuration_reco import BASE_MODEL_TYPES, RecoConfig
from .modeling_cloob import HUB_KEYWORDS, MODEL_KEYWORDS, CloobModel
from .reco_captions import ENTRIES_FILE
from .reco_fingerprint import encoder_fingerprint
from .reco_memory import RecoMemory
from .reco_memory_file import MEMORY_FILE

FILE_KEYWORDS = ("cache_dir", "force_download", "local_files_only", "proxies", "token", "revision", "subfolder")


class RecoCheckpointMixin:
    """Loading and saving; goes before transformers' PreTrainedModel, whose methods it extends."""

    @classmethod
    def from_base(cls, pretrained_model_name_or_path: str | os.PathLike, **kwargs):
        """Attach fusion layers, which change nothing yet, to a checkpoint.

        Args:
            pretrained_model_name_or_path: folder or Hub id of a CLIP, SigLIP or CLOOB checkpoint.
            kwargs: fields of [`RecoConfig`], `attn_implementation`, `dtype` (float32 by default), and
                `from_pretrained`'s Hub arguments (revision, token, ...).

        Raises:
            ValueError: if the checkpoint is of another kind.
        """
        hub = {name: kwargs.pop(name) for name in HUB_KEYWORDS if name in kwargs}
        options = {name: kwargs.pop(name) for name in MODEL_KEYWORDS if name in kwargs}
        model_type = PreTrainedConfig.get_config_dict(pretrained_model_name_or_path, **hub)[0].get("model_type")
        if model_type not in BASE_MODEL_TYPES:
            raise ValueError(
                f"{str(pretrained_model_name_or_path)!r} is a {model_type!r} checkpoint: from_base takes "
                f"{', '.join(BASE_MODEL_TYPES)} checkpoints."
            )
        # Remote code is not registered with AutoModel, and a CLOOB base must work there too.
        loader = CloobModel if model_type == "cloob" else AutoModel
        base = loader.from_pretrained(pretrained_model_name_or_path, **hub, **({"dtype": torch.float32} | options))
        config = RecoConfig(base_config=base.config, memory_fingerprint=encoder_fingerprint(base), **kwargs)
        return cls(config, base).to(base.dtype).eval()

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *model_args, load_memory: bool = True, **kwargs):
        """As transformers', and open the memory that the configuration announces, memory-mapped.

        Args:
            pretrained_model_name_or_path: folder or Hub id.
            load_memory: False leaves the memory where it is; the model is then its base until `set_memory`.
            kwargs: as transformers' `from_pretrained`.

        Raises:
            ValueError: if the announced memory is missing, damaged, or another one.
        """
        loaded = super().from_pretrained(pretrained_model_name_or_path, *model_args, **kwargs)
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        # transformers forgets what is frozen.
        model.freeze_base()
        if load_memory and model.config.memory_size is not None:
            where = {name: kwargs[name] for name in FILE_KEYWORDS if name in kwargs}
            model.set_memory(_open_announced_memory(model.config, pretrained_model_name_or_path, where))
        return loaded

    def save_pretrained(self, save_directory: str | os.PathLike, save_memory: bool = False, **kwargs) -> None:
        """Save weights, configuration and the code, so that `trust_remote_code=True` works without this package.

        Args:
            save_directory: folder.
            save_memory: also save the memory. Off by default: a Trainer's checkpoints need no copy of it.
            kwargs: as transformers' `save_pretrained`.

        Raises:
            ValueError: if there is no memory to save.
        """
        if save_memory and self.memory is None:
            raise ValueError("save_memory=True, but this model has no memory: set_memory first.")
        self.config.memory_size = len(self.memory) if save_memory else None
        # One class serves two auto classes; transformers itself records only one.
        auto_map = dict(getattr(self.config, "auto_map", None) or {})
        auto_map["AutoModelForZeroShotImageClassification"] = "modeling_reco.RecoForZeroShot"
        self.config.auto_map = auto_map
        if save_memory and kwargs.get("is_main_process", True):
            self.memory.save_pretrained(save_directory, fingerprint=self.config.memory_fingerprint)
        super().save_pretrained(save_directory, **kwargs)

    def _get_files_timestamps(self, working_dir: str | os.PathLike) -> dict[str, float]:
        # With push_to_hub=True transformers uploads what is newer than these; the memory was written just before.
        stamps = super()._get_files_timestamps(working_dir)
        return {name: stamp for name, stamp in stamps.items() if name not in (MEMORY_FILE, ENTRIES_FILE)}


def _open_announced_memory(config: RecoConfig, name_or_path: str | os.PathLike, where: dict) -> RecoMemory:
    """Open the memory that a model's configuration announces.

    Raises:
        ValueError: if it is missing, damaged, or another memory.
    """
    try:
        memory = RecoMemory.from_pretrained(name_or_path, **where)
    except ValueError as error:
        raise ValueError(
            f"The configuration of {str(name_or_path)!r} announces a memory of {config.memory_size} entries, which "
            f"cannot be opened (load_memory=False does without): {error}"
        ) from error
    announced = config.memory_size, config.memory_dtype, config.memory_fingerprint, config.projection_dim
    found = len(memory), str(memory.dtype).removeprefix("torch."), memory.fingerprint, memory.projection_dim
    if found != announced:
        raise ValueError(
            f"The memory in {str(name_or_path)!r} is not the one that the configuration announces: (memory_size, "
            f"memory_dtype, memory_fingerprint, projection_dim) are {found}, announced are {announced}."
        )
    return memory
