"""The parser of the command line: help, versions, typos and the exit statuses that it lists."""

import re
import subprocess
import sys

import pytest

from app.__main__ import main
from app.cli.console import EXIT_STATUS
from app.cli.parser import COMMANDS
from app.cli.settings_flags import GROUPS
from app.settings import Settings
from tests.support.running import ROOT, clean_environment

HEAVY = {"cv2", "fastapi", "httptools", "httpx", "numpy", "onnxruntime", "PIL", "shtab", "uvicorn"}


def end(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[object, str, str]:
    """Run the command line until the parser ends it. Return the exit status and what was printed."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    printed = capsys.readouterr()
    return caught.value.code, printed.out, printed.err


def test_serve_groups_its_flags(capsys: pytest.CaptureFixture[str]) -> None:
    """Every setting is in one group, with its variable, and with its choices or the kind of value."""
    assert sorted(name for names in GROUPS.values() for name in names) == sorted(Settings.model_fields)
    status, text, _ = end(capsys, "serve", "--help")
    assert status == 0
    *_, text = text.partition("options:")
    found = dict(zip(re.findall(r"^(\w+):$", text, re.M), re.split(r"^\w+:$", text, flags=re.M)[1:], strict=True))
    for title, names in GROUPS.items():
        group = " ".join(found[title].split())
        for name in names:
            assert re.search(rf"--{name.replace('_', '-')} (N|TEXT|FOLDER|{{[a-z,]+}}) ", group), name
            assert re.search(rf"\[DIGITS_{name.upper()}, default: [^\]]+\]", group), name
    assert "--engine {auto,onnxruntime,torch}\n" in text
    assert "--open-pages {true,false}" in text


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It ends with the exit statuses, which are the same for all and fit into 80 columns."""
    status, text, errors = end(capsys, command, "--help")
    assert (status, errors) == (0, "")
    assert text.endswith(EXIT_STATUS)
    assert all(len(line) <= 80 for line in EXIT_STATUS.splitlines())


def test_without_arguments_the_commands_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """The output is that of --help."""
    assert end(capsys) == end(capsys, "--help")
    _, text, _ = end(capsys)
    assert all(re.search(rf"^    {name} ", text, re.M) for name in COMMANDS)


def test_the_version_has_a_short_flag(capsys: pytest.CaptureFixture[str]) -> None:
    """-V and --version print the same."""
    assert end(capsys, "-V") == end(capsys, "--version") == (0, "digitserve 0.1.0\n", "")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ("serv", "; did you mean serve? "),
        ("--verison", "unknown argument --verison; did you mean --version? "),
        ("--", "(help: "),  # what it says depends on the version of Python
        ("serve --prot 8000", "unknown argument --prot; did you mean --port? "),
        ("serve --prot=8000", "unknown argument --prot; did you mean --port? "),
        ("predict --jsno a.png", "unknown argument --jsno; did you mean --json? "),
        ("predict", "the following arguments are required: FILE "),
        ("bench --sconds 5", "unknown argument --sconds; did you mean --seconds? "),
        ("info here", "unknown argument here "),
        ("serve --engine tork", "; did you mean torch? "),
        ("completion bsh", "; did you mean bash? "),
    ],
)
def test_a_typo_gets_one_line_with_the_nearest_name(
    arguments: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The line names what was probably meant and how to get help, and the exit status is 2."""
    status, text, errors = end(capsys, *arguments.split())
    assert (status, text, errors.count("\n")) == (2, "", 1)
    assert errors.startswith("digitserve: ")
    assert reason in errors
    command = arguments.split()[0]
    assert errors.endswith(f"-m app {f'{command} ' if command in COMMANDS else ''}--help)\n")


def test_a_choice_may_be_in_upper_case(capsys: pytest.CaptureFixture[str]) -> None:
    """Like the variable, the flag accepts either case."""
    assert main(["info", "--engine", "ONNXRUNTIME"]) == 0
    assert '"engine": "onnxruntime"' in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["predict"], ["bench"], ["serve"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    """--help needs none of the libraries that serve or read, so it is fast. Without a command, not even pydantic."""
    heavy = HEAVY if arguments else HEAVY | {"asyncio", "pydantic"}
    script = (
        "import contextlib, io, sys\n"
        "from app.__main__ import main\n"
        "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):\n"
        f"    main({[*arguments, '--help']})\n"
        f"print(*{heavy} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=clean_environment(), capture_output=True, text=True, check=True
    )
    assert done.stdout == "\n"
