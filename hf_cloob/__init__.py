# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""CLOOB and its relatives for Hugging Face: train, understand, publish and use contrastive vision-language models.

Importing the package registers the model with transformers' Auto classes and loads torch and transformers only. (Where
accelerate is installed, transformers itself imports it with its models.) The rings are loaded when they are used.
"""

from transformers import AutoConfig, AutoModel, AutoModelForZeroShotImageClassification, AutoProcessor

from .configuration_cloob import CloobConfig
from .configuration_reco import RecoConfig
from .gap_closing import close_gap, open_gap
from .hopfield import hopfield_retrieval
from .losses_contrastive import clip_loss, cloob_loss, info_loob_loss, info_nce_loss, sigmoid_loss
from .losses_reco import reco_loss
from .losses_regularization import alignment_loss, cross_modal_uniformity_loss, uniformity_loss
from .modeling_cloob import CloobModel, CloobTextModelWithProjection, CloobVisionModelWithProjection
from .modeling_reco import RecoForZeroShot
from .outputs_cloob import CloobOutput, CloobTextModelOutput, CloobVisionModelOutput
from .outputs_reco import RecoOutput
from .processing_cloob import CloobProcessor
from .reco_fingerprint import encoder_fingerprint
from .reco_fusion import RecoFusion
from .reco_memory import RecoMemory, RecoNeighbors
from .siglip_start import cloob_from_siglip

__version__ = "0.1.0"

AutoConfig.register("cloob", CloobConfig, exist_ok=True)
AutoModel.register(CloobConfig, CloobModel, exist_ok=True)
AutoModelForZeroShotImageClassification.register(CloobConfig, CloobModel, exist_ok=True)
AutoProcessor.register(CloobConfig, CloobProcessor, exist_ok=True)
AutoConfig.register("reco", RecoConfig, exist_ok=True)
AutoModel.register(RecoConfig, RecoForZeroShot, exist_ok=True)
AutoModelForZeroShotImageClassification.register(RecoConfig, RecoForZeroShot, exist_ok=True)
AutoProcessor.register(RecoConfig, CloobProcessor, exist_ok=True)

__all__ = [
    "CloobConfig",
    "CloobModel",
    "CloobOutput",
    "CloobProcessor",
    "CloobTextModelOutput",
    "CloobTextModelWithProjection",
    "CloobVisionModelOutput",
    "CloobVisionModelWithProjection",
    "RecoConfig",
    "RecoForZeroShot",
    "RecoFusion",
    "RecoMemory",
    "RecoNeighbors",
    "RecoOutput",
    "alignment_loss",
    "clip_loss",
    "close_gap",
    "cloob_from_siglip",
    "cloob_loss",
    "cross_modal_uniformity_loss",
    "encoder_fingerprint",
    "hopfield_retrieval",
    "info_loob_loss",
    "info_nce_loss",
    "open_gap",
    "reco_loss",
    "sigmoid_loss",
    "uniformity_loss",
]


def __getattr__(name: str):
    if name == "CloobZeroShotPipeline":
        from .hub.pipelines import CloobZeroShotPipeline

        return CloobZeroShotPipeline
    if name == "geometry_report":
        from .evaluation.geometry_report import geometry_report

        return geometry_report
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), "CloobZeroShotPipeline", "geometry_report"])
