"""Settings: read once, at the edge, and passed in. Nothing else of the service looks at the environment."""

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
    """Every setting of the service, each an environment variable ``DIGITS_…`` and a flag of ``serve``.

    A flag wins over the environment, the environment over ``.env``, and that over the default.
    """

    model_config = SettingsConfigDict(
        env_prefix="DIGITS_", env_file=".env", extra="ignore", frozen=True, protected_namespaces=()
    )

    host: str = Field("127.0.0.1", description="Address to listen on; 0.0.0.0 for every interface.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    model: Path = Field(default_factory=released_model, description="Model folder; the released model when not set.")
    engine: Literal["auto", "onnxruntime", "torch"] = Field(
        "auto", description="auto takes torch where CUDA is usable, else ONNX Runtime."
    )
    device: Annotated[str, StringConstraints(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = Field(
        "auto", description="auto, cpu, cuda or cuda:N."
    )
    cascade: Literal["auto", "fast", "careful"] = Field(
        "auto", description="auto: the careful network reads what the fast one is unsure of; or one of them alone."
    )
    threads: int = Field(1, ge=1, description="Threads that one batch is computed with on a CPU.")
    workers: int = Field(1, ge=1, le=64, description="Processes that serve, each with the model of its own.")
    max_body_bytes: int = Field(10_000_000, ge=1, description="Bytes of a request body at most; past it, 413.")
    max_batch: int = Field(1024, ge=1, description="Pictures in one request at most, where several may be sent.")
    max_batch_bytes: int = Field(67_108_864, ge=1, description="Bytes of such a request's body at most; past it, 413.")
    max_pixels: int = Field(25_000_000, ge=784, description="Pixels of an image at most; past it, 422.")
    max_inflight: int = Field(1024, ge=1, description="Complete requests that may wait for an answer; past it, 503.")
    max_inflight_pixels: int = Field(
        100_000_000, ge=784, description="Pixels of large pictures that may be under way at once; past it, 503."
    )
    max_inflight_bytes: int = Field(
        268_435_456, ge=1, description="Bytes of bodies that may be arriving at once; past it, 503."
    )
    max_connections: int = Field(8192, ge=1, description="Open connections; one more is answered 503 and closed.")
    deadline_ms: int = Field(
        2000, ge=1, description="Time that an answer may take from a request's last byte; past it, 504."
    )
    drain_ms: int = Field(
        2000, ge=0, description="Time that is still served after SIGTERM, while /readyz says that it is stopping."
    )
    grace_s: float = Field(10.0, ge=0.5, description="Time from a signal to stop until the process has ended.")
    batch_max: int = Field(64, ge=1, description="Pictures in one batch at most.")
    batch_wait_ms: float = Field(0.0, ge=0, le=1000, description="Time that a batch waits for company.")
    root_path: str = Field("", description="Path under which a proxy shows the service, such as /digits.")
    forwarded_allow_ips: str = Field("127.0.0.1", description="Proxies whose X-Forwarded-* are believed; * for all.")
    fault_s: float = Field(
        10.0, ge=0.1, description="Time that the engine may go on failing before the process ends, to be started anew."
    )
    head_s: float = Field(5.0, gt=0, description="Time in which the head of a request must come.")
    body_s: float = Field(60.0, gt=0, description="Time in which the body of a request must come.")
    body_rate: float = Field(
        16_384, ge=0, description="Bytes a second at which a body must come, over any 10 seconds; past any, 408."
    )
    api_keys: str = Field(
        "", description="SHA-256 hashes of the keys that are let in, with commas, or a file that has one a line."
    )
    open_metrics: bool = Field(True, description="Whether /metrics is open where there are keys.")
    open_pages: bool = Field(True, description="Whether the pages and their OpenAPI are open where there are keys.")
    allowed_hosts: str = Field(
        "", description="Host names that are answered for, with commas; *.example.org is a host and all under it."
    )
    cors_origins: str = Field("", description="Origins whose pages may ask from a browser, with commas; * is all.")
    log_level: Literal["critical", "error", "warning", "info", "debug"] = Field(
        "info", description="What is logged; info has a line a request."
    )

    @property
    def network(self) -> str | None:
        """The one network of the model that answers, or None where all of it does."""
        return None if self.cascade == "auto" else self.cascade

    def as_environment(self) -> dict[str, str]:
        """What was set, as variables that make the same settings in another process."""
        return {f"DIGITS_{name.upper()}": str(getattr(self, name)) for name in sorted(self.model_fields_set)}
