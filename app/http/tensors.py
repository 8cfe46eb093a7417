"""The messages of the Open Inference Protocol, version 2: parse a request, write a response.

Tensors are JSON or binary (https://github.com/kserve/open-inference-protocol, with Triton's binary tensor extension).
"""

import json
import struct
from itertools import chain
from math import prod
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.errors import MalformedRequestError, describe_first_error
from app.http.image_upload import BYTE_ORDER_MARK, decode_base64
from app.http.json_numbers import split_numbers
from app.imaging.digit_image import IMAGE_SIZE, Images
from app.inference.model_folder import Thresholds
from app.inference.scores import Scores

LARGE_JSON_BYTES = 65_536  # a longer JSON is parsed in a thread, and its numbers in pieces
EXTRA_COMMAS = 1_000  # allowed in the JSON of a request, besides those between the numbers of its images

INPUTS: list[dict[str, Any]] = [{"name": "images", "datatype": "UINT8", "shape": [-1, IMAGE_SIZE, IMAGE_SIZE]}]
OUTPUTS: list[dict[str, Any]] = [
    {"name": "probabilities", "datatype": "FP32", "shape": [-1, 10]},
    {"name": "digit", "datatype": "INT64", "shape": [-1]},
    {"name": "accepted", "datatype": "BOOL", "shape": [-1]},
]
DTYPES: dict[str, np.dtype[Any]] = {
    "UINT8": np.dtype(np.uint8),
    "FP32": np.dtype("<f4"),
    "INT64": np.dtype("<i8"),
    "BOOL": np.dtype(bool),
}
# The shapes of images after N, with and without the channel of other libraries, and those of BYTES.
PIXEL_SHAPES = ([IMAGE_SIZE, IMAGE_SIZE], [1, IMAGE_SIZE, IMAGE_SIZE], [IMAGE_SIZE, IMAGE_SIZE, 1], [IMAGE_SIZE**2])
FILE_SHAPES: tuple[list[int], ...] = ([], [1])
UNSUPPORTED = ("classification", "shared_memory_region")  # parameters of Triton that change what a request means


class Message(BaseModel):
    """A part of a request. Unknown fields are ignored, as the protocol demands. An optional field may be null."""

    model_config = ConfigDict(extra="ignore", strict=True)


class TensorParameters(Message):
    model_config = ConfigDict(extra="allow")

    binary_data_size: int | None = Field(None, ge=0, description="bytes of the tensor after the JSON")
    binary_data: bool | None = Field(None, description="of an output: whether to send it as binary")


class InputTensor(Message):
    name: Literal["images"]
    shape: list[int] = Field(
        min_length=1,
        max_length=4,
        description="[N, 28, 28], [N, 1, 28, 28], [N, 28, 28, 1] or [N, 784]; of BYTES [N] or [N, 1]",
        json_schema_extra={"prefixItems": [{"minimum": 1}]},
    )
    datatype: Literal["UINT8", "FP32", "BYTES"] = Field(
        description="UINT8 and FP32 have values from 0 to 255, light ink on black; BYTES are image files"
    )
    data: list[Any] | None = Field(
        None, description="the numbers, row by row, nested or flat; of BYTES, each file in base64"
    )
    parameters: TensorParameters | None = None


class RequestedOutput(Message):
    name: Literal["probabilities", "digit", "accepted"]
    parameters: TensorParameters | None = None


class RequestParameters(Message):
    binary_data_output: bool | None = None


class InferenceRequest(Message):
    """A request to ``infer``. Its binary tensors, if any, follow it in the body."""

    id: str | None = Field(None, max_length=200)
    inputs: list[InputTensor] = Field(min_length=1, max_length=1)
    outputs: list[RequestedOutput] | None = Field(
        None, max_length=3, description="the outputs to send; all of them if empty"
    )
    parameters: RequestParameters | None = None


class OutputTensor(BaseModel):
    name: str
    datatype: str
    shape: list[int]
    data: list[float | int | bool] = Field([], description="the numbers, row by row; absent if the output is binary")


class InferenceResponse(BaseModel):
    """The response of ``infer``. Its binary tensors, if any, follow it in the body."""

    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[OutputTensor]


class ProtocolError(BaseModel):
    error: str = Field(description="what is wrong with this request")


def make_outputs(scores: Scores, thresholds: Thresholds) -> dict[str, NDArray[Any]]:
    """Return the values of all outputs, by name. They are those that ``/predict`` answers."""
    probabilities = scores.rounded()
    sure = probabilities.max(axis=1) >= thresholds.confidence
    typical = scores.typicality.astype(np.float64) >= thresholds.typicality
    return {"probabilities": probabilities, "digit": probabilities.argmax(axis=1), "accepted": sure & typical}


def parse_request(body: bytes, json_length: int, max_images: int) -> tuple[InferenceRequest, Images | list[bytes]]:
    """Parse a request.

    Args:
        body: The whole body.
        json_length: How many bytes of it are JSON. The binary tensors follow.
        max_images: The largest allowed number of images.

    Returns:
        The request, and its images ``(N, 28, 28)`` or, of BYTES, its N image files.

    Raises:
        MalformedRequestError: The request or its tensor is not valid.
    """
    # Checked before parsing, because each value costs memory.
    if body.count(b",", 0, json_length) > max_images * IMAGE_SIZE**2 + EXTRA_COMMAS:
        raise MalformedRequestError(f"The request has more values than {max_images:,} images have.")
    text = body[:json_length].removeprefix(BYTE_ORDER_MARK)
    split = split_numbers(text) if len(text) > LARGE_JSON_BYTES else None
    try:
        request = InferenceRequest.model_validate_json(split.rest if split else text)
        if split and (request.inputs[0].data != [] or request.inputs[0].datatype == "BYTES"):  # they are no pixels
            request, split = InferenceRequest.model_validate_json(text), None
    except ValidationError as error:
        first = describe_first_error(error.errors(include_input=False, include_url=False))
        raise MalformedRequestError(f"{first}.") from None
    tensor = request.inputs[0]
    for part in (tensor, *(request.outputs or ())):
        for name in UNSUPPORTED:
            if part.parameters and (part.parameters.model_extra or {}).get(name) is not None:
                raise MalformedRequestError(f"This server does not support the parameter {name} of {part.name}.")
    count, *shape = tensor.shape
    shapes = FILE_SHAPES if tensor.datatype == "BYTES" else PIXEL_SHAPES
    if shape not in shapes or not 1 <= count <= max_images:
        names = " or ".join(f"[{', '.join(map(str, ['N', *accepted]))}]" for accepted in shapes)
        raise MalformedRequestError(f"images must have the shape {names}, with N from 1 to {max_images:,}.")
    size = tensor.parameters.binary_data_size if tensor.parameters else None
    if (size is None) == (tensor.data is None):
        raise MalformedRequestError("images must have either data or a binary_data_size.")
    if size not in (None, len(body) - json_length):
        raise MalformedRequestError("binary_data_size must be the number of bytes after the JSON.")
    binary = None if size is None else memoryview(body)[json_length:]
    if tensor.datatype == "BYTES":
        return request, read_files(tensor, binary)
    pixels = read_pixels(tensor, binary, split.numbers if split else None)
    return request, pixels.reshape(-1, IMAGE_SIZE, IMAGE_SIZE)


def read_pixels(
    tensor: InputTensor, binary: memoryview | None, numbers: NDArray[np.float64] | None
) -> NDArray[np.uint8]:
    """Return the numbers of a tensor, rounded to whole ones.

    Args:
        tensor: The tensor. Its shape is valid.
        binary: Its bytes, if they follow the JSON.
        numbers: Its numbers, if they were taken out of the JSON.

    Raises:
        MalformedRequestError: They are not as many as the shape says, not numbers, or not from 0 to 255.
    """
    dtype, count = DTYPES[tensor.datatype], prod(tensor.shape)
    if binary is not None:
        if len(binary) != count * dtype.itemsize:
            raise MalformedRequestError("The length of the binary tensor does not match its shape and datatype.")
        values: NDArray[Any] = np.frombuffer(binary, dtype)
    elif numbers is not None:
        values = numbers
    else:
        data = flatten(tensor.data or [])
        if not set(map(type, data)) <= {int, float}:
            raise MalformedRequestError("The data of images must be numbers.")
        try:
            values = np.array(data, np.float64)
        except OverflowError:
            raise MalformedRequestError("The numbers of images must be from 0 to 255.") from None
    if values.size != count:
        raise MalformedRequestError(f"images must have {count:,} numbers for its shape, but has {values.size:,}.")
    if values.dtype == np.uint8:
        return values
    if not (values >= 0).all() or not (values <= 255).all():  # both are false for NaN
        raise MalformedRequestError("The numbers of images must be from 0 to 255.")
    whole = values.round()
    if tensor.datatype == "UINT8" and (whole != values).any():
        raise MalformedRequestError("The numbers of images must be whole, because their datatype is UINT8.")
    if tensor.datatype == "FP32" and 0 < values.max() <= 1:
        raise MalformedRequestError("The numbers of images end at 1, but white is 255. Multiply them by 255.")
    return whole.astype(np.uint8)


def read_files(tensor: InputTensor, binary: memoryview | None) -> list[bytes]:
    """Return the image files in a tensor of BYTES.

    Args:
        tensor: The tensor. Its shape is valid.
        binary: Its bytes, if they follow the JSON: each file after its length, which has four bytes.

    Raises:
        MalformedRequestError: There are not as many as the shape says, or they are not valid base64.
    """
    files: list[bytes] = []
    if binary is None:
        texts = flatten(tensor.data or [])
        if not all(isinstance(text, str) for text in texts):
            raise MalformedRequestError("The data of images must be strings: each file in base64.")
        files = [decode_base64(text) for text in texts]
    else:
        place = 0
        while place + 4 <= len(binary):
            (length,) = struct.unpack_from("<I", binary, place)
            files.append(bytes(binary[place + 4 : place + 4 + length]))
            place += 4 + length
        if place != len(binary):
            raise MalformedRequestError("The binary tensor is cut short.")
    if len(files) != (count := tensor.shape[0]):
        raise MalformedRequestError(f"images must have {count:,} files for its shape, but has {len(files):,}.")
    return files


def flatten(data: list[Any]) -> list[Any]:
    """Return the values of nested lists, in order.

    Raises:
        MalformedRequestError: Neighbouring lists have different lengths, or something else is beside them.
    """
    while data and isinstance(data[0], list):
        if not all(isinstance(row, list) and len(row) == len(data[0]) for row in data):
            raise MalformedRequestError("The data of images must be flat, or nested by its shape.")
        data = list(chain.from_iterable(data))
    return data


def write_response(
    request: InferenceRequest, outputs: dict[str, NDArray[Any]], model: str, version: str
) -> tuple[bytes, bytes]:
    """Write the outputs that the request asks for. Return the JSON, and the binary tensors that follow it."""
    requested = {
        output.name: output.parameters.binary_data if output.parameters else None for output in request.outputs or ()
    }
    binary_by_default = bool(request.parameters and request.parameters.binary_data_output)
    entries, binary = [], []
    for output in OUTPUTS:
        name = output["name"]
        if requested and name not in requested:
            continue
        values = outputs[name]
        entry: dict[str, Any] = {"name": name, "datatype": output["datatype"], "shape": list(values.shape)}
        as_binary = requested.get(name)
        if binary_by_default if as_binary is None else as_binary:
            binary.append(values.astype(DTYPES[output["datatype"]]).tobytes())
            entry["parameters"] = {"binary_data_size": len(binary[-1])}
        else:
            entry["data"] = values.ravel().tolist()
        entries.append(entry)
    response: dict[str, Any] = {"model_name": model, "model_version": version, "outputs": entries}
    if request.id is not None:
        response["id"] = request.id
    return json.dumps(response).encode(), b"".join(binary)
