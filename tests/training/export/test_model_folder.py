"""Export: a folder that is whole, tells where it comes from, and reads alike by either engine."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch

from app.inference.model_folder import ModelFolder
from app.inference.engine_selection import open_engine
from tests.support.small import EARLY, small
from training.export import onnx_graph
from training.data.mnist import Digits
from training.evaluation.metrics import ENGINES, score_all
from training.export.model_folder import (
    Part,
    export,
    export_cascade,
    read_committee,
    read_fast,
    read_model,
    read_network,
    write_model,
)
from training.export.onnx_graph import ExportError
from training.trainer import Run, fit, predict


def test_a_model_folder_is_whole_and_tells_where_it_comes_from(small_model: ModelFolder, run: Run) -> None:
    """Two files, a manifest with recipe, seed and history, and twenty golden digits."""
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
    assert manifest.networks["small"].parameters == sum(p.numel() for p in run.network.parameters())


def test_multiply_adds_are_counted(small_model: ModelFolder) -> None:
    """The count is that of the layers, worked out by hand."""
    convolutions = 14 * 14 * 25 * 8 + 7 * 7 * 9 * 8 * 16 + 4 * 4 * 9 * 16 * 32
    linear = 32 * 11
    assert small_model.manifest.networks["small"].macs == convolutions + linear


def test_graph_and_checkpoint_agree(small_model: ModelFolder, small_parts: tuple[Digits, Digits]) -> None:
    """The fp32 graph gives torch's probabilities, batch by batch, from the files as they ship."""
    images = small_parts[1].images.numpy()
    graph = score_all(open_engine(small_model, "onnxruntime", "cpu", 1), images, batch=7)
    torch_ = score_all(open_engine(small_model, "torch", "cpu", 1), images, batch=64)
    np.testing.assert_allclose(onnx_graph.probabilities, torch_.probabilities, atol=1e-4)
    np.testing.assert_allclose(onnx_graph.typicality, torch_.typicality, atol=1e-4)


def test_a_poor_quantisation_is_refused(
    run: Run, small_parts: tuple[Digits, Digits], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Below the agreed share of equal classes, nothing is exported. Here the share is set out of reach."""
    monkeypatch.setattr(graph, "SAME_CLASS", 1.1)
    recipe = small(EARLY, precision="int8")
    with pytest.raises(ExportError, match="the int8 graph reads"):
        export(Run(recipe, 0, run.network, run.history), *small_parts, tmp_path / "m", "0.0.0")
    assert list(tmp_path.iterdir()) == []


def test_where_asked_a_poor_quantisation_stays_in_fp32(
    run: Run, small_parts: tuple[Digits, Digits], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model is written with the fp32 graph, whole, and its manifest says so."""
    monkeypatch.setattr(graph, "SAME_CLASS", 1.1)
    part = Part(copy.deepcopy(run.network), "DigitNet", EARLY.config, "int8", or_plain=True)
    model = write_model("m", "1.0.0", {"m": part}, [run], *small_parts, tmp_path / "m-1.0.0")
    assert model.manifest.networks["m"].precision == "fp32"
    images = small_parts[1].images.numpy()
    ours, theirs = (score_all(open_engine(model, name, "cpu"), images) for name in ENGINES)
    np.testing.assert_allclose(ours.probabilities, theirs.probabilities, atol=1e-4)


def test_a_model_folder_can_be_exported_again(
    small_model: ModelFolder, small_parts: tuple[Digits, Digits], tmp_path: Path
) -> None:
    """What a folder was made from can be taken up, and made into another that reads alike."""
    run = read_model(small_model.folder)
    assert run.recipe == EARLY
    again = export(run, *small_parts, tmp_path / "again-1.2.3", "1.2.3")
    assert again.manifest.calibration["torch"].networks["small"].temperature == pytest.approx(
        small_model.manifest.calibration["torch"].networks["small"].temperature, rel=0.01
    )
    ours, theirs = (
        predict(read_model(folder).network, small_parts[1].images)[0] for folder in (again.folder, small_model.folder)
    )
    torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-3)


def test_a_cascade_is_one_model_folder(run: Run, small_parts: tuple[Digits, Digits], tmp_path: Path) -> None:
    """Two networks with two files each, read together by default and each alone by name; the committee is the mean of
    its members' logits."""
    other = fit(EARLY, *small_parts, seed=1)
    model = export_cascade(run, [run, other], *small_parts, tmp_path / "pair-1.0.0", "1.0.0")
    assert set(model.contents) == {"fast.onnx", "fast.safetensors", "careful.onnx", "careful.safetensors"}
    assert [told["seed"] for told in model.manifest.training["runs"]] == [0, 0, 1]
    images = small_parts[1].images
    alone = score_all(open_engine(model, "onnxruntime", "cpu", 1, "careful"), images.numpy())
    with torch.no_grad():
        logits = (run.network.logits(images) + other.network.logits(images))[:, :10] / 2
    assert (alone.probabilities.argmax(axis=1) == logits.argmax(1).numpy()).mean() >= 0.995
    cascade = model.manifest.calibration["onnxruntime"].cascade
    assert cascade
    assert 0 < cascade.passed_on < 0.1
    with pytest.raises(ExportError, match="is a cascade"):
        read_model(model.folder)


def test_a_committee_goes_into_another_cascade(
    run: Run, small_model: ModelFolder, small_parts: tuple[Digits, Digits], tmp_path: Path
) -> None:
    """Taken apart and put together again beside another fast network, it answers as before, and its runs are told; so
    does the fast network beside another committee."""
    other = fit(EARLY, *small_parts, seed=1)
    first = export_cascade(run, [run, other], *small_parts, tmp_path / "pair-1.0.0", "1.0.0")
    members = read_committee(first.folder)
    assert [(member.recipe, member.seed) for member in members] == [(EARLY, 0), (EARLY, 1)]
    second = export_cascade(other, members, *small_parts, tmp_path / "pair-1.1.0", "1.1.0")
    assert [told["seed"] for told in second.manifest.training["runs"]] == [1, 0, 1]
    ours, theirs = (read_network(model, "careful").logits(small_parts[1].images) for model in (second, first))
    torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-3)
    fast = read_fast(second.folder)
    assert fast.seed == 1
    torch.testing.assert_close(*(it.logits(small_parts[1].images) for it in (fast.network, other.network)))
    with pytest.raises(ExportError, match="no committee"):
        read_committee(small_model.folder)
