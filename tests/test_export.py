"""Export: the graph is the network, int8 is nearly it, and what ships was fitted on what ships."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch

from app.bundle import Bundle
from app.engine import open_engine
from app.network import DigitNet, build
from tests.small import small, small_mnist
from training import export as module
from training.data import Digits, hold_out, load
from training.evaluate import score_all
from training.export import (
    ExportError,
    check_agreement,
    export,
    fit_temperature,
    fold_batch_norm,
    quantise,
    read_model,
    run_graph,
    write_graph,
)
from training.train import Run, fit, predict

EARLY = small(epochs=4)


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Digits, Digits]:
    folder = tmp_path_factory.mktemp("data")
    small_mnist(folder, train=1000, test=10)
    return hold_out(load(folder, "train"), 200)


@pytest.fixture(scope="module")
def run(parts: tuple[Digits, Digits]) -> Run:
    """Stopped early, so that it still misreads some of the held-out digits."""
    return fit(EARLY, *parts, seed=0)


@pytest.fixture(scope="module")
def model(run: Run, parts: tuple[Digits, Digits], tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return export(run, *parts, tmp_path_factory.mktemp("models") / "small-1.2.3", "1.2.3")


def test_a_model_folder_is_whole_and_tells_where_it_comes_from(model: Bundle, run: Run) -> None:
    """Two files, a manifest with recipe, seed and history, and twenty golden digits."""
    assert sorted(path.name for path in model.folder.iterdir()) == ["manifest.json", "small.onnx", "small.safetensors"]
    manifest = model.manifest
    assert manifest.id == "small-1.2.3"
    assert manifest.training["finished"]
    assert len(manifest.training["history"]) == EARLY.epochs
    assert [golden.digit for golden in manifest.golden] == [digit for digit in range(10) for _ in range(2)]
    assert manifest.network.parameters == sum(p.numel() for p in run.network.parameters())


def test_multiply_adds_are_counted(model: Bundle) -> None:
    """The count is that of the layers, worked out by hand."""
    convolutions = 14 * 14 * 25 * 8 + 7 * 7 * 9 * 8 * 16 + 4 * 4 * 9 * 16 * 32
    linear = 32 * 10 + 32 * 10  # the head, and the cosines to the ten classes
    assert model.manifest.network.macs == convolutions + linear


def test_graph_and_checkpoint_agree(model: Bundle, parts: tuple[Digits, Digits]) -> None:
    """The fp32 graph gives torch's probabilities, batch by batch, from the files as they ship."""
    images = parts[1].images.numpy()
    graph = score_all(open_engine(model, "onnxruntime", "cpu", 1), images, batch=7)
    torch_ = score_all(open_engine(model, "torch", "cpu", 1), images, batch=64)
    np.testing.assert_allclose(graph.probabilities, torch_.probabilities, atol=1e-4)
    np.testing.assert_allclose(graph.typicality, torch_.typicality, atol=1e-4)


def test_a_graph_of_other_weights_is_found_out(run: Run, parts: tuple[Digits, Digits], tmp_path: Path) -> None:
    """The check of agreement fails when the graph is not the network's."""
    write_graph(run.network, tmp_path / "g.onnx")
    check_agreement(run.network, tmp_path / "g.onnx", parts[1].images)
    other = copy.deepcopy(run.network)
    with torch.no_grad():
        other.head.bias[0] += 0.5
    with pytest.raises(ExportError, match="differ by"):
        check_agreement(other, tmp_path / "g.onnx", parts[1].images)


def test_folding_batch_norm_changes_nothing_but_the_count_of_layers() -> None:
    """The folded network gives the same features, and has no batch-norm left."""
    torch.manual_seed(0)
    network = build("DigitNet", {"stem": 4, "stages": [[8, 2, 1]]})
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(layer.weight, 0.5, 2)
            assert layer.running_mean is not None
            assert layer.running_var is not None
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.5, 2)
    network.eval()
    folded = fold_batch_norm(copy.deepcopy(network)).eval()
    assert isinstance(folded, DigitNet)
    assert not any(isinstance(layer, torch.nn.BatchNorm2d) for layer in folded.modules())
    images = torch.randint(0, 256, (4, 28, 28), dtype=torch.uint8)
    torch.testing.assert_close(folded.logits(images), network.logits(images), atol=1e-4, rtol=1e-4)


def test_int8_reads_as_fp32_does_and_is_smaller(run: Run, parts: tuple[Digits, Digits], tmp_path: Path) -> None:
    """Quantised, the graph has int8 weights, and gives the same class to all of the held-out digits."""
    graph = tmp_path / "g.onnx"
    write_graph(run.network, graph)
    before, size = run_graph(graph, parts[1].images.numpy()), graph.stat().st_size
    quantise(graph, parts[0], parts[1])
    after = run_graph(graph, parts[1].images.numpy())
    assert (before.probabilities.argmax(1) == after.probabilities.argmax(1)).mean() >= 0.9995
    assert 1e-6 < np.abs(before.probabilities - after.probabilities).max() < 0.3
    assert graph.stat().st_size < size


def test_a_poor_quantisation_is_refused(
    run: Run, parts: tuple[Digits, Digits], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Below the agreed share of equal classes, nothing is exported. Here the share is set out of reach."""
    monkeypatch.setattr(module, "SAME_CLASS", 1.1)
    recipe = small(EARLY, precision="int8")
    with pytest.raises(ExportError, match="the int8 graph reads"):
        export(Run(recipe, 0, run.network, run.history), *parts, tmp_path / "m", "0.0.0")
    assert list(tmp_path.iterdir()) == []


def test_the_fitted_temperature_is_the_one_that_was_applied() -> None:
    """Probabilities drawn at one temperature and reported at another are put right."""
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 3, (20_000, 10))

    def softmax(
        values: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    ) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        exponents = np.exp(values - values.max(1, keepdims=True))
        return np.asarray(exponents / exponents.sum(1, keepdims=True))

    labels = np.array([generator.choice(10, p=row) for row in softmax(logits / 2.5)])
    assert fit_temperature(softmax(logits).astype(np.float32), labels) == pytest.approx(2.5, rel=0.05)


def test_a_network_without_errors_keeps_its_temperature() -> None:
    """Where all is read rightly there is nothing to fit, and confidence is not driven to certainty."""
    probabilities = np.full((10, 10), 0.05, np.float32) + 0.5 * np.eye(10, dtype=np.float32)
    assert fit_temperature(probabilities, np.arange(10)) == 1.0


def test_what_ships_is_calibrated_on_itself(model: Bundle, parts: tuple[Digits, Digits]) -> None:
    """For either file: fitting again finds nothing to gain, and the thresholds let 99.5 % of held-out digits pass."""
    _, held_out = parts
    for name in ("onnxruntime", "torch"):
        scores = score_all(open_engine(model, name, "cpu", 1), held_out.images.numpy())
        assert fit_temperature(scores.probabilities, held_out.labels.numpy()) == pytest.approx(1, abs=0.03)
        thresholds = model.manifest.calibration[name].thresholds
        passed = (scores.probabilities.max(1) >= thresholds.confidence) & (scores.typicality >= thresholds.typicality)
        assert 0.98 <= passed.mean() <= 1


def test_without_held_out_digits_nothing_is_calibrated(parts: tuple[Digits, Digits], tmp_path: Path) -> None:
    """A recipe that holds nothing out gets thresholds that accept everything, and says so."""
    model = export(fit(small(hold_out=0), parts[0]), parts[0], None, tmp_path / "m", "0.0.0")
    for calibration in model.manifest.calibration.values():
        assert (calibration.temperature, calibration.digits) == (1.0, 0)
        assert (calibration.thresholds.confidence, calibration.thresholds.typicality) == (0, -1)


def test_a_model_folder_can_be_exported_again(model: Bundle, parts: tuple[Digits, Digits], tmp_path: Path) -> None:
    """What a folder was made from can be taken up, and made into another that reads alike."""
    run = read_model(model.folder)
    assert run.recipe == EARLY
    again = export(run, *parts, tmp_path / "again-1.2.3", "1.2.3")
    assert again.manifest.calibration["torch"].temperature == pytest.approx(
        model.manifest.calibration["torch"].temperature, rel=0.01
    )
    ours, theirs = (predict(read_model(folder).network, parts[1].images)[0] for folder in (again.folder, model.folder))
    torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-3)
