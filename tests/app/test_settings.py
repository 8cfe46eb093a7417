"""Settings: their sources, and how invalid values are reported."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from app.settings import Settings
from tests.support.running import run_main


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
