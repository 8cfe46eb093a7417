"""Model folders: their content, and how they are verified.

    models/digitnet-1.7.0/
      manifest.json           what this module defines
      fast.safetensors        a network's weights, for torch
      fast.onnx               the same network as a graph, for ONNX Runtime
      careful.*               a second network, if the model is a cascade
      MODEL_CARD.md, *.png    for people; the service does not read them

A folder is read once: an engine loads the same bytes whose SHA-256 was verified. This module does not know how to run
a network.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Base64Bytes, BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from app.errors import ModelFolderError, describe_first_error
from app.imaging.digit_image import IMAGE_SIZE

MANIFEST = "manifest.json"

EngineName = Literal["onnxruntime", "torch"]
CASCADE = ("fast", "careful")  # the names of the two networks of a cascade
NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"  # of a model or a file; it cannot leave the folder
FileName = Annotated[str, StringConstraints(pattern=f"^{NAME}$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class ManifestPart(BaseModel):
    """A part of a manifest. It is frozen and has no unknown fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class NetworkEntry(ManifestPart):
    """One network of a model, and its two files."""

    architecture: Literal["Committee", "DigitNet", "SimpleCNN"]
    config: dict[str, Any]  # the keyword arguments that rebuild it
    parameters: int = Field(gt=0)
    macs: int = Field(gt=0, description="multiply-adds per picture")
    checkpoint: FileName
    graph: FileName
    precision: Literal["fp32", "int8"]  # of the graph
    first: list[int] = Field([], description="committee members that read first; if they are sure, the graph stops")


class Thresholds(ManifestPart):
    """The values that an answer must reach to be accepted, or to need no second opinion."""

    confidence: float = Field(ge=0, le=1)
    typicality: float = Field(ge=0, le=1)


class NetworkCalibration(ManifestPart):
    """The values fitted for one network in one engine."""

    temperature: float = Field(gt=0, description="for information: the network already contains it")
    thresholds: Thresholds = Field(description="of acceptance, if only this network reads")


class Cascade(ManifestPart):
    """When the careful network reads a picture again, and the thresholds of acceptance for both together."""

    gate: Thresholds
    passed_on: float = Field(ge=0, le=1, description="share of held-out digits that the careful network reads")
    thresholds: Thresholds


class Calibration(ManifestPart):
    """The values fitted for one engine, on the same graphs or checkpoints that it loads."""

    networks: dict[str, NetworkCalibration]
    cascade: Cascade | None = None
    digits: int = Field(ge=0, description="held-out digits used for fitting; 0 means that nothing was fitted")


class GoldenDigit(ManifestPart):
    """A picture that the model must read correctly before it serves."""

    digit: int = Field(ge=0, le=9)
    pixels: Annotated[
        Base64Bytes, Field(min_length=IMAGE_SIZE**2, max_length=IMAGE_SIZE**2)
    ]  # (28, 28) uint8, row by row

    @property
    def image(self) -> NDArray[np.uint8]:
        return np.frombuffer(self.pixels, np.uint8).reshape(IMAGE_SIZE, IMAGE_SIZE)


class Buckets(ManifestPart):
    """A histogram: one count per bound, of the values up to it and above the previous bound, and one for the rest."""

    bounds: tuple[float, ...]
    counts: tuple[Annotated[int, Field(ge=0)], ...]


class Reference(ManifestPart):
    """Input statistics of held-out digits, read by the model as it ships on ONNX Runtime.

    The statistics of incoming pictures are compared with these (``observability/input_statistics.py``).
    """

    digits: int = Field(gt=0)
    signals: dict[str, Buckets]
    read: Annotated[tuple[int, ...], Field(min_length=10, max_length=10)]  # how many were read as 0 to 9

    @model_validator(mode="after")
    def check_counts(self) -> "Reference":
        for name, buckets in self.signals.items():
            if len(buckets.counts) != len(buckets.bounds) + 1 or sum(buckets.counts) != self.digits:
                raise ValueError(f"the counts of {name} do not add up to {self.digits} digits")
        if sum(self.read) != self.digits:
            raise ValueError(f"the counts of read do not add up to {self.digits} digits")
        return self


class Manifest(ManifestPart):
    """The content of ``manifest.json``: everything about a model except its weights."""

    schema_version: Literal[2] = 2
    name: FileName
    version: Annotated[str, StringConstraints(pattern=r"^\d+\.\d+\.\d+$")]
    created: str  # ISO 8601, UTC
    networks: dict[str, NetworkEntry] = Field(min_length=1, max_length=2)
    calibration: dict[EngineName, Calibration]
    training: dict[str, Any]  # provenance: recipe, seed, data, versions, history
    metrics: dict[str, Any] = Field(default_factory=dict)  # measurements, by split and engine
    golden: list[GoldenDigit] = Field(min_length=10)
    reference: Reference | None = None  # absent if no digits were held out
    files: dict[FileName, Sha256]

    @model_validator(mode="after")
    def check_consistency(self) -> "Manifest":
        if not isinstance(self.training.get("runs"), list):
            raise ValueError("training has no list of runs")
        if missing := {"onnxruntime", "torch"} - set(self.calibration):
            raise ValueError(f"no calibration for {', '.join(sorted(missing))}")
        for network in self.networks.values():
            if missing := {network.checkpoint, network.graph} - set(self.files):
                raise ValueError(f"no SHA-256 for {', '.join(sorted(missing))}")
        if len(self.networks) == 2 and set(self.networks) != set(CASCADE):
            raise ValueError(f"the two networks of a cascade must be named {' and '.join(CASCADE)}")
        for engine, calibration in self.calibration.items():
            if set(calibration.networks) != set(self.networks) or bool(calibration.cascade) != self.has_cascade:
                raise ValueError(f"the calibration for {engine} does not match the networks")
        return self

    @property
    def id(self) -> str:
        return f"{self.name}-{self.version}"

    @property
    def has_cascade(self) -> bool:
        return len(self.networks) == 2

    def thresholds(self, engine: EngineName, network: str | None) -> Thresholds:
        """Return the thresholds of acceptance if only ``network`` reads or, if that is None, the whole model."""
        calibration = self.calibration[engine]
        if network is None and calibration.cascade:
            return calibration.cascade.thresholds
        return calibration.networks[network or next(iter(self.networks))].thresholds


@dataclass(frozen=True)
class ModelFolder:
    """A verified model folder: its manifest, and the bytes of its files until an engine has read them."""

    folder: Path
    manifest: Manifest
    sha256: str  # of manifest.json, which contains the SHA-256 of every other file
    contents: dict[str, bytes]


def sha256_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def load(folder: Path) -> ModelFolder:
    """Read a model folder, and verify it against its manifest.

    Raises:
        ModelFolderError: A file is missing or altered. The message is one line and names the file.
    """
    raw = read_file(folder / MANIFEST)
    try:
        manifest = Manifest.model_validate_json(raw)
    except ValidationError as error:
        raise ModelFolderError(f"{folder / MANIFEST}: {describe_first_error(error.errors())}") from None
    contents = {}
    for name, expected in manifest.files.items():
        contents[name] = read_file(folder / name)
        if (actual := sha256_of(contents[name])) != expected:
            raise ModelFolderError(
                f"{folder / name}: altered or incomplete: its SHA-256 is {actual[:12]}…, but the manifest says "
                f"{expected[:12]}…"
            )
    return ModelFolder(folder, manifest, sha256_of(raw), contents)


def read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        reason = f"model folder not found ({path.name} is missing)" if not path.parent.is_dir() else error.strerror
        raise ModelFolderError(f"{path}: {reason}") from None


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write ``manifest.json`` in one step, so that it is never incomplete."""
    partial = folder / f".{MANIFEST}.{os.getpid()}"
    partial.write_text(manifest.model_dump_json(indent=1) + "\n", encoding="utf-8")
    partial.replace(folder / MANIFEST)
