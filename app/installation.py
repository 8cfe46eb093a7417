"""How this copy of digitserve was installed, and the commands that fit it."""

import shlex
import shutil
import sys
from importlib.metadata import requires
from pathlib import Path

CHECKOUT = Path(__file__).parents[1]  # if it has a pyproject.toml
SBOM = Path(sys.prefix, "sbom.cdx.json")  # only the container image has one there


def python_command() -> str:
    """Return the interpreter that runs, as a word for a shell."""
    return shlex.quote(shorten(Path(sys.executable)))


def our_command() -> str:
    """Return how a person starts the command line here: the script that was started, or the module."""
    script = Path(sys.argv[0]).absolute()
    if script.stem != "digitserve":
        return f"{python_command()} -m app"
    return script.stem if shutil.which(script.stem) == str(script) else shlex.quote(shorten(script))


def install_command(extra: str) -> str:
    """Return the command that adds an extra of pyproject.toml: to a checkout, an installed wheel or the image.

    The package is not on PyPI, so for a wheel it names the packages of the extra. The image has no pip.
    """
    if SBOM.is_file():
        return f"docker build -t digitserve --build-arg EXTRA={extra} ."
    if (CHECKOUT / "pyproject.toml").is_file():
        packages = ["-e", f"{shorten(CHECKOUT)}[{extra}]"]
    else:
        found = (line.replace("'", '"').partition("; extra == ") for line in requires("digitserve") or ())
        packages = sorted({requirement for requirement, _, name in found if name.strip('"') in extra.split(",")})
    return f"{python_command()} -m pip install {shlex.join(packages)}"


def shorten(path: Path) -> str:
    """Return a path, relative to the working folder if it is inside."""
    folder = Path.cwd()
    return str(path.relative_to(folder) if path.is_relative_to(folder) else path)
