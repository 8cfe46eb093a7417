"""Add the model to the list of an image's parts, which tools that know packages alone leave out.

    python supply/sbom.py < parts.json > sbom.cdx.json

CycloneDX JSON in, and out. Run at the image's build, by the Python that the service is installed for.
"""

import json
import sys
from typing import Any

from app.settings import released_model
from app.inference import model_folder
from app.inference.model_folder import ModelFolder


def component(model: ModelFolder) -> dict[str, Any]:
    """The model as a part. Its SHA-256 is the one that ``/info`` tells; those of its files are what it is made of."""

    def hashes(content: str) -> list[dict[str, str]]:
        return [{"alg": "SHA-256", "content": content}]

    return {
        "type": "machine-learning-model",
        "bom-ref": model.manifest.id,
        "name": model.manifest.name,
        "version": model.manifest.version,
        "hashes": hashes(model.sha256),
        "components": [
            {"type": "file", "bom-ref": f"{model.manifest.id}/{name}", "name": name, "hashes": hashes(content)}
            for name, content in {model_folder.MANIFEST: model.sha256, **model.manifest.files}.items()
        ],
    }


def add_model(sbom: dict[str, Any], model: ModelFolder) -> None:
    """Put the model among the parts, as one that the service depends on."""
    part = component(model)
    sbom["components"].append(part)
    service = sbom["metadata"]["component"]["bom-ref"]
    for dependency in sbom["dependencies"]:
        if dependency["ref"] == service:
            dependency.setdefault("dependsOn", []).append(part["bom-ref"])
    sbom["dependencies"].append({"ref": part["bom-ref"]})


if __name__ == "__main__":
    parts = json.load(sys.stdin)
    add_model(parts, model_folder.load(released_model()))
    json.dump(parts, sys.stdout, indent=1)
