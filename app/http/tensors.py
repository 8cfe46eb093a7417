"""The messages of the Open Inference Protocol, version 2: a body -> pictures, scores -> a body.

Tensors come and go as JSON or binary (https://github.com/kserve/open-inference-protocol, with Triton's binary tensor
extension). Knows nothing of HTTP, nor of how pictures are read.
"""

import json
from math import prod
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.errors import MalformedRequestError
from app.imaging.digit_image import Images
from app.inference.cascade import is_below
from app.inference.model_folder import Thresholds
from app.inference.scores import Scores

SIDE = 28
BESIDES = 1_000  # commas in the JSON of a request beside those between the numbers of its images

INPUTS: list[dict[str, Any]] = [{"name": "images", "datatype": "UINT8", "shape": [-1, SIDE, SIDE]}]
OUTPUTS: list[dict[str, Any]] = [
    {"name": "probabilities", "datatype": "FP32", "shape": [-1, 10]},
    {"name": "digit", "datatype": "INT64", "shape": [-1]},
    {"name": "accepted", "datatype": "BOOL", "shape": [-1]},
]
DTYPES: dict[str, np.dtype[Any]] = {"UINT8": np.dtype(np.uint8), "FP32": np.dtype("<f4")}


class Message(BaseModel):
    """A part of the protocol; what we do not know is passed over, as the protocol asks."""

    model_config = ConfigDict(extra="ignore")


class TensorParameters(Message):
    binary_data_size: int | None = Field(None, ge=0, description="bytes of the tensor after the JSON")
    binary_data: bool | None = Field(None, description="of an output: whether it is wanted in binary")


class InputTensor(Message):
    name: Literal["images"]
    shape: list[int] = Field(
        min_length=3,
        max_length=3,
        description="[N, 28, 28]",
        json_schema_extra={"prefixItems": [{"minimum": 1}, {"const": SIDE}, {"const": SIDE}]},
    )
    datatype: Literal["UINT8", "FP32"] = Field(description="either on the scale 0 to 255, light ink on black")
    data: list[Any] | None = Field(None, description="the numbers, row by row, nested or flat")
    parameters: TensorParameters = TensorParameters()


class RequestedOutput(Message):
    name: Literal["probabilities", "digit", "accepted"]
    parameters: TensorParameters = TensorParameters()


class RequestParameters(Message):
    binary_data_output: bool = False


class InferenceRequest(Message):
    """A request to ``infer``; its binary tensors, if any, follow it in the body."""

    id: str | None = Field(None, max_length=200)
    inputs: list[InputTensor] = Field(min_length=1, max_length=1)
    outputs: list[RequestedOutput] = Field([], max_length=3, description="all of them, where none is named")
    parameters: RequestParameters = RequestParameters()


class OutputTensor(BaseModel):
    name: str
    datatype: str
    shape: list[int]
    data: list[float | int | bool] = Field([], description="the numbers, row by row; absent where they are binary")


class InferenceResponse(BaseModel):
    """The answer of ``infer``; its binary tensors, if any, follow it in the body."""

    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[OutputTensor]


class ProtocolError(BaseModel):
    error: str = Field(description="what is wrong with this request")


def answered(scores: Scores, thresholds: Thresholds) -> dict[str, NDArray[Any]]:
    """The outputs, by name."""
    return {
        "probabilities": scores.probabilities.astype("<f4"),
        "digit": scores.probabilities.argmax(axis=1).astype("<i8"),
        "accepted": ~is_below(scores, thresholds),
    }


def take_tensor(body: bytes, split: int, most: int) -> tuple[InferenceRequest, Images]:
    """Take the request, and the pictures ``(N, 28, 28)``, out of a body whose JSON ends at ``split``.

    Raises:
        MalformedRequestError: they are not there, or not as they should be.
    """
    if body.count(b",", 0, split) > most * SIDE**2 + BESIDES:  # told before it is parsed: what a value costs in memory
        raise MalformedRequestError(f"There are more values than {most:,} images have.")
    try:
        asked = InferenceRequest.model_validate_json(body[:split])
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise MalformedRequestError(f"{where + ': ' if where else ''}{first['msg']}.") from None
    tensor = asked.inputs[0]
    if tensor.shape[1:] != [SIDE, SIDE] or not 1 <= tensor.shape[0] <= most:
        raise MalformedRequestError(f"images must have the shape [N, {SIDE}, {SIDE}], with N from 1 to {most:,}.")
    dtype, count = DTYPES[tensor.datatype], prod(tensor.shape)
    size = tensor.parameters.binary_data_size
    if (size is None) == (tensor.data is None):
        raise MalformedRequestError("images must have either data or a binary_data_size.")
    if size is not None:
        if size != count * dtype.itemsize or len(body) - split != size:
            raise MalformedRequestError("The binary tensor is not as long as its shape and datatype say.")
        values: NDArray[Any] = np.frombuffer(body, dtype, offset=split)
    else:
        try:
            values = np.array(tensor.data, np.float64).reshape(-1)
        except (TypeError, ValueError, OverflowError):
            raise MalformedRequestError("The data of images must be numbers, flat or nested by its shape.") from None
    if values.size != count:
        raise MalformedRequestError(f"images must have {count:,} numbers for its shape, and has {values.size:,}.")
    if values.dtype != np.uint8:
        if not (values >= 0).all() or not (values <= 255).all():  # neither is true of a NaN
            raise MalformedRequestError("The numbers of images must be from 0 to 255.")
        values = values.round().astype(np.uint8)
    return asked, values.reshape(tensor.shape)


def write(asked: InferenceRequest, values: dict[str, NDArray[Any]], model: str, version: str) -> tuple[bytes, bytes]:
    """Write the outputs that were asked for: the JSON, and the binary tensors that follow it."""
    wanted: dict[str, bool | None] = {output.name: output.parameters.binary_data for output in asked.outputs}
    outputs, binary = [], []
    for entry in OUTPUTS:
        name = entry["name"]
        if wanted and name not in wanted:
            continue
        array = values[name]
        written: dict[str, Any] = {"name": name, "datatype": entry["datatype"], "shape": list(array.shape)}
        chosen = wanted.get(name)
        if asked.parameters.binary_data_output if chosen is None else chosen:
            binary.append(array.tobytes())
            written["parameters"] = {"binary_data_size": array.nbytes}
        else:
            written["data"] = array.ravel().tolist()
        outputs.append(written)
    answer: dict[str, Any] = {"model_name": model, "model_version": version, "outputs": outputs}
    if asked.id is not None:
        answer["id"] = asked.id
    return json.dumps(answer).encode(), b"".join(binary)
