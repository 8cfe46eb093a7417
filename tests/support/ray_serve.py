"""How to run deploy/ray/serve_app.py with Ray Serve."""

import sys
from pathlib import Path

from tests.support.running import ROOT

APP_FOLDER = ROOT / "deploy" / "ray"  # belongs in PYTHONPATH, where Ray's workers find the file


def ray_serve_command(folder: Path, port: int) -> list[str]:
    """Write a configuration with a port to a folder, and return the command that serves it."""
    config = folder / "config.yaml"
    config.write_text(
        f"http_options: {{host: 127.0.0.1, port: {port}}}\n"
        "applications:\n  - {name: digitserve, route_prefix: /, import_path: 'serve_app:application'}\n"
    )
    return [str(Path(sys.executable).with_name("serve")), "run", str(config)]
