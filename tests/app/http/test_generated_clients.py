"""Clients that tools generate from the OpenAPI document read digits."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.support.npm import install_packages
from tests.support.pictures import Grey, png
from tests.support.running import Server

PYTHON_CLIENT = """
import sys
from io import BytesIO
from pathlib import Path

from client import Client
from client.api.open_inference_protocol import v2_models_infer
from client.api.operations import info
from client.api.predict import predict, predict_batch, read
from client.models import ImageBody, InferenceRequest, PictureForm, PicturesForm
from client.types import File

client, picture = Client(sys.argv[1]), Path(sys.argv[2]).read_bytes()


def file(content=picture):
    return File(BytesIO(content), "digit.png")


print(predict.sync(client=client, body=PictureForm(file())).digit)
print(predict.sync(client=client, body=file(), preview=True).preview[:14])
print(predict.sync(client=client, body=ImageBody("no base64!")).status)
batch = predict_batch.sync(client=client, body=PicturesForm([file(), file(b"no image")]))
print([each.to_dict().get("digit") for each in batch.predictions])
print(read.sync(client=client, body=PictureForm(file())).lines[0].text)
tensor = {"name": "images", "shape": [1, 784], "datatype": "UINT8", "data": [0] * 784}
answer = v2_models_infer.sync("digitnet", client=client, body=InferenceRequest.from_dict({"inputs": [tensor]}))
print([output.name for output in answer.outputs])
print(info.sync(client=client).model.name)
"""

TYPESCRIPT_CLIENT = """
import { readFileSync } from "node:fs";
import createClient from "openapi-fetch";
import type { paths } from "./schema.d.ts";

const [url, file] = process.argv.slice(2) as [string, string];
const client = createClient<paths>({ baseUrl: url });
const picture = new Blob([readFileSync(file)], { type: "image/png" });
const form = new FormData();
form.append("file", picture, "digit.png");
const predicted = await client.POST("/predict", { body: { file: "" }, bodySerializer: () => form });
const digit: number | null | undefined = predicted.data?.digit;
const headers = { "Content-Type": "application/json" };
const refused = await client.POST("/predict", { body: { image: "no base64!" }, headers });
const status: number | undefined = refused.error?.status;
const info = await client.GET("/info");
console.log(JSON.stringify([digit, status, info.data?.model.name]));
"""


def run(*command: str | Path, **options: object) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **options)  # type: ignore[call-overload]  # options of run
    assert done.returncode == 0, done.stdout + done.stderr
    return str(done.stdout)


@pytest.fixture
def document(server: Server, tmp_path: Path) -> Path:
    path = tmp_path / "openapi.json"
    path.write_bytes(httpx.get(f"{server.url}/openapi.json").raise_for_status().content)
    return path


@pytest.fixture
def seven_file(seven: Grey, tmp_path: Path) -> Path:
    path = tmp_path / "seven.png"
    path.write_bytes(png(seven))
    return path


def test_a_generated_python_client_reads_digits(server: Server, document: Path, seven_file: Path) -> None:
    """The one of openapi-python-client: a file, a raw body, JSON, a batch, a number, a tensor and a refusal."""
    pytest.importorskip("openapi_python_client", reason="openapi-python-client is not in the base install")
    generator = Path(sys.executable).parent / "openapi-python-client"
    work = document.parent
    run(generator, "generate", "--path", document, "--output-path", work / "client", "--meta", "none")
    script = work / "script.py"
    script.write_text(PYTHON_CLIENT)
    printed = run(sys.executable, script, server.url, seven_file, env={**os.environ, "PYTHONPATH": str(work)})
    assert printed.splitlines() == [
        "7",
        "data:image/png",
        "400",
        "[7, None]",
        "7",
        "['probabilities', 'digit', 'accepted']",
        "digitnet",
    ]


@pytest.mark.slow
def test_a_generated_typescript_client_reads_digits(
    server: Server, document: Path, seven_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The types of openapi-typescript fit the client, and the document passes redocly's recommended rules."""
    if not shutil.which("node"):
        pytest.skip("node is not installed")
    folder = tmp_path_factory.mktemp("npm")
    commands = install_packages(folder)
    run(commands / "redocly", "lint", "--extends=recommended", "--max-problems=0", document)
    run(commands / "openapi-typescript", document, "-o", folder / "schema.d.ts")
    (folder / "client.ts").write_text(TYPESCRIPT_CLIENT)
    (folder / "package.json").write_text(json.dumps({"type": "module"}))
    options = ("--strict", "--target", "es2022", "--module", "nodenext", "--skipLibCheck")
    run(commands / "tsc", *options, "client.ts", cwd=folder)
    assert json.loads(run("node", "client.js", server.url, seven_file, cwd=folder)) == [7, 400, "digitnet"]
