"""/v2: the state and the metadata of the Open Inference Protocol, version 2, which KServe and Triton use over HTTP."""

from typing import Any

from fastapi import APIRouter, Depends, HTTPException

import app
from app.errors import UnknownModelError
from app.http.state import CurrentService
from app.http.tensors import INPUTS, OUTPUTS, ProtocolError
from app.inference.loaded_model import LoadedModel


def describe_protocol_errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe errors for the OpenAPI document of a route, in the form of the protocol."""
    return {status: {"model": ProtocolError, "description": "An error in the protocol's form"} for status in statuses}


router = APIRouter(prefix="/v2", tags=["open inference protocol"])


@router.get("", summary="The server")
async def server() -> dict[str, Any]:
    """Return the name of the server and its extensions."""
    extensions = ["binary_tensor_data", "model_configuration"]
    return {"name": "digitserve", "version": app.__version__, "extensions": extensions}


@router.get("/health/live", summary="Is the server alive")
async def live() -> dict[str, bool]:
    """Answer 200 while the process runs."""
    return {"live": True}


@router.get("/health/ready", summary="Is the server ready", responses=describe_protocol_errors(503))
async def ready(service: CurrentService) -> dict[str, bool]:
    """Answer 200 under the same conditions as `/readyz`."""
    service.require_ready()
    return {"ready": True}


@router.post("/repository/index", summary="The models")
async def index(service: CurrentService) -> list[dict[str, str]]:
    """Return the only model, as Triton's repository extension does."""
    model = service.model
    return [{"name": model.name, "version": model.version, "state": "READY", "reason": ""}]


@router.get("/models/{name}/versions/{version}/stats", include_in_schema=False)
@router.get("/models/{name}/stats", include_in_schema=False)
@router.get("/models/stats", include_in_schema=False)
async def statistics() -> None:
    """Say where the statistics are: not in the form of Triton."""
    raise HTTPException(404, "There are no statistics in Triton's form. GET /metrics has those of this service")


of_model = APIRouter()


@of_model.get("", summary="The model", responses=describe_protocol_errors(404))
async def model(service: CurrentService) -> dict[str, Any]:
    """Return the model's inputs and outputs."""
    model = service.model
    return {
        "name": model.name,
        "versions": [model.version],
        "platform": "onnxruntime_onnx" if model.engine.name == "onnxruntime" else "pytorch",
        "inputs": INPUTS,
        "outputs": OUTPUTS,
    }


@of_model.get("/config", summary="The model as Triton describes it", responses=describe_protocol_errors(404))
async def config(service: CurrentService) -> dict[str, Any]:
    """Return the model's inputs, outputs and largest batch, as Triton's model configuration does."""
    return {
        "name": service.model.name,
        "backend": "onnxruntime" if service.model.engine.name == "onnxruntime" else "pytorch",
        "max_batch_size": service.settings.max_batch,
        "input": [describe_tensor(tensor) for tensor in INPUTS],
        "output": [describe_tensor(tensor) for tensor in OUTPUTS],
    }


def describe_tensor(tensor: dict[str, Any]) -> dict[str, Any]:
    """Describe an input or output for Triton, whose shapes have no N and at least one dimension."""
    shape = tensor["shape"][1:]
    scalar: dict[str, Any] = {} if shape else {"reshape": {"shape": []}}
    return {"name": tensor["name"], "data_type": f"TYPE_{tensor['datatype']}", "dims": shape or [1], **scalar}


@of_model.get("/ready", summary="Is the model ready", responses=describe_protocol_errors(404, 503))
async def model_ready(service: CurrentService) -> dict[str, Any]:
    """Answer 200 under the same conditions as `/readyz`."""
    service.require_ready()
    return {"name": service.model.name, "ready": True}


def require_model(model: LoadedModel, name: str, version: str | None = None) -> None:
    """Check that this is the requested model.

    Raises:
        UnknownModelError: It has another name or version.
    """
    if name != model.name or version not in (None, model.version):
        raise UnknownModelError(f"Unknown model. This service has {model.name}, version {model.version}.")


async def require_name(service: CurrentService, name: str) -> None:
    """Check that the service has a model of this name."""
    require_model(service.model, name)


async def require_version(service: CurrentService, name: str, version: str) -> None:
    """Check that the service has this version of the model."""
    require_model(service.model, name, version)


router.include_router(of_model, prefix="/models/{name}", dependencies=[Depends(require_name)])
router.include_router(of_model, prefix="/models/{name}/versions/{version}", dependencies=[Depends(require_version)])
