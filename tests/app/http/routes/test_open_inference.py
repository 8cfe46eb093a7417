"""/v2, the Open Inference Protocol: with Triton's own client, and with requests made by hand."""

import base64
import json
import struct
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from app.http.tensors import make_outputs, parse_request
from app.inference.engines import Engine
from app.inference.model_folder import Thresholds
from app.inference.scores import Scores
from app.recognition.digit import PreparedPicture, make_prediction
from tests.support.pictures import Grey, encode, png
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
        assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
        assert client.get_model_metadata("digitnet")["inputs"][0]["shape"] == [-1, 28, 28]
        tensor = triton.InferInput("images", list(images.shape), datatype)
        tensor.set_data_from_numpy(images.astype(np.float32 if datatype == "FP32" else np.uint8), binary_data=binary)
        wanted = [triton.InferRequestedOutput(name, binary_data=binary) for name in ("probabilities", "digit")]
        result = client.infer("digitnet", [tensor], outputs=wanted, request_id="mine")
        assert result.get_response()["id"] == "mine"
        assert result.as_numpy("digit").tolist() == labels
        np.testing.assert_allclose(result.as_numpy("probabilities"), engine(images).probabilities, atol=6e-7)
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
        (request(shape=[1, 2, 28, 28]), "[N, 28, 28] or [N, 1, 28, 28] or [N, 28, 28, 1] or [N, 784]"),
        (request(shape=[784]), "shape"),
        (request(shape=[True, 28, 28]), "inputs.0.shape.0"),
        (request(shape=[1, 28, 27], data=[0] * 756), "shape"),
        (request(shape=[0, 28, 28], data=[]), "shape"),
        (request(shape=[-1, 28, 28]), "shape"),
        (request(shape=[2000, 28, 28]), "N from 1 to 1,024"),
        (request(datatype="INT8"), "datatype"),
        (request(data=[0] * 783), "784 numbers"),
        (request(data=[300] + [0] * 783), "from 0 to 255"),
        (request(data=[-1] + [0] * 783), "from 0 to 255"),
        (request(data=["0"] * 784), "must be numbers"),
        (request(data=[True] + [0] * 783), "must be numbers"),
        (request(data=[None] * 784), "must be numbers"),
        (request(data=[{"0": 0}] * 784), "must be numbers"),
        (request(data=[0.5] + [0] * 783), "must be whole, because their datatype is UINT8"),
        (request(data=[[0], [0, 1]]), "flat, or nested"),
        (request(data=[[0], 0]), "flat, or nested"),
        (request(data=[10**400] + [0] * 783), "from 0 to 255"),
        (request(data=[0.9] * 784, datatype="FP32"), "end at 1, but white is 255. Multiply them by 255"),
        (request(data=[0] * 783 + [1], datatype="FP32"), "end at 1"),
        (request(data=["AAAA"], datatype="BYTES"), "[N] or [N, 1], with N from 1"),
        (request(data=["AAAA"], datatype="BYTES", shape=[2]), "must have 2 files for its shape, but has 1"),
        (request(data=["A!"], datatype="BYTES", shape=[1]), "not valid base64"),
        (request(data=[7], datatype="BYTES", shape=[1]), "must be strings"),
        (request(data=[0] * 1024 * 784 + [0] * 2000), "more values than 1,024 images"),
        (request(data=None), "either data or"),
        (request(data=None, parameters={"binary_data_size": 784}), "number of bytes after the JSON"),
        (
            request(parameters={"shared_memory_region": "r"}),
            "does not support the parameter shared_memory_region of im",
        ),
        (request() | {"outputs": [{"name": "logits"}]}, "outputs.0.name"),
        (request() | {"outputs": [{"name": "digit", "parameters": {"classification": 3}}]}, "classification of digit"),
        (request() | {"outputs": [{"name": "digit", "parameters": {"shared_memory_region": "r"}}]}, "shared_memory_re"),
    ],
)
def test_an_invalid_request_gets_its_own_message(server: Server, body: Any, message: str) -> None:
    """It gets a 400 with the protocol's own error object."""
    answer = httpx.post(server.url + INFER, json=body)
    assert answer.status_code == 400, answer.text
    assert list(answer.json()) == ["error"]
    assert message in answer.json()["error"]


def test_invalid_binary_tensors_are_refused(server: Server, seven: Grey) -> None:
    """Too short, too long, a JSON longer than the body, a NaN: each gets a 400."""
    head = json.dumps(request(data=None, parameters={"binary_data_size": 784})).encode()

    def send(body: bytes, length: str) -> int:
        headers = {"Inference-Header-Content-Length": length}
        return httpx.post(server.url + INFER, content=body, headers=headers).status_code

    assert send(head + seven.tobytes(), str(len(head))) == 200
    assert send(head + seven.tobytes()[1:], str(len(head))) == 400
    assert send(head + seven.tobytes() + b"x", str(len(head))) == 400
    assert send(head, "100000") == 400
    assert send(head + seven.tobytes(), "x") == 400
    assert send(head + seven.tobytes(), "9" * 5000) == 400
    floats = json.dumps(request(data=None, datatype="FP32", parameters={"binary_data_size": 3136})).encode()
    assert send(floats + np.full(784, np.nan, "<f4").tobytes(), str(len(floats))) == 400


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_triton_s_client_may_compress(server: Server, images: Grey, labels: list[int], algorithm: str) -> None:
    """A compressed request is read. The length of its JSON is the one before compression."""
    triton = pytest.importorskip("tritonclient.http")
    with triton.InferenceServerClient(server.url.removeprefix("http://")) as client:
        tensor = triton.InferInput("images", list(images.shape), "UINT8")
        tensor.set_data_from_numpy(images)
        result = client.infer("digitnet", [tensor], request_compression_algorithm=algorithm)
        assert result.as_numpy("digit").tolist() == labels


def test_optional_fields_may_be_null(server: Server) -> None:
    """The models of KServe's and MLServer's clients write null for every field that is not set."""
    parameters = {"content_type": None, "headers": None, "binary_data": None, "shared_memory_region": None}
    body = {
        "id": None,
        "parameters": None,
        "outputs": [{"name": "digit", "parameters": parameters}],
        "inputs": [{**request()["inputs"][0], "parameters": parameters}],
    }
    for changes in ({}, {"outputs": None}, {"parameters": {"binary_data_output": None}}):
        answer = httpx.post(server.url + INFER, json=body | changes)
        assert answer.status_code == 200, answer.text
        assert "id" not in answer.json()


@pytest.mark.parametrize("shape", [[28, 28], [1, 28, 28], [28, 28, 1], [784]])
@pytest.mark.parametrize("datatype", ["UINT8", "FP32"])
def test_other_libraries_shapes_are_accepted(
    server: Server, images: Grey, labels: list[int], shape: list[int], datatype: str
) -> None:
    """Each image may have a channel, before or after its pixels, or be flat. Nested JSON and binary work."""
    triton = pytest.importorskip("tritonclient.http")
    array = images.reshape(-1, *shape).astype(np.uint8 if datatype == "UINT8" else np.float32)
    nested = request(shape=list(array.shape), datatype=datatype, data=array.tolist())
    answer = httpx.post(server.url + INFER, json=nested).raise_for_status().json()
    assert answer["outputs"][1]["data"] == labels
    with triton.InferenceServerClient(server.url.removeprefix("http://")) as client:
        tensor = triton.InferInput("images", list(array.shape), datatype)
        tensor.set_data_from_numpy(array)
        assert client.infer("digitnet", [tensor]).as_numpy("digit").tolist() == labels


def test_whole_numbers_may_be_written_with_a_point(server: Server) -> None:
    """255.0 is a whole number, and a black FP32 tensor is no mistake."""
    for changes in ({"data": [255.0] + [0] * 783}, {"data": [0.0] * 784, "datatype": "FP32"}):
        assert httpx.post(server.url + INFER, json=request(**changes)).status_code == 200


@pytest.mark.parametrize("shape", [[-1], [-1, 1]])
@pytest.mark.parametrize("binary", [True, False])
def test_image_files_are_read_as_predict_reads_them(
    server: Server, images: Grey, binary: bool, shape: list[int]
) -> None:
    """With the datatype BYTES, PNG and JPEG files of any size get the answers of /predict: those of blank pictures and
    of several digits are not accepted."""
    triton = pytest.importorskip("tritonclient.http")
    large = Image.fromarray(255 - images[3]).resize((300, 300))
    two = Image.fromarray(np.hstack([images[4], images[15]]))
    blank = Image.new("L", (50, 50), 255)
    files = [encode(large), encode(large, "JPEG"), png(images[0]), encode(two.resize((224, 112))), encode(blank)]
    expected = [httpx.post(f"{server.url}/predict", files={"file": file}).json() for file in files]
    values = np.array(files if binary else [base64.b64encode(file) for file in files], np.object_).reshape(shape)
    with triton.InferenceServerClient(server.url.removeprefix("http://")) as client:
        tensor = triton.InferInput("images", list(values.shape), "BYTES")
        tensor.set_data_from_numpy(values, binary_data=binary)
        result = client.infer("digitnet", [tensor])
    assert result.as_numpy("accepted").tolist() == [answer["accepted"] for answer in expected]
    assert result.as_numpy("accepted").tolist() == [True, True, True, False, False]
    np.testing.assert_array_equal(
        result.as_numpy("probabilities")[:4], np.array([answer["probabilities"] for answer in expected[:4]], "<f4")
    )
    assert result.as_numpy("digit").tolist()[:4] == [answer["digit"] for answer in expected[:4]]


@pytest.mark.parametrize(
    ("file", "status", "message"),
    [
        (b"seven", 415, "File 1 of images: The file is not an image of an accepted type"),
        (b"", 415, "File 1 of images"),
        (png(np.zeros((28, 28), np.uint8))[:45], 422, "File 1 of images: The image starts like a PNG"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(
    server: Server, seven: Grey, file: bytes, status: int, message: str
) -> None:
    """The whole request is refused, because the protocol has no errors of single images."""
    files = [base64.b64encode(each).decode() for each in (png(seven), file)]
    answer = httpx.post(server.url + INFER, json=request(shape=[2], datatype="BYTES", data=files))
    assert answer.status_code == status
    assert answer.json()["error"].startswith(message)


def test_a_binary_tensor_of_files_must_be_complete(server: Server, seven: Grey) -> None:
    """Lengths that go beyond the end, or leave something, are refused."""
    file = struct.pack("<I", len(png(seven))) + png(seven)
    for tensor, status in ((file, 200), (file[:-1], 400), (file + b"\0", 400), (b"\xff" * 4, 400), (b"", 400)):
        body = request(shape=[1], datatype="BYTES", data=None, parameters={"binary_data_size": len(tensor)})
        head = json.dumps(body).encode()
        headers = {"Inference-Header-Content-Length": str(len(head))}
        answer = httpx.post(server.url + INFER, content=head + tensor, headers=headers)
        assert answer.status_code == status, answer.text


def test_predict_and_infer_agree_to_the_last_digit(server: Server, images: Grey) -> None:
    """The same pictures get the same numbers, alone and in a batch, as JSON and as binary."""
    for index, image in enumerate(images):
        single = httpx.post(f"{server.url}/predict", files={"file": png(image)}).json()
        tensor = request(data=image.ravel().tolist())
        outputs = {output["name"]: output for output in httpx.post(server.url + INFER, json=tensor).json()["outputs"]}
        assert outputs["probabilities"]["data"] == single["probabilities"]
        assert (outputs["digit"]["data"], outputs["accepted"]["data"]) == ([single["digit"]], [single["accepted"]])
        whole = httpx.post(server.url + INFER, json=request(shape=list(images.shape), data=images.tolist())).json()
        assert whole["outputs"][0]["data"][10 * index : 10 * index + 10] == single["probabilities"]


@pytest.mark.parametrize("values", [(0.4999999, 0.5), (0.5, 0.4999999), (0.9499999, 0.05), (0.95, 0.05)])
@pytest.mark.parametrize("confidence", [0.5, 0.95])
def test_predict_and_infer_agree_on_ties(values: tuple[float, float], confidence: float) -> None:
    """Digits that are equal after rounding, and values at a threshold, get the same answer from both."""
    probabilities = np.zeros((1, 10), np.float32)
    probabilities[0, 3:5] = values
    scores = Scores(probabilities, np.array([0.9], np.float32))  # as float32, 0.9 is a little less than 0.9
    thresholds = Thresholds(confidence=confidence, typicality=0.9 if confidence == 0.5 else 0.1)
    picture = PreparedPicture(np.zeros((28, 28), np.uint8), "PNG", 28, 28, False, False, False, False, None)
    prediction = make_prediction(picture, scores.to_list()[0], thresholds, "model")
    outputs = make_outputs(scores, thresholds)
    assert outputs["digit"].tolist() == [prediction.digit]
    assert outputs["probabilities"].tolist() == [prediction.probabilities]
    assert outputs["accepted"].tolist() == [prediction.accepted]


def test_triton_s_repository_and_configuration(server: Server) -> None:
    """The index has the model, and the configuration its tensors without N. Statistics are refused by name."""
    triton = pytest.importorskip("tritonclient.http")
    with triton.InferenceServerClient(server.url.removeprefix("http://")) as client:
        version = httpx.get(f"{server.url}/info").json()["model"]["version"]
        (model,) = client.get_model_repository_index()
        assert (model["name"], model["version"], model["state"]) == ("digitnet", version, "READY")
        for config in (client.get_model_config("digitnet"), client.get_model_config("digitnet", version)):
            assert config["max_batch_size"] == 1024
            assert config["input"] == [{"name": "images", "data_type": "TYPE_UINT8", "dims": [28, 28]}]
            assert [output["data_type"] for output in config["output"]] == ["TYPE_FP32", "TYPE_INT64", "TYPE_BOOL"]
        with pytest.raises(triton.InferenceServerException, match="Unknown model"):
            client.get_model_config("resnet")
        for name in ("digitnet", ""):
            with pytest.raises(triton.InferenceServerException, match=r"no statistics.* GET /metrics"):
                client.get_inference_statistics(name)


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
