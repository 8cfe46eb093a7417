"""Collects what the same recipe gives with other seeds, for a model card."""

from collections.abc import Sequence
from pathlib import Path

from app.inference import model_folder
from training.errors import EvaluationError

Accuracies = dict[str, dict[str, dict[str, float]]]  # recipe -> population -> seed -> accuracy


def store_seed_accuracies(folder: Path, runs: Sequence[Path]) -> Accuracies:
    """Store in a model's manifest how well its recipes with other seeds read the held-out digits, as shipped.

    Args:
        runs: Model folders of one network each. Their manifests have the accuracies.

    Raises:
        EvaluationError: A run held no digits out, or is a cascade.
    """
    seeds: Accuracies = {}
    for path in runs:
        manifest = model_folder.load(path).manifest
        if manifest.has_cascade or "held_out" not in manifest.metrics:
            raise EvaluationError(f"{path} must be a model of one network whose recipe holds digits out.")
        (run,) = manifest.training["runs"]
        for population, results in manifest.metrics["held_out"].items():
            by_seed = seeds.setdefault(run["recipe"]["name"], {}).setdefault(population, {})
            by_seed[str(run["seed"])] = results["onnxruntime"]["accuracy"]
    manifest = model_folder.load(folder).manifest
    model_folder.write_manifest(folder, manifest.model_copy(update={"metrics": {**manifest.metrics, "seeds": seeds}}))
    return seeds
