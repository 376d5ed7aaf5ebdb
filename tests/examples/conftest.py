# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The example scripts as modules and as commands, on a hundred emoji and towers of a few thousand parameters."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
# Last, as command_line.py puts it: `import evaluate` is the library of that name.
sys.path.append(str(EXAMPLES))

RESNET = {
    "model_type": "resnet",
    "layer_type": "basic",
    "embedding_size": 8,
    "hidden_sizes": [8, 16],
    "depths": [1, 1],
}
TRANSFORMER = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
CLIP_TEXT = {"model_type": "clip_text_model", **TRANSFORMER}
SHORT_RUN = {
    "validation_size": 20,
    "vision_config": RESNET,
    "text_config": CLIP_TEXT,
    "vocab_size": 400,
    "projection_dim": 16,
    "image_size": 32,
    "batch_size": 15,
    "max_train_steps": 6,
    "warmup_steps": 2,
    "learning_rate": 0.01,
    "num_workers": 0,
    "eval_steps": 3,
    "save_steps": 3,
    "logging_steps": 1,
}


@pytest.fixture(scope="session")
def pairs(tmp_path_factory) -> Path:
    """A folder with a parquet file of 100 real pairs, as a user may have one."""
    from hf_cloob.data.emoji import load_emoji

    folder = tmp_path_factory.mktemp("pairs")
    rows = load_emoji()["selection"].select(range(0, 600, 6)).select_columns(["image", "captions"])
    rows.rename_column("captions", "caption").to_parquet(folder / "train.parquet")
    return folder


@pytest.fixture(scope="session")
def flags(pairs):
    """The command line of a short run; None leaves a flag out."""

    def build(**changes) -> list[str]:
        line = []
        for name, value in ({"dataset_name": pairs} | SHORT_RUN | changes).items():
            values = value if isinstance(value, list) else [json.dumps(value) if isinstance(value, dict) else value]
            line += [] if value is None else [f"--{name}", *map(str, values)]
        return line

    return build


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="session")
def command(environment, tmp_path_factory):
    """Run `examples/NAME.py` in a process of its own, from a folder that is not the repository's."""

    def run(name: str, *arguments: str, launcher: tuple[str, ...] = ()) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, *launcher, str(EXAMPLES / name), *map(str, arguments)],
            capture_output=True,
            text=True,
            cwd=tmp_path_factory.getbasetemp(),
            env=environment,
            timeout=600,
        )

    return run


@pytest.fixture(scope="session")
def finished(command, flags, tmp_path_factory) -> Path:
    """The output folder of a short run in a process of its own."""
    folder = tmp_path_factory.mktemp("finished") / "out"
    result = command("pretrain.py", *flags(output_dir=folder))
    assert result.returncode == 0, result.stderr
    return folder


@pytest.fixture(scope="session")
def evaluate_script():
    """examples/evaluate.py as a module, by its path: the library has its name."""
    spec = importlib.util.spec_from_file_location("evaluate_script", EXAMPLES / "evaluate.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def fresh_accelerate():
    """Accelerate keeps one state a process; a test's must not be the next one's."""
    yield
    from accelerate.state import AcceleratorState, GradientState

    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


@pytest.fixture
def train(flags, fresh_accelerate, monkeypatch):
    """Run pretrain.py's main in this process with the flags of a short run and these changes."""
    import pretrain

    def run(**changes) -> None:
        monkeypatch.setattr(sys, "argv", ["pretrain.py", *flags(**changes)])
        pretrain.main()

    return run


@pytest.fixture
def mistake(train, capsys):
    """The one line with which pretrain.py ends."""

    def run(**changes) -> str:
        with pytest.raises(SystemExit) as stop:
            train(**changes)
        assert stop.value.__suppress_context__ or stop.value.__context__ is None
        message = str(stop.value)
        assert "\n" not in message
        return message.removeprefix("pretrain.py: ")

    return run
