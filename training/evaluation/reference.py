"""The reference in a manifest: statistics of held-out digits, which a running service compares its own input with."""

from pathlib import Path

import torch

from app.inference import model_folder
from app.inference.engine_selection import open_engine
from app.inference.model_folder import Reference
from app.observability.input_statistics import make_reference
from training.data.mnist import Digits
from training.evaluation.metrics import score_all


def store_reference(folder: Path, held_out: Digits) -> Reference:
    """Run a model, as it ships, on held-out digits, and store the reference in its manifest."""
    model = model_folder.load(folder)
    images = held_out.images.numpy()
    engine = open_engine(model, "onnxruntime", "cpu", torch.get_num_threads())
    reference = make_reference(score_all(engine, images), images)
    model_folder.write_manifest(folder, model.manifest.model_copy(update={"reference": reference}))
    return reference
