"""An exported model folder is complete, records where it comes from, and reads alike with both engines."""

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from app.inference.engine_selection import open_engine
from app.inference.model_folder import ModelFolder
from tests.support.small_training import EARLY, make_similar_run, vary
from training.data.mnist import Digits
from training.data.populations import HeldOut
from training.errors import ExportError
from training.evaluation.metrics import ENGINES, score_all
from training.export import onnx_graph
from training.export.model_writer import NetworkToExport, export_run, write_model
from training.export.saved_runs import load_run
from training.runs import Run


def test_a_model_folder_is_complete_and_records_where_it_comes_from(small_model: ModelFolder, early_run: Run) -> None:
    """It has two files, a manifest with recipe, seed and history, and twenty golden digits."""
    assert sorted(path.name for path in small_model.folder.iterdir()) == [
        "manifest.json",
        "small.onnx",
        "small.safetensors",
    ]
    manifest = small_model.manifest
    assert manifest.id == "small-1.2.3"
    assert manifest.training["finished"]
    assert len(manifest.training["runs"][0]["history"]) == EARLY.epochs
    assert [golden.digit for golden in manifest.golden] == [digit for digit in range(10) for _ in range(2)]
    assert manifest.networks["small"].parameters == sum(p.numel() for p in early_run.network.parameters())


def test_multiply_adds_are_counted(small_model: ModelFolder) -> None:
    """The count is that of the layers, worked out by hand."""
    convolutions = 14 * 14 * 25 * 8 + 7 * 7 * 9 * 8 * 16 + 4 * 4 * 9 * 16 * 32
    linear = 32 * 11
    assert small_model.manifest.networks["small"].macs == convolutions + linear


def test_graph_and_checkpoint_agree(small_model: ModelFolder, small_parts: tuple[Digits, HeldOut]) -> None:
    """The fp32 graph gives torch's probabilities in batches of any size, from the files that ship."""
    images = small_parts[1].digits.images.numpy()
    graph = score_all(open_engine(small_model, "onnxruntime", "cpu", 1), images, batch=7)
    torch_ = score_all(open_engine(small_model, "torch", "cpu", 1), images, batch=64)
    np.testing.assert_allclose(graph.probabilities, torch_.probabilities, atol=1e-4)
    np.testing.assert_allclose(graph.typicality, torch_.typicality, atol=1e-4)


def test_a_poor_quantisation_is_refused(
    early_run: Run, small_parts: tuple[Digits, HeldOut], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Below the required agreement, nothing is exported. Here the requirement is impossible."""
    monkeypatch.setattr(onnx_graph, "MIN_AGREEMENT", 1.1)
    run = replace(early_run, recipe=vary(EARLY, precision="int8"))
    with pytest.raises(ExportError, match="int8 graph reads"):
        export_run(run, *small_parts, tmp_path / "m", "0.0.0")
    assert list(tmp_path.iterdir()) == []


def test_with_a_fallback_a_poor_quantisation_stays_in_fp32(
    early_run: Run, small_parts: tuple[Digits, HeldOut], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole model is written with the fp32 graph, and its manifest says so."""
    monkeypatch.setattr(onnx_graph, "MIN_AGREEMENT", 1.1)
    network = NetworkToExport(copy.deepcopy(early_run.network), "DigitNet", EARLY.config, "int8", allow_fallback=True)
    model = write_model("m", "1.0.0", {"m": network}, [early_run], *small_parts, tmp_path / "m-1.0.0")
    assert model.manifest.networks["m"].precision == "fp32"
    images = small_parts[1].digits.images.numpy()
    ours, theirs = (score_all(open_engine(model, name, "cpu"), images) for name in ENGINES)
    np.testing.assert_allclose(ours.probabilities, theirs.probabilities, atol=1e-4)


def test_a_cascade_is_one_model_folder(
    early_run: Run, small_cascade: ModelFolder, small_parts: tuple[Digits, HeldOut]
) -> None:
    """It has two networks with two files each, which read together by default and alone by name.

    The committee gives the mean of its members' logits.
    """
    model, other = small_cascade, make_similar_run(early_run, 1)
    assert set(model.contents) == {"fast.onnx", "fast.safetensors", "careful.onnx", "careful.safetensors"}
    assert [run["seed"] for run in model.manifest.training["runs"]] == [0, 0, 1]
    images = small_parts[1].digits.images
    alone = score_all(open_engine(model, "onnxruntime", "cpu", 1, "careful"), images.numpy())
    with torch.no_grad():
        logits = (early_run.network.logits(images) + other.network.logits(images))[:, :10] / 2
    assert (alone.probabilities.argmax(axis=1) == logits.argmax(1).numpy()).mean() >= 0.995
    cascade = model.manifest.calibration["onnxruntime"].cascade
    assert cascade
    assert 0 < cascade.passed_on < 0.1
    with pytest.raises(ExportError, match="is a cascade"):
        load_run(model.folder)
