"""The settings of the service: read once, at the edge, and passed in."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints
from pydantic_settings import BaseSettings, SettingsConfigDict

RELEASED_MODEL = "digitnet-1.5.0"


def released_model() -> Path:
    """Return the folder of the model that ships with this version of the service.

    An installed wheel has it inside the package. A checkout has it beside the package.
    """
    package = Path(__file__).parent
    inside = package / "models" / RELEASED_MODEL
    return inside if inside.is_dir() else package.parent / "models" / RELEASED_MODEL


class Settings(BaseSettings):
    """Every setting of the service. Each is an environment variable ``DIGITS_…`` and a flag of ``serve``.

    A flag overrides the environment, the environment overrides ``.env``, and that overrides the default.
    """

    model_config = SettingsConfigDict(
        env_prefix="DIGITS_", env_file=".env", extra="ignore", frozen=True, protected_namespaces=()
    )

    host: str = Field("127.0.0.1", description="Address to listen on. 0.0.0.0 listens on every interface.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on. 0 picks a free one.")
    model: Path = Field(default_factory=released_model, description="Folder of the model to serve.")
    engine: Literal["auto", "onnxruntime", "torch"] = Field(
        "auto", description="onnxruntime, torch or auto. auto uses torch if CUDA is available, otherwise ONNX Runtime."
    )
    device: Annotated[str, StringConstraints(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = Field(
        "auto", description="auto, cpu, cuda or cuda:N."
    )
    cascade: Literal["auto", "fast", "careful"] = Field(
        "auto",
        description="auto: the careful network reads again what the fast one is unsure of. fast or careful: only that "
        "network reads.",
    )
    threads: int = Field(1, ge=1, description="CPU threads that compute one batch.")
    workers: int = Field(1, ge=1, le=64, description="Number of server processes. Each loads its own model.")
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
    grace_s: float = Field(10.0, ge=0.5, description="Maximum time from a stop signal to the end of the process.")
    batch_max: int = Field(64, ge=1, description="Maximum pictures that one run of the network reads.")
    batch_wait_ms: float = Field(0.0, ge=0, le=1000, description="How long a batch waits for more requests.")
    root_path: str = Field("", description="Path under which a proxy exposes the service, such as /digits.")
    forwarded_allow_ips: str = Field(
        "127.0.0.1", description="Comma-separated proxies whose X-Forwarded-* headers are trusted. * trusts all."
    )
    fault_s: float = Field(
        10.0, ge=0.1, description="How long the engine may keep failing before the process ends, to be restarted."
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
    log_level: Literal["critical", "error", "warning", "info", "debug"] = Field(
        "info", description="critical, error, warning, info or debug. info writes one line per request."
    )

    @property
    def network(self) -> str | None:
        """The only network that reads, or None if all of the model does."""
        return None if self.cascade == "auto" else self.cascade

    def as_environment(self) -> dict[str, str]:
        """Return environment variables that give another process the same settings."""
        return {f"DIGITS_{name.upper()}": str(getattr(self, name)) for name in sorted(self.model_fields_set)}
