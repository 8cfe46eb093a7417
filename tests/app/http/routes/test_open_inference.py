"""/v2, the Open Inference Protocol: with Triton's own client, and with requests made by hand."""

import json
from typing import Any

import httpx
import numpy as np
import pytest

from app.http.tensors import parse_request
from app.inference.engines import Engine
from tests.support.pictures import Grey
from tests.support.running import Server, running

Digits = list[tuple[int, Grey]]
INFER = "/v2/models/digitnet/infer"


@pytest.fixture(scope="module")
def images(digits: Digits) -> Grey:
    return np.stack([image for _, image in digits])


@pytest.fixture(scope="module")
def labels(digits: Digits) -> list[int]:
    return [digit for digit, _ in digits]


@pytest.mark.parametrize("datatype", ["UINT8", "FP32"])
@pytest.mark.parametrize("binary", [True, False])
def test_triton_s_client_reads_digits(
    server: Server, images: Grey, labels: list[int], engine: Engine, datatype: str, binary: bool
) -> None:
    """Health, metadata and inference work, with binary and JSON tensors, of bytes and of floats."""
    triton = pytest.importorskip("tritonclient.http")
    with triton.InferenceServerClient(server.url.removeprefix("http://")) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("digitnet")
        assert client.get_server_metadata()["extensions"] == ["binary_tensor_data"]
        assert client.get_model_metadata("digitnet")["inputs"][0]["shape"] == [-1, 28, 28]
        tensor = triton.InferInput("images", list(images.shape), datatype)
        tensor.set_data_from_numpy(images.astype(np.float32 if datatype == "FP32" else np.uint8), binary_data=binary)
        wanted = [triton.InferRequestedOutput(name, binary_data=binary) for name in ("probabilities", "digit")]
        result = client.infer("digitnet", [tensor], outputs=wanted, request_id="mine")
        assert result.get_response()["id"] == "mine"
        assert result.as_numpy("digit").tolist() == labels
        np.testing.assert_allclose(result.as_numpy("probabilities"), engine(images).probabilities, atol=1e-7)
        assert result.as_numpy("accepted") is None  # it was not requested
        everything = client.infer("digitnet", [tensor])
        assert everything.as_numpy("accepted").dtype == bool
        assert everything.as_numpy("accepted").all()


def test_a_request_may_name_a_version(server: Server) -> None:
    """The current version is ready. Other versions and other models are unknown."""
    triton = pytest.importorskip("tritonclient.http")
    version = httpx.get(f"{server.url}/info").json()["model"]["version"]
    with triton.InferenceServerClient(server.url.removeprefix("http://")) as client:
        assert client.is_model_ready("digitnet", version)
        assert not client.is_model_ready("digitnet", "0.0.1")
        assert not client.is_model_ready("resnet")


def request(**changes: Any) -> dict[str, Any]:
    tensor = {"name": "images", "shape": [1, 28, 28], "datatype": "UINT8", "data": [0] * 784, **changes}
    return {"inputs": [{key: value for key, value in tensor.items() if value is not None}]}


@pytest.mark.parametrize("data", [[0] * 784, [[0] * 28] * 28, [[[0] * 28] * 28]])
def test_json_data_may_be_flat_or_nested(server: Server, data: Any) -> None:
    """The protocol allows both."""
    answer = httpx.post(server.url + INFER, json=request(data=data)).raise_for_status().json()
    assert [output["name"] for output in answer["outputs"]] == ["probabilities", "digit", "accepted"]
    assert sum(answer["outputs"][0]["data"]) == pytest.approx(1, abs=1e-5)
    assert answer["outputs"][2]["data"] == [False]  # blank paper is not a digit


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "inputs: Field required"),
        (request(name="pictures"), "inputs.0.name"),
        (request(shape=[1, 1, 28, 28]), "shape"),
        (request(shape=[1, 28, 27], data=[0] * 756), "shape"),
        (request(shape=[0, 28, 28], data=[]), "shape"),
        (request(shape=[-1, 28, 28]), "shape"),
        (request(shape=[2000, 28, 28]), "N from 1 to 1,024"),
        (request(datatype="INT8"), "datatype"),
        (request(data=[0] * 783), "784 numbers"),
        (request(data=[300] + [0] * 783), "from 0 to 255"),
        (request(data=[-1] + [0] * 783), "from 0 to 255"),
        (request(data=["x"] * 784), "must be numbers"),
        (request(data=[[0], [0, 1]]), "must be numbers"),
        (request(data=[None] * 784), "from 0 to 255"),
        (request(data=[10**400] + [0] * 783), "must be numbers"),
        (request(data=[0] * 1024 * 784 + [0] * 2000), "more values than 1,024 images"),
        (request(data=None), "either data or"),
        (request(data=None, parameters={"binary_data_size": 784}), "does not match"),
        (request() | {"outputs": [{"name": "logits"}]}, "outputs.0.name"),
    ],
)
def test_an_invalid_request_gets_its_own_message(server: Server, body: Any, message: str) -> None:
    """It gets a 400 with the protocol's own error object."""
    answer = httpx.post(server.url + INFER, json=body)
    assert answer.status_code == 400, answer.text
    assert list(answer.json()) == ["error"]
    assert message in answer.json()["error"]


def test_invalid_binary_tensors_are_refused(server: Server, seven: Grey) -> None:
    """Too short, too long, a JSON longer than the body, a NaN: each gets a 400. A Content-Encoding gets a 415."""
    head = json.dumps(request(data=None, parameters={"binary_data_size": 784})).encode()

    def send(body: bytes, length: str, **headers: str) -> int:
        all_headers = {"Inference-Header-Content-Length": length, **headers}
        return httpx.post(server.url + INFER, content=body, headers=all_headers).status_code

    assert send(head + seven.tobytes(), str(len(head))) == 200
    assert send(head + seven.tobytes()[1:], str(len(head))) == 400
    assert send(head + seven.tobytes() + b"x", str(len(head))) == 400
    assert send(head, "100000") == 400
    assert send(head + seven.tobytes(), "x") == 400
    assert send(head + seven.tobytes(), "9" * 5000) == 400
    assert send(head + seven.tobytes(), str(len(head)), **{"Content-Encoding": "gzip"}) == 415
    floats = json.dumps(request(data=None, datatype="FP32", parameters={"binary_data_size": 3136})).encode()
    assert send(floats + np.full(784, np.nan, "<f4").tobytes(), str(len(floats))) == 400


def test_all_errors_under_v2_have_the_protocol_s_form(server: Server) -> None:
    """An unknown model, path or method gets {"error": …}, with the request ID in the header."""
    for answer in (
        httpx.get(f"{server.url}/v2/models/other"),
        httpx.get(f"{server.url}/v2/nothing"),
        httpx.get(server.url + INFER),
    ):
        assert answer.status_code in (404, 405)
        assert list(answer.json()) == ["error"]
        assert answer.headers["X-Request-ID"]


def test_tensors_are_not_normalised(seven: Grey) -> None:
    """Nothing is inverted or moved. Floats are rounded to whole numbers."""
    moved = np.roll(255 - seven, 3, axis=1)
    for datatype, data in (("UINT8", moved), ("FP32", np.clip(moved.astype(np.float64) + 0.4, 0, 255))):
        body = json.dumps(request(datatype=datatype, data=data.ravel().tolist())).encode()
        _, images = parse_request(body, len(body), max_images=1)
        np.testing.assert_array_equal(images[0], moved)


def test_a_tensor_has_the_limit_of_a_batch(images: Grey) -> None:
    """DIGITS_MAX_BATCH limits the number of images in a tensor."""
    with running("--max-batch", "19") as server:
        assert httpx.post(server.url + INFER, json=request(shape=[20, 28, 28], data=images.tolist())).status_code == 400
