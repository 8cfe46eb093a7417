"""digitserve as an autoscaling deployment of Ray Serve: the same app, with its paths, its page and its settings.

    pip install 'digitserve[ray]' and, in this folder: serve run serve_app:application

docs/ray.md says when to prefer Kubernetes.
"""

from typing import Any

from ray import serve
from starlette.types import ASGIApp, Receive, Scope, Send

from app.main import create_app
from app.settings import Settings

# A replica answers several requests at a time, because it batches them. Ray's proxy holds back the others.
MAX_ONGOING_REQUESTS = 64
REPLICAS = {"min_replicas": 1, "max_replicas": 8, "target_ongoing_requests": 16}


class KeepsState:
    """ASGI middleware that gives each request the state of the lifespan. Ray Serve 2.60 does not."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._state: dict[str, Any] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            scope["state"] = self._state
        else:
            scope["state"] = self._state.copy()
        await self._app(scope, receive, send)


def make_app() -> KeepsState:
    """Make the app of a replica. It reads the settings from the environment of its machine."""
    return KeepsState(create_app(Settings(threads=1)))


@serve.deployment(
    name="digitserve",
    autoscaling_config=REPLICAS,
    max_ongoing_requests=MAX_ONGOING_REQUESTS,
    ray_actor_options={"num_cpus": 1},
    health_check_period_s=10,
)
@serve.ingress(make_app)
class Replica:
    """One process with one engine."""


application = Replica.bind()
