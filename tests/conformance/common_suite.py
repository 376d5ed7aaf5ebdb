# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""transformers' ModelTesterMixin and ConfigTester on three models of each family: dual encoder, text, vision.

The classes of one kind differ in the model and its configuration only, so that their outcomes compare test by test.
Not named test_*: pytest collects this file for `make conformance` alone.
"""

import unittest

from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    PreTrainedConfig,
)
from transformers_tests.test_configuration_common import ConfigTester
from transformers_tests.test_modeling_common import ModelTesterMixin, floats_tensor, ids_tensor, random_attention_mask

from hf_cloob import CloobConfig, CloobModel, CloobTextModelWithProjection, CloobVisionModelWithProjection

LAYERS = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 37}
TEXT = {**LAYERS, "vocab_size": 99, "max_position_embeddings": 512, "dropout": 0.1, "attention_dropout": 0.1}
VISION = {**LAYERS, "image_size": 30, "patch_size": 2, "num_channels": 3, "dropout": 0.1, "attention_dropout": 0.1}
PROJECTION_DIM = 64


def clip_config() -> CLIPConfig:
    return CLIPConfig(text_config=TEXT, vision_config=VISION, projection_dim=PROJECTION_DIM)


def cloob_config() -> CloobConfig:
    return CloobConfig(
        text_config={"model_type": "clip_text_model", **TEXT},
        vision_config={"model_type": "clip_vision_model", **VISION},
        projection_dim=PROJECTION_DIM,
    )


class TextTester:
    """Makes a configuration and random inputs, under the names that the common tests look up."""

    def __init__(self, make_config):
        self.get_config = make_config
        self.batch_size = 12
        self.seq_length = self.encoder_seq_length = self.key_length = 7
        self.hidden_size = LAYERS["hidden_size"]
        self.num_hidden_layers = LAYERS["num_hidden_layers"]
        self.num_attention_heads = LAYERS["num_attention_heads"]
        self.vocab_size = TEXT["vocab_size"]
        self.is_training = False  # a tower alone has no loss

    def prepare_config_and_inputs_for_common(self):
        shape = [self.batch_size, self.seq_length]
        attention_mask = random_attention_mask(shape)
        # Padding is on the right: every row is a run of tokens, then a run of padding.
        attention_mask = attention_mask.sort(dim=-1, descending=True).values
        return self.get_config(), {"input_ids": ids_tensor(shape, self.vocab_size), "attention_mask": attention_mask}


class VisionTester:
    """The same for the vision model."""

    def __init__(self, make_config):
        self.get_config = make_config
        self.batch_size = 12
        self.image_size, self.patch_size = VISION["image_size"], VISION["patch_size"]
        self.num_channels = VISION["num_channels"]
        self.seq_length = (self.image_size // self.patch_size) ** 2 + 1
        self.hidden_size = LAYERS["hidden_size"]
        self.num_hidden_layers = LAYERS["num_hidden_layers"]
        self.num_attention_heads = LAYERS["num_attention_heads"]
        self.is_training = False

    def prepare_config_and_inputs_for_common(self):
        shape = [self.batch_size, self.num_channels, self.image_size, self.image_size]
        return self.get_config(), {"pixel_values": floats_tensor(shape)}


class DualEncoderTester:
    """The same for the dual encoder."""

    def __init__(self, make_config):
        self.get_config = make_config
        self.text_model_tester = TextTester(make_config)
        self.vision_model_tester = VisionTester(make_config)
        self.batch_size = self.text_model_tester.batch_size
        self.is_training = True
        self.return_loss = True

    def prepare_config_and_inputs_for_common(self):
        _, text = self.text_model_tester.prepare_config_and_inputs_for_common()
        _, vision = self.vision_model_tester.prepare_config_and_inputs_for_common()
        return self.get_config(), {**text, **vision, "return_loss": self.return_loss}


class _Family(ModelTesterMixin):
    make_tester: type
    has_text_modality = True
    # Tiny models are not resized in either family: positions and vocabulary belong to the towers.
    test_resize_embeddings = False

    @staticmethod
    def make_config() -> PreTrainedConfig:
        raise NotImplementedError

    def setUp(self):
        self.model_tester = self.make_tester(type(self).make_config)
        config = type(self).make_config()
        self.config_tester = ConfigTester(
            self,
            config_class=type(config),
            has_text_modality=self.has_text_modality and not config.sub_configs,
            **({} if config.sub_configs else LAYERS),
            common_properties=[] if config.sub_configs else None,
        )

    def test_config(self):
        self.config_tester.run_common_tests()


class _DualEncoder(_Family):
    make_tester = DualEncoderTester
    additional_model_inputs = ["pixel_values"]
    _is_composite = True
    # What CLIPModel cannot pass: the suite looks for one stack of layers and one embedding table.
    test_attention_outputs = unittest.skip("the states of a dual encoder are its towers'")(lambda self: None)
    test_hidden_states_output = test_retain_grad_hidden_states_attentions = test_attention_outputs
    test_model_get_set_embeddings = unittest.skip("a dual encoder has no one embedding table")(lambda self: None)

    def test_batching_equivalence(self):
        # A pair alone has no contrastive loss, and ours says so: embeddings and scores are compared in both families.
        self.model_tester.return_loss = False
        super().test_batching_equivalence()


class _Text(_Family):
    make_tester = TextTester


class _Vision(_Family):
    make_tester = VisionTester
    has_text_modality = False
    test_model_get_set_embeddings = unittest.skip("patches have no embedding table")(lambda self: None)


class ClipDualEncoderTest(_DualEncoder, unittest.TestCase):
    all_model_classes = (CLIPModel,)
    make_config = staticmethod(clip_config)


class CloobDualEncoderTest(_DualEncoder, unittest.TestCase):
    all_model_classes = (CloobModel,)
    make_config = staticmethod(cloob_config)


class ClipTextTest(_Text, unittest.TestCase):
    all_model_classes = (CLIPTextModelWithProjection,)
    make_config = staticmethod(lambda: CLIPTextConfig(**TEXT, projection_dim=PROJECTION_DIM))


class CloobTextTest(_Text, unittest.TestCase):
    all_model_classes = (CloobTextModelWithProjection,)
    make_config = staticmethod(cloob_config)


class ClipVisionTest(_Vision, unittest.TestCase):
    all_model_classes = (CLIPVisionModelWithProjection,)
    make_config = staticmethod(lambda: CLIPVisionConfig(**VISION, projection_dim=PROJECTION_DIM))


class CloobVisionTest(_Vision, unittest.TestCase):
    all_model_classes = (CloobVisionModelWithProjection,)
    make_config = staticmethod(cloob_config)
