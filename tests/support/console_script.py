"""The command ``digitserve``, as pip would install it."""

from pathlib import Path


def write_console_script(path: Path, python: Path | str) -> None:
    """Write a script that runs our command line with an interpreter."""
    path.write_text(f"#!{python}\nimport sys\nfrom app.__main__ import main\nsys.exit(main())\n")
    path.chmod(0o755)
