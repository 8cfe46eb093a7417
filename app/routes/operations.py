"""What operators and orchestrators ask: is it alive, is it ready, what is it."""

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST

from app.problems import responses
from app.schemas import Health, Info
from app.service import CurrentService

router = APIRouter(tags=["operations"])


@router.get("/livez", summary="Is the process alive")
async def livez() -> Health:
    """Answer 200 for as long as the process can answer at all."""
    return Health(status="ok")


@router.get("/readyz", summary="Is the service ready", responses=responses(503))
async def readyz(service: CurrentService) -> Health:
    """Answer 200 when the model is verified, warm and has read its golden digits, and the service is not stopping."""
    service.require_ready()
    return Health(status="ok")


router.add_api_route("/healthz", readyz, response_model=Health, summary="The same as /readyz", responses=responses(503))


@router.get("/info", summary="What runs here")
async def info(service: CurrentService) -> Info:
    """Name the model, the engine, the limits and the thresholds."""
    return service.model.info.model_copy(update={"last_reload": service.last_reload})


@router.get("/metrics", summary="Counts, for Prometheus", response_class=Response)
async def metrics(service: CurrentService) -> Response:
    """Answer in Prometheus's text format, for all workers together."""
    service.count_waiting()
    return Response(service.metrics.text(), headers={"Content-Type": CONTENT_TYPE_LATEST})
