"""``digitserve completion``: a real shell completes what we print."""

import subprocess

import pytest

from tests.support.running import ROOT, run_main

ASK = """
eval "$1"
COMP_LINE="$2" COMP_POINT=${#2} COMP_WORDS=($2) COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_shtab_digitserve
printf '%s\\n' "${COMPREPLY[@]}"
"""


def complete(line: str) -> list[str]:
    """Return what bash offers at the end of a line."""
    script = run_main("completion", "bash").stdout
    done = subprocess.run(
        ["bash", "-c", ASK, "bash", script, line], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("digitserve se", {"serve"}),
        ("digitserve serve --por", {"--port"}),
        ("digitserve serve --engine t", {"torch"}),
        ("digitserve serve --model mod", {"models"}),
        ("digitserve predict READ", {"README.md"}),
        ("digitserve predict --output READ", {"README.md"}),
        ("digitserve bench --form r", {"raw"}),
        ("digitserve completion z", {"zsh"}),
    ],
)
def test_bash_completes(line: str, offered: set[str]) -> None:
    """Commands, flags, choices and file names."""
    assert {word.rstrip("/") for word in complete(line)} == offered


@pytest.mark.parametrize(
    ("shell", "start"), [("bash", "complete "), ("zsh", "#compdef digitserve"), ("fish", "complete -c digitserve")]
)
def test_each_shell_has_a_script(shell: str, start: str) -> None:
    """It is for a command of our name."""
    assert start in run_main("completion", shell).stdout
