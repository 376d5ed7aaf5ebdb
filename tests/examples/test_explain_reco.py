# Copyright 2026 The hf_cloob authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""explain_reco.py on a tiny RECO whose memory holds a hundred emoji: what it shows is what the model did."""

import hashlib
import json
import sys

import explain_reco
import pytest
import torch
from explanations import found_by, predict
from tiny_reco import save_base, stir
from transformers.image_utils import load_image

from hf_cloob import RecoForZeroShot, RecoMemory
from hf_cloob.data.sources import load_pairs

LABELS = ["a red apple", "two dogs run", "the sea", "a cat"]
# A readout by the nearest neighbor nearly alone, so that what is added decides.
READOUT = {"num_neighbors": 3, "readout_weight_init_value": 8.0, "readout_scale_init_value": 200.0}


@pytest.fixture(scope="module")
def processor(base):
    from checkpoints import load_processor

    return load_processor(str(base))


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return save_base("cloob", tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def reco(base, processor, pairs, tmp_path_factory):
    """The folder of a RECO with its memory of the emoji of `pairs`."""
    model = RecoForZeroShot.from_base(base, **READOUT)
    dataset = load_pairs(str(pairs))
    model.set_memory(RecoMemory.build(model, processor, dataset, caption_column="captions", show_progress=False))
    folder = tmp_path_factory.mktemp("reco") / "reco"
    model.save_pretrained(folder, save_memory=True)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Files of two flags, which the memory does not hold."""
    from hf_cloob.data.flags import load_flags

    folder = tmp_path_factory.mktemp("pictures")
    files = [folder / f"{number}.png" for number in (0, 1)]
    for number, file in enumerate(files):
        load_flags()[50 * number]["image"].save(file)
    return [str(file) for file in files]


@pytest.fixture
def explain(reco, monkeypatch, tmp_path):
    """Run the command and return its metrics and the lines of explanations.jsonl."""

    def run(*arguments, folder=reco, name="out") -> tuple[dict, list[dict]]:
        output_dir = tmp_path / name
        line = [str(folder), *map(str, arguments), "--candidate_labels", *LABELS, "--output_dir", str(output_dir)]
        monkeypatch.setattr(sys, "argv", ["explain_reco.py", *line])
        explain_reco.main()
        lines = (output_dir / "explanations.jsonl").read_text(encoding="utf-8").splitlines()
        return json.loads((output_dir / "metrics.json").read_text()), [json.loads(line) for line in lines]

    return run


def contents(folder) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir() if path.is_file()}


def test_scores_and_entries_are_those_of_the_model(explain, reco, processor, pictures, capsys, tmp_path):
    metrics, lines = explain(*pictures)
    model = RecoForZeroShot.from_pretrained(reco).eval()
    images = processor.image_processor([load_image(file) for file in pictures], return_tensors="pt")
    texts = processor.tokenizer(LABELS, padding=True, return_tensors="pt")
    with torch.no_grad():
        outputs = model(**images, **texts, return_neighbors=True)
        base = model.base(**images, **texts)
    for row, line in enumerate(lines):
        for stage, expected in (("base", base), ("with memory", outputs)):
            probabilities = expected.logits_per_image[row].softmax(dim=0).tolist()
            assert list(line["scores"][stage].values()) == pytest.approx(probabilities, abs=1e-5)
        assert list(line["scores"]["base"]) == LABELS
        found = line["found"]["found by the picture"]
        assert [entry["id"] for entry in found] == outputs.image_neighbors.ids[row].tolist()
        assert [entry["caption"] for entry in found] == model.memory.captions_of(outputs.image_neighbors.ids[row])
        best = max(line["scores"]["with memory"], key=line["scores"]["with memory"].get)
        found = line["found"][f"found by “{best}”"]
        assert [entry["id"] for entry in found] == outputs.text_neighbors.ids[LABELS.index(best)].tolist()
    assert metrics["memory_size"] == 100 and metrics["num_images"] == 2 and "memory_size_after" not in metrics
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "explanations.jsonl",
        "metrics.json",
        "neighbors_1.png",
    }
    printed = capsys.readouterr().out
    assert "0.png" in printed and "with memory" in printed and "after the edit" not in printed


def test_an_added_picture_is_found_at_once_and_the_checkpoint_stays_as_it_was(explain, reco, pictures):
    before = contents(reco)
    # Not the label that it has now: the added name must bring the change.
    _, lines = explain(pictures[0])
    name = min(LABELS, key=lines[0]["scores"]["with memory"].get)
    metrics, lines = explain(pictures[0], "--add_image", pictures[0], "--add_caption", name, name="edited")
    first = lines[0]["found"]["found by it after the edit"][0]
    assert (first["id"], first["caption"]) == (100, name) and first["score"] == pytest.approx(1, abs=1e-3)
    assert max(lines[0]["scores"]["after the edit"], key=lines[0]["scores"]["after the edit"].get) == name
    assert 100 not in [entry["id"] for entry in lines[0]["found"]["found by the picture before the edit"]]
    assert metrics["top1_changed_by_edit"] == 1 and metrics["entries_added"] == 1
    assert metrics["memory_size_after"] == 101 and 0 < metrics["add_seconds"] <= metrics["add_seconds_max"] < 1
    assert contents(reco) == before


def test_removing_what_was_added_restores_the_former_scores_bit_for_bit(explain, pictures):
    edits = ["--add_image", pictures[0], "--add_caption", "a cat", "--add_image", pictures[1], "--add_caption", "it"]
    metrics, lines = explain(*pictures, *edits, "--remove_ids", 100, 101)
    for line in lines:
        assert line["scores"]["after the edit"] == line["scores"]["with memory"]
        assert line["scores"]["with memory"] != line["scores"]["base"]
    assert metrics["entries_added"] == metrics["entries_removed"] == 2 and metrics["memory_size_after"] == 100


def test_a_removed_entry_is_not_found_any_more(explain, pictures):
    _, lines = explain(pictures[0])
    first, second = lines[0]["found"]["found by the picture"][:2]
    _, lines = explain(pictures[0], "--remove_ids", first["id"], name="edited")
    assert lines[0]["found"]["found by it after the edit"][0] == second
    assert lines[0]["found"]["found by the picture before the edit"][0] == first


def test_an_edited_checkpoint_is_saved_where_it_is_asked_for(explain, pictures, tmp_path):
    edited = tmp_path / "with_flag"
    edits = ["--add_image", pictures[0], "--add_caption", "a cat", "--remove_ids", 7, "--save_edited", edited]
    _, lines = explain(pictures[1], *edits)
    metrics, again = explain(pictures[1], folder=edited, name="again")
    assert metrics["memory_size"] == 100
    after = lines[0]["scores"]["after the edit"]
    assert again[0]["scores"]["with memory"] == pytest.approx(after, abs=1e-5)
    memory = RecoForZeroShot.from_pretrained(edited).memory
    assert memory.captions_of([100]) == ["a cat"] and 7 not in memory.ids


def test_pictures_come_from_the_dataset_that_the_memory_was_built_from(explain, pairs, reco, pictures, tmp_path):
    explain(pictures[0], name="captions")
    explain(pictures[0], "--memory_images", pairs, name="pictures")
    captions, shown = (load_image(str(tmp_path / name / "neighbors_1.png")) for name in ("captions", "pictures"))
    # The strips of pictures have lines for captions below them.
    assert shown.width == captions.width and shown.height > captions.height
    memory = RecoMemory.from_pretrained(reco)
    picture_of = explain_reco.MemoryPictures(memory, str(pairs), None, "train", "image", "caption")
    rows = load_pairs(str(pairs))
    assert picture_of(42, memory.captions_of([42])[0]).tobytes() == rows[42]["image"].tobytes()
    assert picture_of(100, "added elsewhere") is None


def test_a_side_that_looks_nothing_up_has_no_entries(reco):
    model = RecoForZeroShot.from_pretrained(reco).eval()
    model.config.refine_image = False
    embeds = model.memory.image_embeds[:1].float(), model.memory.text_embeds[:2].float()
    prediction = predict(stir(model), *embeds)
    assert found_by(model.memory, prediction.image_neighbors, 0, lambda id, caption: None) == []
    assert len(found_by(model.memory, prediction.text_neighbors, 1, lambda id, caption: None)) == 3


def test_pictures_may_follow_the_model_and_flags_may_repeat():
    line = "reco a.png b.png --add-image c.png --num_labels 3 --add_caption=x --add_image d.png --add_caption y z"
    gathered = explain_reco.gathered(line.split())
    expected = "reco --num_labels 3 --images a.png b.png --add_image c.png d.png --add_caption x y z"
    assert gathered == expected.split()
    assert explain_reco.gathered(["--help"]) == ["--help"]
    assert explain_reco.gathered(["reco", "--images", "a.png"]) == ["reco", "--images", "a.png"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("", "images needs a picture"),
        ("nothing.png", "images nothing.png: there is no such file"),
        ("PICTURE --add_image PICTURE", "go together, got 1 pictures and 0 captions"),
        ("PICTURE --save_edited out", "save_edited needs an edit"),
        ("PICTURE --remove_ids 1 --save_edited .", r"save_edited \. exists: name a new folder"),
        ("PICTURE --remove_ids 5 777", "remove_ids: 1 of 2 ids are not in the memory"),
        ("PICTURE --hypothesis_template it", "hypothesis_template needs one {} for the label, got 'it'"),
        ("PICTURE --num_labels 0", "num_labels must be at least 1, got 0"),
        ("PICTURE --memory_images emoji", "memory_images emoji is not what the memory was built from: entry"),
        ("PICTURE --memory_images nowhere", "memory_images 'nowhere'"),
        ("PICTURE --model BASE", "is a 'cloob' checkpoint: it looks nothing up"),
    ],
)
def test_a_mistake_is_named(explain, base, pictures, flags, message, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    flags = [{"PICTURE": pictures[0], "BASE": str(base)}.get(flag, flag) for flag in flags.split()]
    with pytest.raises(SystemExit, match=message):
        explain(*flags)


def test_labels_and_a_memory_are_needed(explain, base, pictures, tmp_path):
    with pytest.raises(explain_reco.UserError, match=r"candidate_labels must be two .* got \['a', 'a'\]"):
        explain_reco.check(explain_reco.ExplainArguments(images=["x"], candidate_labels=["a", "a"]))
    RecoForZeroShot.from_base(base).save_pretrained(tmp_path / "bare")
    with pytest.raises(SystemExit, match="saved without a memory: there is nothing to explain"):
        explain(pictures[0], folder=tmp_path / "bare")
