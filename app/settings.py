"""The settings of the service: read once, at the edge, and passed in."""

import difflib
import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, StringConstraints, field_validator, model_validator
from pydantic_settings import BaseSettings, DotEnvSettingsSource, EnvSettingsSource, SettingsConfigDict

RELEASED_MODEL = "digitnet-1.7.0"
SHUTDOWN_RESERVE_S = 1.0  # part of the grace period that is kept for the shutdown itself
OTHER_VARIABLES = {"digits_data_dir", "digits_api_key"}  # of training and of the client
SERVICE_LINK = re.compile(r"digits_(service_|port_\d+_)")  # what Kubernetes sets for a Service named "digits"


def released_model() -> Path:
    """Return the folder of the model that ships with this version of the service.

    An installed wheel has it inside the package. A checkout has it beside the package.
    """
    package = Path(__file__).parent
    inside = package / "models" / RELEASED_MODEL
    return inside if inside.is_dir() else package.parent / "models" / RELEASED_MODEL


def to_lower_case(value: object) -> object:
    return value.strip().lower() if isinstance(value, str) else value


def refuse_service_link(value: object) -> object:
    if isinstance(value, str) and "://" in value:
        raise ValueError(
            f'{value} is not a port. Kubernetes sets this variable for a Service named "digits". Rename the Service, '
            "or set enableServiceLinks: false in the pod's spec"
        )
    return value


AnyCase = BeforeValidator(to_lower_case)


class Settings(BaseSettings):
    """Every setting of the service. Each is an environment variable ``DIGITS_…`` and a flag of ``serve``.

    A flag overrides the environment, the environment overrides ``.env``, and that overrides the default. An empty
    variable counts as unset.
    """

    model_config = SettingsConfigDict(
        env_prefix="DIGITS_",
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        protected_namespaces=(),
    )

    host: str = Field(
        "127.0.0.1",
        description="Address to listen on. 0.0.0.0 listens on every IPv4 interface, :: on every IPv4 and IPv6 one.",
    )
    port: Annotated[int, BeforeValidator(refuse_service_link)] = Field(
        8000, ge=0, le=65535, description="Port to listen on. 0 picks a free one."
    )
    model: Path = Field(default_factory=released_model, description="Folder of the model to serve.")
    engine: Annotated[Literal["auto", "onnxruntime", "torch"], AnyCase] = Field(
        "auto", description="onnxruntime, torch or auto. auto uses torch if CUDA is available, otherwise ONNX Runtime."
    )
    device: Annotated[str, AnyCase, StringConstraints(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = Field(
        "auto", description="auto, cpu, cuda or cuda:N."
    )
    cascade: Annotated[Literal["auto", "fast", "careful"], AnyCase] = Field(
        "auto",
        description="auto: the careful network reads again what the fast one is unsure of. fast or careful: only that "
        "network reads.",
    )
    threads: int = Field(1, ge=1, description="CPU threads that compute one batch.")
    workers: int = Field(1, ge=1, le=64, description="Number of server processes. Each loads its own model.")
    worker_timeout_s: float = Field(
        30.0,
        ge=2,
        description="How long a worker may show no sign of life before it is killed and replaced. Its start does not "
        "count.",
    )
    max_body_bytes: int = Field(10_000_000, ge=1, description="Maximum request body in bytes. Larger bodies get 413.")
    max_batch: int = Field(1024, ge=1, description="Maximum pictures in one batch request.")
    max_batch_bytes: int = Field(
        67_108_864, ge=1, description="Maximum body of a batch request in bytes. Larger bodies get 413."
    )
    max_pixels: int = Field(40_000_000, ge=784, description="Maximum pixels of an image. Larger images get 422.")
    max_inflight: int = Field(
        1024, ge=1, description="Maximum complete requests that wait for an answer. Further ones get 503."
    )
    max_inflight_pixels: int = Field(
        100_000_000,
        ge=784,
        description="Maximum pixels of large pictures being processed at once. Further pictures get 503.",
    )
    max_inflight_bytes: int = Field(
        268_435_456, ge=1, description="Maximum bytes of bodies being uploaded at once. Further uploads get 503."
    )
    max_connections: int = Field(8192, ge=1, description="Maximum open connections. Further ones get 503 and close.")
    deadline_ms: int = Field(
        2000, ge=1, description="Time limit for an answer, from the last byte of the request. Later answers become 504."
    )
    drain_ms: int = Field(
        2000, ge=0, description="How long the service keeps serving after SIGTERM, while /readyz reports that it stops."
    )
    grace_s: float = Field(
        10.0,
        ge=SHUTDOWN_RESERVE_S,
        description="Maximum time from a stop signal to the end of the process: at least 1 s more than the drain.",
    )
    batch_max: int = Field(64, ge=1, description="Maximum pictures that one run of the network reads.")
    batch_wait_ms: float = Field(0.0, ge=0, le=1000, description="How long a batch waits for more requests.")
    root_path: str = Field("", description="Path under which a proxy exposes the service, such as /digits.")
    forwarded_allow_ips: str = Field(
        "127.0.0.1", description="Comma-separated proxies whose X-Forwarded-* headers are trusted. * trusts all."
    )
    fault_s: float = Field(
        10.0, ge=0.1, description="How long the engine may keep failing before the process ends, to be restarted."
    )
    keep_alive_s: float = Field(
        75.0, gt=0, description="How long an idle connection stays open. Proxies must close theirs earlier."
    )
    head_s: float = Field(
        5.0, gt=0, description="Time limit for receiving the head of a request. Slower heads get 408."
    )
    body_s: float = Field(
        60.0, gt=0, description="Time limit for receiving the body of a request. Slower bodies get 408."
    )
    body_rate: float = Field(
        16_384,
        ge=0,
        description="Minimum upload rate in bytes per second, averaged over 10 s. Slower uploads get 408.",
    )
    api_keys: str = Field(
        "", description="Comma-separated SHA-256 hashes of the valid API keys, or a file with one hash per line."
    )
    open_metrics: bool = Field(True, description="Whether /metrics needs no API key.")
    open_pages: bool = Field(
        True, description="Whether the web page, the API documentation and OpenAPI need no API key."
    )
    allowed_hosts: str = Field(
        "",
        description="Comma-separated host names to serve. *.example.org means the host and its subdomains.",
    )
    cors_origins: str = Field(
        "", description="Comma-separated origins whose web pages may call the service. * allows all."
    )
    log_level: Annotated[Literal["critical", "error", "warning", "info", "debug"], AnyCase] = Field(
        "info", description="critical, error, warning, info or debug. info writes one line per request."
    )

    @property
    def network(self) -> str | None:
        """The only network that reads, or None if all of the model does."""
        return None if self.cascade == "auto" else self.cascade

    @field_validator("cors_origins")
    @classmethod
    def remove_slashes(cls, origins: str) -> str:
        """Remove the slash after an origin, which browsers do not send."""
        return ",".join(origin.strip().rstrip("/") for origin in origins.split(","))

    @model_validator(mode="after")
    def check_grace(self) -> Self:
        if self.drain_ms / 1000 + SHUTDOWN_RESERVE_S > self.grace_s:
            raise ValueError(
                f"DIGITS_GRACE_S ({self.grace_s:g} s) must be at least 1 s more than DIGITS_DRAIN_MS "
                f"({self.drain_ms} ms)"
            )
        return self


def describe_unknown_variables() -> list[str]:
    """Return a line for each variable, in the environment or in ``.env``, that looks like a setting but is none."""
    variables = {**DotEnvSettingsSource(Settings).env_vars, **EnvSettingsSource(Settings).env_vars}
    settings = {f"digits_{name}": f"DIGITS_{name.upper()}" for name in Settings.model_fields}
    lines = []
    for name in sorted(variables):
        if not name.startswith("digits_") or name in settings or name in OTHER_VARIABLES or SERVICE_LINK.match(name):
            continue
        nearest = difflib.get_close_matches(name, settings, n=1, cutoff=0.8)
        hint = f" Did you mean {settings[nearest[0]]}?" if nearest else ""
        lines.append(f"{name.upper()} is not a setting.{hint}")
    return lines
