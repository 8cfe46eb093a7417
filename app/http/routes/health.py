"""GET /livez, /readyz, /healthz, /info and /metrics: for operators and orchestrators."""

from dataclasses import asdict

from fastapi import APIRouter, Request, Response

import app
from app.http.problems import describe_errors
from app.http.schemas import Health, Info, Limits, ModelInfo, Reload
from app.http.state import CurrentService
from app.inference.engines import Engine
from app.inference.model_folder import ModelFolder
from app.observability.metrics import choose_format
from app.settings import Settings

router = APIRouter(tags=["operations"])


@router.get("/livez", summary="Is the process alive")
async def livez() -> Health:
    """Answer 200 while the process runs."""
    return Health(status="ok")


@router.get("/readyz", summary="Is the service ready", responses=describe_errors(503))
async def readyz(service: CurrentService) -> Health:
    """Answer 200 if the model is verified, warm and has read its golden digits, and the service is not stopping."""
    service.require_ready()
    return Health(status="ok")


router.add_api_route(
    "/healthz", readyz, response_model=Health, summary="The same as /readyz", responses=describe_errors(503)
)


@router.get("/info", summary="What is running")
async def info(service: CurrentService) -> Info:
    """Return the model, the engine, the limits and the thresholds in use."""
    report = service.last_reload
    last_reload = Reload(**asdict(report)) if report else None
    return describe_service(service.settings, service.model.folder, service.model.engine, last_reload)


def describe_service(settings: Settings, model: ModelFolder, engine: Engine, last_reload: Reload | None = None) -> Info:
    """Describe what is running, for /info and for ``digitserve info``."""
    manifest = model.manifest
    runs = [{key: run[key] for key in run if key != "history"} for run in manifest.training["runs"]]
    return Info(
        version=app.__version__,
        model=ModelInfo(
            name=manifest.name,
            version=manifest.version,
            sha256=model.sha256,
            created=manifest.created,
            networks={name: network.model_dump() for name, network in manifest.networks.items()},
            training={**manifest.training, "runs": runs},
            metrics=manifest.metrics,
        ),
        engine=engine.name,
        device=engine.device,
        limits=Limits(**{name: getattr(settings, name) for name in Limits.model_fields}),
        thresholds=manifest.thresholds(engine.name, settings.network),
        last_reload=last_reload,
    )


@router.get("/metrics", summary="Metrics for Prometheus", response_class=Response)
async def metrics(request: Request, service: CurrentService) -> Response:
    """Return the metrics of all workers together, as OpenMetrics or in the Prometheus text format."""
    service.update_queue_size()
    encode, content_type = choose_format(request.headers.get("accept", ""))
    return Response(service.metrics.render(encode), headers={"Content-Type": content_type})
