"""Measures a model, as it ships, on held-out digits: its figures, and the reference of its input.

The reference has the statistics that a running service compares its own input with.
"""

from pathlib import Path

import torch

from app.inference import model_folder
from app.inference.engine_selection import open_engine
from app.inference.model_folder import Manifest
from app.observability.input_statistics import make_reference
from training.data.populations import HeldOut
from training.evaluation.metrics import measure_model, score_all


def store_held_out_figures(folder: Path, held_out: HeldOut) -> Manifest:
    """Measure a model on each population of held-out digits, store figures and reference in its manifest, return it.

    Nothing is fitted: temperatures, thresholds and gate stay as they are.
    """
    model = model_folder.load(folder)
    figures = {population: measure_model(model, digits) for population, digits in held_out.by_population.items()}
    images = held_out.digits.images.numpy()
    engine = open_engine(model, "onnxruntime", "cpu", torch.get_num_threads())
    changes = {
        "metrics": {**model.manifest.metrics, "held_out": figures},
        "reference": make_reference(score_all(engine, images), images),
    }
    manifest = model.manifest.model_copy(update=changes)
    model_folder.write_manifest(folder, manifest)
    return manifest
