"""Settings: their sources, and how invalid values are reported."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from app.settings import Settings
from tests.support.running import ROOT, run_app, run_main, running


def test_a_flag_overrides_the_environment_then_dotenv_then_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order of precedence is flag, environment, .env, default."""
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(f"DIGITS_{name.upper()}", raising=False)
    assert Settings().port == 8000
    (tmp_path / ".env").write_text("DIGITS_PORT=8001\n")
    assert Settings().port == 8001
    monkeypatch.setenv("DIGITS_PORT", "8002")
    assert Settings().port == 8002
    assert Settings(port=8003).port == 8003


@pytest.mark.parametrize(
    ("name", "value"),
    [("device", "gpu"), ("engine", "tensorflow"), ("port", 70_000), ("max_pixels", 1), ("batch_max", 0)],
)
def test_an_invalid_value_is_refused(name: str, value: object) -> None:
    """The service never sees an invalid setting."""
    with pytest.raises(ValidationError, match=name):
        Settings.model_validate({name: value})


def test_an_invalid_setting_is_named_on_the_command_line() -> None:
    """The error names the setting, its variable and the problem. There is no traceback."""
    done = run_main("info", DIGITS_DEVICE="gpu")
    assert done.returncode == 2
    assert "device (DIGITS_DEVICE)" in done.stderr
    assert "Traceback" not in done.stderr


def test_kubernetes_service_variables_are_named_as_the_cause() -> None:
    """For a Service named "digits", Kubernetes sets DIGITS_PORT to an address. The error says so, and what to do."""
    done = run_main("info", DIGITS_PORT="tcp://10.96.12.7:8000")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    for part in ("port (DIGITS_PORT)", "tcp://10.96.12.7:8000", "Kubernetes", '"digits"', "enableServiceLinks: false"):
        assert part in line


def test_an_empty_variable_counts_as_unset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compose files and CI set variables to nothing when they have no value."""
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.setenv(f"DIGITS_{name.upper()}", "")
    assert Settings() == Settings.model_construct()
    (tmp_path / ".env").write_text("DIGITS_PORT=\nDIGITS_WORKERS=2\n")
    assert (Settings().port, Settings().workers) == (8000, 2)


@pytest.mark.parametrize(("name", "value"), [("log_level", "WARNING"), ("engine", "Auto"), ("device", "CPU")])
def test_words_may_be_in_capitals(name: str, value: str) -> None:
    """Other programs write log levels in capitals."""
    assert getattr(Settings.model_validate({name: value}), name) == value.lower()


def test_origins_may_end_with_a_slash() -> None:
    """Addresses that are copied from a browser do. An origin in a request never does."""
    settings = Settings(cors_origins="https://a.example/, http://b.example:3000")
    assert settings.cors_origins == "https://a.example,http://b.example:3000"


def test_a_drain_that_is_longer_than_the_grace_period_is_refused() -> None:
    """The error names both settings and their values."""
    done = run_main("info", DIGITS_GRACE_S="2", DIGITS_DRAIN_MS="1001")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line == "digitserve: DIGITS_GRACE_S (2 s) must be at least 1 s more than DIGITS_DRAIN_MS (1001 ms)"
    assert Settings(grace_s=2, drain_ms=1000).grace_s == 2


@pytest.mark.parametrize(
    ("encoding", "message"), [("utf-8", None), ("utf-8-sig", None), ("utf-16", "digitserve: .env is not UTF-8 text")]
)
def test_a_dotenv_file_of_any_editor_works_or_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str, message: str | None
) -> None:
    """Windows' editors write UTF-8 with a mark, and its shell writes UTF-16. The latter gives one line."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("DIGITS_PORT=70000\n", encoding=encoding)
    done = run_main("info")
    (line,) = done.stderr.splitlines()
    if message:
        assert (done.returncode, line) == (3, message)
    else:
        assert line.startswith("digitserve: setting port (DIGITS_PORT)")


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="this system has no file that cannot be read")
def test_a_dotenv_file_that_cannot_be_read_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line says so."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").symlink_to("/proc/self/mem")
    done = run_main("info")
    assert (done.returncode, done.stderr) == (3, "digitserve: .env cannot be read: Input/output error\n")


def test_a_misspelt_variable_is_reported_with_the_nearest_name() -> None:
    """In the log, at the start. Variables of Kubernetes, of training and of the client are not meant."""
    with running(
        DIGITS_MAX_INFLIHGT="5",
        DIGITS_COLOUR="red",
        DIGITS_SERVICE_HOST="10.96.12.7",
        DIGITS_SERVICE_PORT_HTTP="8000",
        DIGITS_PORT_8000_TCP_ADDR="10.96.12.7",
        DIGITS_DATA_DIR="data",
        DIGITS_API_KEY="key",
    ) as server:
        log = server.log.read_text()
    assert "DIGITS_MAX_INFLIHGT is not a setting. Did you mean DIGITS_MAX_INFLIGHT?" in log
    assert "DIGITS_COLOUR is not a setting." in log
    assert log.count("is not a setting") == 2


def test_a_misspelt_name_in_dotenv_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The service reads it where it was started. Here it cannot start, so it also ends."""
    (tmp_path / ".env").write_text("DIGITS_HSOT=0.0.0.0\n")
    monkeypatch.setattr("tests.support.running.ROOT", tmp_path)
    done = run_app("serve", "--port", "0", "--model", "/nowhere", PYTHONPATH=str(ROOT))
    assert "DIGITS_HSOT is not a setting. Did you mean DIGITS_HOST?" in done.stderr
