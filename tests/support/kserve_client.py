"""Asks a service with kserve's own client, in an environment of its own, because kserve pins versions of our packages.

    uv run --no-project --with kserve tests/support/kserve_client.py < request.json

The input has ``url``, ``model``, ``images`` and ``manifests``. The output is the digits that were read. Fields of the
manifests that kserve does not know are an error.
"""

import asyncio
import json
import re
import sys
from typing import Any

import kserve
import kubernetes
import numpy as np


def check_fields(value: Any, type_name: str, path: str) -> None:
    """Check that a value of a manifest has only the fields of its type.

    Raises:
        AttributeError: A field is unknown.
    """
    if item_type := re.fullmatch(r"list\[(.*)\]", type_name):
        for item in value:
            check_fields(item, item_type[1], path)
        return
    model = getattr(kserve, type_name, None) or getattr(kubernetes.client, type_name, None)
    if model is None:  # a plain value
        return
    fields = {name: model.openapi_types[attribute] for attribute, name in model.attribute_map.items()}
    for name, item in value.items():
        if name not in fields:
            raise AttributeError(f"{path} has no {name}")
        check_fields(item, fields[name], f"{path}.{name}")


async def read_digits(url: str, model: str, images: list[list[list[int]]]) -> list[int]:
    """Read 28x28 images through the v2 protocol, as a binary tensor."""
    client = kserve.InferenceRESTClient(kserve.RESTConfig(protocol="v2"))
    assert await client.is_server_ready(url)
    assert await client.is_model_ready(url, model)
    tensor = kserve.InferInput("images", [len(images), 28, 28], "UINT8")
    tensor.set_data_from_numpy(np.array(images, np.uint8))
    answer = await client.infer(url, kserve.InferRequest(model, [tensor]), model_name=model)
    outputs = {output.name: output.as_numpy() for output in answer.outputs}
    return [int(digit) for digit in outputs["digit"]]


def main() -> None:
    request = json.load(sys.stdin)
    for manifest in request["manifests"]:
        version = manifest["apiVersion"].rpartition("/")[2].capitalize()
        check_fields(manifest, f"{version}{manifest['kind']}", manifest["kind"])
    print(json.dumps(asyncio.run(read_digits(request["url"], request["model"], request["images"]))))


if __name__ == "__main__":
    main()
