"""Health, /info and /metrics, and the message of a start-up that fails."""

import json
import os
import shutil
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.inference.model_folder import ModelFolder
from app.settings import Settings
from tests.support.pictures import Grey, png
from tests.support.running import ROOT, Server, clean_environment, run_app, running

needs_torch = pytest.mark.skipif(find_spec("torch") is None, reason="torch is not in the base install")


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/healthz"])
def test_a_running_service_is_healthy(server: Server, path: str) -> None:
    """Each health check gets a 200 and ok."""
    answer = httpx.get(server.url + path)
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_info_describes_what_is_running(server: Server, released: ModelFolder) -> None:
    """Model, engine, device, limits and thresholds are those in use."""
    info = httpx.get(f"{server.url}/info").json()
    assert (info["model"]["name"], info["model"]["version"]) == (released.manifest.name, released.manifest.version)
    assert info["model"]["sha256"] == released.sha256
    assert info["model"]["metrics"]["test"]["onnxruntime"]["digits"] == 10_000
    assert (info["engine"], info["device"]) == ("onnxruntime", "cpu")
    defaults = Settings.model_fields
    assert info["limits"] == {name: defaults[name].default for name in info["limits"]}
    assert len(info["limits"]) == 7
    assert info["thresholds"] == released.manifest.thresholds("onnxruntime", None).model_dump()


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/nothing", 404), ("GET", "/predict", 405), ("DELETE", "/livez", 405)]
)
def test_errors_of_the_framework_are_problems_too(server: Server, method: str, path: str, status: int) -> None:
    """404 and 405 are problem+json like every other error."""
    answer = httpx.request(method, server.url + path)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert (answer.json()["status"], answer.json()["request_id"]) == (status, answer.headers["X-Request-ID"])
    if status == 405:
        assert answer.headers["Allow"]


def test_an_altered_model_fails_the_start_with_one_line(released: ModelFolder, tmp_path: Path) -> None:
    """The line says which file and why, the exit status is not 0, and nothing is served."""
    folder = Path(shutil.copytree(released.folder, tmp_path / "model"))
    weights = folder / "fast.onnx"
    weights.write_bytes(weights.read_bytes()[:-1])
    done = run_app("serve", "--port", "0", DIGITS_MODEL=str(folder))
    assert done.returncode == 3
    output = done.stdout + done.stderr
    assert f"{weights}: altered or incomplete" in output
    assert "Traceback" not in output
    assert "running on" not in output
    errors = [line for line in output.splitlines() if '"level": "error"' in line]
    assert len(errors) == 2  # that line, and uvicorn's "failed. Exiting."


def test_a_model_that_misreads_its_golden_digits_is_not_served(released: ModelFolder, tmp_path: Path) -> None:
    """All checksums are right, but the service is ready only after it has read the golden digits correctly."""
    folder = Path(shutil.copytree(released.folder, tmp_path / "model"))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["golden"][0]["digit"] = 9
    (folder / "manifest.json").write_text(json.dumps(manifest))
    done = run_app("serve", "--port", "0", DIGITS_MODEL=str(folder))
    assert done.returncode == 3
    assert "reads a golden 9 as 0" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"DIGITS_MODEL": "/nowhere"}, "model folder not found"),
        pytest.param({"DIGITS_DEVICE": "cuda:9"}, "cuda:9 is not available", marks=[pytest.mark.slow, needs_torch]),
        ({"DIGITS_ENGINE": "onnxruntime", "DIGITS_DEVICE": "cuda"}, "runs only on the CPU"),
    ],
)
def test_a_missing_model_or_device_fails_the_start(environment: dict[str, str], message: str) -> None:
    """A missing engine, device or model is an error that says what to do. There is no fallback."""
    done = run_app("serve", "--port", "0", **environment)
    assert done.returncode == 3
    assert message in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.slow
@needs_torch
def test_torch_can_serve_the_model() -> None:
    """With --engine torch, the service runs the checkpoint."""
    with running("--engine", "torch", DIGITS_DEVICE="cpu") as server:
        info = httpx.get(f"{server.url}/info").json()
        assert (info["engine"], info["device"]) == ("torch", "cpu")


def test_metrics_count_requests_and_digits(server: Server, seven: Grey) -> None:
    """Prometheus's own parser reads them: requests by path and status, predictions by digit, batches, times."""

    def counts() -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        text = httpx.get(f"{server.url}/metrics").raise_for_status().text
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    before = counts()
    httpx.post(f"{server.url}/predict", files={"file": png(seven)})
    httpx.post(f"{server.url}/predict?normalize=auto", files={"file": png(seven)})
    httpx.post(f"{server.url}/predict", content=b"no image", headers={"Content-Type": "image/png"})
    httpx.get(f"{server.url}/nothing/of/the/kind")
    grown = {key: value - before.get(key, 0) for key, value in counts().items()}
    predict = (("method", "POST"), ("path", "/predict"))
    assert grown["http_requests_total", (*predict, ("status", "200"))] == 2
    assert grown["http_requests_total", (*predict, ("status", "415"))] == 1
    assert grown["http_requests_total", (("method", "GET"), ("path", "other"), ("status", "404"))] == 1
    assert grown["http_request_duration_seconds_count", (("path", "/predict"),)] == 3
    assert grown["digits_predictions_total", (("accepted", "true"), ("digit", "7"))] == 2
    assert grown["digits_batch_size_count", ()] == grown["digits_inference_duration_seconds_count", ()] == 2


def test_sigterm_ends_the_service_cleanly() -> None:
    """The process ends by itself, without a traceback in its log."""
    with running() as server:
        assert httpx.get(f"{server.url}/livez").status_code == 200
        log = server.log
        os.kill(server.pid, signal.SIGTERM)
        os.waitpid(server.pid, 0)
        assert "Traceback" not in log.read_text()
        assert "shutdown complete" in log.read_text()


def test_the_service_imports_neither_torch_nor_training() -> None:
    """The base install has no torch, so the service must need neither torch nor the training package."""
    unwanted = "('torch', 'training', 'safetensors')"
    code = f"import sys, app.main, app.__main__; print([m for m in {unwanted} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=clean_environment(), capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_serving_writes_no_file() -> None:
    """ONNX Runtime's telemetry, which stores an identifier in the home directory, is off. Nothing else is written.

    The variable CI would turn the telemetry off too, so the test removes it.
    """
    with running(CI="") as server:
        httpx.post(f"{server.url}/predict", content=b"x", headers={"Content-Type": "image/png"})
        assert [path.name for path in server.log.parent.rglob("*")] == ["log"]
