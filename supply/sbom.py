"""Complete an image's SBOM: add the model, which package tools do not know, and the version of the service.

    python supply/sbom.py < packages.json > sbom.cdx.json

Reads and writes CycloneDX JSON. The image build runs it with the Python that the service is installed for.
"""

import json
import sys
from typing import Any

import app
from app.inference import model_folder
from app.inference.model_folder import ModelFolder
from app.settings import released_model


def make_component(model: ModelFolder) -> dict[str, Any]:
    """Describe the model as a component, with the SHA-256 that ``/info`` reports, and its files with theirs."""

    def to_hashes(content: str) -> list[dict[str, str]]:
        return [{"alg": "SHA-256", "content": content}]

    return {
        "type": "machine-learning-model",
        "bom-ref": model.manifest.id,
        "name": model.manifest.name,
        "version": model.manifest.version,
        "hashes": to_hashes(model.sha256),
        "components": [
            {"type": "file", "bom-ref": f"{model.manifest.id}/{name}", "name": name, "hashes": to_hashes(content)}
            for name, content in {model_folder.MANIFEST: model.sha256, **model.manifest.files}.items()
        ],
    }


def add_version(sbom: dict[str, Any]) -> None:
    """Set the version of the service. pyproject.toml does not have it, so package tools do not know it."""
    sbom["metadata"]["component"]["version"] = app.__version__


def add_model(sbom: dict[str, Any], model: ModelFolder) -> None:
    """Add the model to the components, as a dependency of the service."""
    part = make_component(model)
    sbom["components"].append(part)
    service = sbom["metadata"]["component"]["bom-ref"]
    for dependency in sbom["dependencies"]:
        if dependency["ref"] == service:
            dependency.setdefault("dependsOn", []).append(part["bom-ref"])
    sbom["dependencies"].append({"ref": part["bom-ref"]})


if __name__ == "__main__":
    sbom = json.load(sys.stdin)
    add_version(sbom)
    add_model(sbom, model_folder.load(released_model()))
    json.dump(sbom, sys.stdout, indent=1)
