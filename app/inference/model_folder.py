"""A model folder: what is in it, whether it is whole, and how one is written.

    models/digitnet-1.5.0/
      manifest.json           what this module defines
      fast.safetensors        a network's weights, for torch
      fast.onnx               the same network as a graph, for ONNX Runtime
      careful.*               a second network, where the model is a cascade
      MODEL_CARD.md, *.png    for people; nothing here reads them

A folder is read once: the bytes whose SHA-256 was verified are the bytes that an engine loads. Knows nothing of how
to run a network.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
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
FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]  # no way out of the folder
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class Strict(BaseModel):
    """A part of a manifest: frozen, and with no field that we do not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class NetworkEntry(Strict):
    """One network of a model, and the two files that it is kept in."""

    architecture: Literal["Committee", "DigitNet", "SimpleCNN"]
    config: dict[str, Any]  # the keyword arguments that rebuild it
    parameters: int = Field(gt=0)
    macs: int = Field(gt=0, description="multiply-adds for one picture")
    checkpoint: FileName
    graph: FileName
    precision: Literal["fp32", "int8"]  # of the graph
    first: list[int] = Field([], description="members of a committee whose graph stops at them where they are sure")


class Thresholds(Strict):
    """What an answer must reach: to be accepted, or to need no second opinion."""

    confidence: float = Field(ge=0, le=1)
    typicality: float = Field(ge=0, le=1)


class Fitted(Strict):
    """What was fitted on a network as one engine runs it."""

    temperature: float = Field(gt=0, description="already inside the network; here for people")
    thresholds: Thresholds = Field(description="for acceptance, where this network answers alone")


class Cascade(Strict):
    """When the fast network's answer stands, and what an answer of the two together must reach."""

    gate: Thresholds
    passed_on: float = Field(ge=0, le=1, description="share of held-out digits that the careful network reads")
    thresholds: Thresholds


class Calibration(Strict):
    """What was fitted for one engine, on the very graphs or checkpoints that it loads."""

    networks: dict[str, Fitted]
    cascade: Cascade | None = None
    digits: int = Field(ge=0, description="held-out digits that it was fitted on; 0 means that nothing was fitted")


class GoldenDigit(Strict):
    """A picture that the model must read rightly before it may serve."""

    digit: int = Field(ge=0, le=9)
    pixels: Annotated[
        Base64Bytes, Field(min_length=IMAGE_SIZE**2, max_length=IMAGE_SIZE**2)
    ]  # (28, 28) uint8, row by row

    @property
    def image(self) -> NDArray[np.uint8]:
        return np.frombuffer(self.pixels, np.uint8).reshape(IMAGE_SIZE, IMAGE_SIZE)


class Buckets(Strict):
    """How many values there are up to each bound, above the one before; and above them all."""

    bounds: tuple[float, ...]
    counts: tuple[Annotated[int, Field(ge=0)], ...]


class Reference(Strict):
    """What the model as it ships, on ONNX Runtime, made of digits that it was not trained on: for comparison with what
    comes in (``signals.py``)."""

    digits: int = Field(gt=0)
    signals: dict[str, Buckets]
    read: Annotated[tuple[int, ...], Field(min_length=10, max_length=10)]  # how many were read as 0 to 9

    @model_validator(mode="after")
    def complete(self) -> "Reference":
        for name, buckets in self.signals.items():
            if len(buckets.counts) != len(buckets.bounds) + 1 or sum(buckets.counts) != self.digits:
                raise ValueError(f"the counts of {name} are not those of {self.digits} digits")
        if sum(self.read) != self.digits:
            raise ValueError(f"what was read is not {self.digits} digits")
        return self


class Manifest(Strict):
    """What a model folder says of itself."""

    schema_version: Literal[2] = 2
    name: FileName
    version: Annotated[str, StringConstraints(pattern=r"^\d+\.\d+\.\d+$")]
    created: str  # ISO 8601, UTC
    networks: dict[str, NetworkEntry] = Field(min_length=1, max_length=2)
    calibration: dict[EngineName, Calibration]
    training: dict[str, Any]  # provenance: recipe, seed, data, versions, history
    metrics: dict[str, Any] = Field(default_factory=dict)  # what was measured, by split and engine
    golden: list[GoldenDigit] = Field(min_length=10)
    reference: Reference | None = None  # absent where nothing was held out
    files: dict[FileName, Sha256]

    @model_validator(mode="after")
    def complete(self) -> "Manifest":
        if missing := {"onnxruntime", "torch"} - set(self.calibration):
            raise ValueError(f"no calibration for {', '.join(sorted(missing))}")
        for network in self.networks.values():
            if missing := {network.checkpoint, network.graph} - set(self.files):
                raise ValueError(f"no SHA-256 of {', '.join(sorted(missing))}")
        if len(self.networks) == 2 and set(self.networks) != set(CASCADE):
            raise ValueError(f"two networks are called {' and '.join(CASCADE)}")
        for engine, fitted in self.calibration.items():
            if set(fitted.networks) != set(self.networks) or bool(fitted.cascade) != self.cascades:
                raise ValueError(f"the calibration for {engine} is not of the networks that are here")
        return self

    @property
    def id(self) -> str:
        return f"{self.name}-{self.version}"

    @property
    def cascades(self) -> bool:
        return len(self.networks) == 2

    def thresholds(self, engine: EngineName, network: str | None) -> Thresholds:
        """What is asked of an answer, where ``network`` answers alone or, if that is None, the whole model."""
        calibration = self.calibration[engine]
        if network is None and calibration.cascade:
            return calibration.cascade.thresholds
        return calibration.networks[network or next(iter(self.networks))].thresholds


@dataclass(frozen=True)
class ModelFolder:
    """A model folder that was found whole: its manifest, and the verified bytes of its files."""

    folder: Path
    manifest: Manifest
    sha256: str  # of manifest.json, and through it of everything else
    contents: dict[str, bytes]


def sha256_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def load(folder: Path) -> ModelFolder:
    """Read a model folder and verify that it is what its manifest says.

    Raises:
        ModelFolderError: something is missing or was altered; one line, naming the file.
    """
    raw = _read(folder / MANIFEST)
    try:
        manifest = Manifest.model_validate_json(raw)
    except ValidationError as error:
        raise ModelFolderError(f"{folder / MANIFEST}: {describe_first_error(error.errors())}") from None
    contents = {}
    for name, expected in manifest.files.items():
        contents[name] = _read(folder / name)
        if (actual := sha256_of(contents[name])) != expected:
            raise ModelFolderError(
                f"{folder / name}: altered or incomplete: its SHA-256 is {actual[:12]}…, and the manifest has "
                f"{expected[:12]}…"
            )
    return ModelFolder(folder, manifest, sha256_of(raw), contents)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        reason = f"no model folder is there ({path.name} is missing)" if not path.parent.is_dir() else error.strerror
        raise ModelFolderError(f"{path}: {reason}") from None


@contextmanager
def write_atomically(folder: Path) -> Iterator[Path]:
    """Give a temporary folder beside ``folder`` that becomes it when the block ends well, and vanishes when not.

    A model folder that is already there is replaced in the same step.

    Raises:
        FileExistsError: something is there that is not a model folder.
    """
    if folder.exists() and not (folder / MANIFEST).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} is there and is not a model folder; nothing was written")
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        yield temporary
        temporary.chmod(0o755)  # made private by mkdtemp; a model folder is for whoever serves it
        for path in temporary.iterdir():
            path.chmod(0o644)
        if folder.exists():
            old = temporary.with_suffix(".old")
            folder.rename(old)
            temporary.rename(folder)
            shutil.rmtree(old)
        else:
            temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write ``manifest.json``, whole or not at all."""
    partial = folder / f".{MANIFEST}.{os.getpid()}"
    partial.write_text(manifest.model_dump_json(indent=1) + "\n")
    partial.replace(folder / MANIFEST)
