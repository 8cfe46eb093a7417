"""The messages of the Open Inference Protocol, version 2: parse a request, write a response.

Tensors are JSON or binary (https://github.com/kserve/open-inference-protocol, with Triton's binary tensor extension).
"""

import json
from math import prod
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.errors import MalformedRequestError, describe_first_error
from app.imaging.digit_image import IMAGE_SIZE, Images
from app.inference.cascade import is_below
from app.inference.model_folder import Thresholds
from app.inference.scores import Scores

EXTRA_COMMAS = 1_000  # allowed in the JSON of a request, besides those between the numbers of its images

INPUTS: list[dict[str, Any]] = [{"name": "images", "datatype": "UINT8", "shape": [-1, IMAGE_SIZE, IMAGE_SIZE]}]
OUTPUTS: list[dict[str, Any]] = [
    {"name": "probabilities", "datatype": "FP32", "shape": [-1, 10]},
    {"name": "digit", "datatype": "INT64", "shape": [-1]},
    {"name": "accepted", "datatype": "BOOL", "shape": [-1]},
]
DTYPES: dict[str, np.dtype[Any]] = {"UINT8": np.dtype(np.uint8), "FP32": np.dtype("<f4")}


class Message(BaseModel):
    """A part of a request. Unknown fields are ignored, as the protocol demands."""

    model_config = ConfigDict(extra="ignore")


class TensorParameters(Message):
    binary_data_size: int | None = Field(None, ge=0, description="bytes of the tensor after the JSON")
    binary_data: bool | None = Field(None, description="of an output: whether to send it as binary")


class InputTensor(Message):
    name: Literal["images"]
    shape: list[int] = Field(
        min_length=3,
        max_length=3,
        description="[N, 28, 28]",
        json_schema_extra={"prefixItems": [{"minimum": 1}, {"const": IMAGE_SIZE}, {"const": IMAGE_SIZE}]},
    )
    datatype: Literal["UINT8", "FP32"] = Field(description="either has values from 0 to 255, light ink on black")
    data: list[Any] | None = Field(None, description="the numbers, row by row, nested or flat")
    parameters: TensorParameters = TensorParameters()


class RequestedOutput(Message):
    name: Literal["probabilities", "digit", "accepted"]
    parameters: TensorParameters = TensorParameters()


class RequestParameters(Message):
    binary_data_output: bool = False


class InferenceRequest(Message):
    """A request to ``infer``. Its binary tensors, if any, follow it in the body."""

    id: str | None = Field(None, max_length=200)
    inputs: list[InputTensor] = Field(min_length=1, max_length=1)
    outputs: list[RequestedOutput] = Field([], max_length=3, description="the outputs to send; all of them if empty")
    parameters: RequestParameters = RequestParameters()


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
    """Return the values of all outputs, by name."""
    return {
        "probabilities": scores.probabilities.astype("<f4"),
        "digit": scores.probabilities.argmax(axis=1).astype("<i8"),
        "accepted": ~is_below(scores, thresholds),
    }


def parse_request(body: bytes, json_length: int, max_images: int) -> tuple[InferenceRequest, Images]:
    """Parse a request.

    Args:
        body: The whole body.
        json_length: How many bytes of it are JSON. The binary tensors follow.
        max_images: The largest allowed number of images.

    Returns:
        The request, and its images ``(N, 28, 28)``.

    Raises:
        MalformedRequestError: The request or its tensor is not valid.
    """
    # Checked before parsing, because each value costs memory.
    if body.count(b",", 0, json_length) > max_images * IMAGE_SIZE**2 + EXTRA_COMMAS:
        raise MalformedRequestError(f"The request has more values than {max_images:,} images have.")
    try:
        request = InferenceRequest.model_validate_json(body[:json_length])
    except ValidationError as error:
        first = describe_first_error(error.errors(include_input=False, include_url=False))
        raise MalformedRequestError(f"{first}.") from None
    tensor = request.inputs[0]
    if tensor.shape[1:] != [IMAGE_SIZE, IMAGE_SIZE] or not 1 <= tensor.shape[0] <= max_images:
        raise MalformedRequestError(
            f"images must have the shape [N, {IMAGE_SIZE}, {IMAGE_SIZE}], with N from 1 to {max_images:,}."
        )
    dtype, count = DTYPES[tensor.datatype], prod(tensor.shape)
    size = tensor.parameters.binary_data_size
    if (size is None) == (tensor.data is None):
        raise MalformedRequestError("images must have either data or a binary_data_size.")
    if size is not None:
        if size != count * dtype.itemsize or len(body) - json_length != size:
            raise MalformedRequestError("The length of the binary tensor does not match its shape and datatype.")
        values: NDArray[Any] = np.frombuffer(body, dtype, offset=json_length)
    else:
        try:
            values = np.array(tensor.data, np.float64).reshape(-1)
        except (TypeError, ValueError, OverflowError):
            raise MalformedRequestError("The data of images must be numbers, flat or nested by its shape.") from None
    if values.size != count:
        raise MalformedRequestError(f"images must have {count:,} numbers for its shape, but has {values.size:,}.")
    if values.dtype != np.uint8:
        if not (values >= 0).all() or not (values <= 255).all():  # both are false for NaN
            raise MalformedRequestError("The numbers of images must be from 0 to 255.")
        values = values.round().astype(np.uint8)
    return request, values.reshape(tensor.shape)


def write_response(
    request: InferenceRequest, outputs: dict[str, NDArray[Any]], model: str, version: str
) -> tuple[bytes, bytes]:
    """Write the outputs that the request asks for. Return the JSON, and the binary tensors that follow it."""
    requested: dict[str, bool | None] = {output.name: output.parameters.binary_data for output in request.outputs}
    entries, binary = [], []
    for output in OUTPUTS:
        name = output["name"]
        if requested and name not in requested:
            continue
        values = outputs[name]
        entry: dict[str, Any] = {"name": name, "datatype": output["datatype"], "shape": list(values.shape)}
        as_binary = requested.get(name)
        if request.parameters.binary_data_output if as_binary is None else as_binary:
            binary.append(values.tobytes())
            entry["parameters"] = {"binary_data_size": values.nbytes}
        else:
            entry["data"] = values.ravel().tolist()
        entries.append(entry)
    response: dict[str, Any] = {"model_name": model, "model_version": version, "outputs": entries}
    if request.id is not None:
        response["id"] = request.id
    return json.dumps(response).encode(), b"".join(binary)
