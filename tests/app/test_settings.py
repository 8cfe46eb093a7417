"""Where settings come from, and which values are refused."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from app.settings import Settings
from tests.support.running import run_app


def test_a_flag_wins_over_the_environment_that_over_dotenv_that_over_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Precedence: flag, environment, .env, default."""
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
def test_a_value_out_of_range_is_refused(name: str, value: object) -> None:
    """A setting that cannot work does not get as far as the service."""
    with pytest.raises(ValidationError, match=name):
        Settings.model_validate({name: value})


def test_a_wrong_setting_is_named_on_the_command_line() -> None:
    """The message names the setting, its variable and what is wrong; no traceback."""
    done = run_app("info", DIGITS_DEVICE="gpu")
    assert done.returncode == 2
    assert "device (DIGITS_DEVICE)" in done.stderr
    assert "Traceback" not in done.stderr
