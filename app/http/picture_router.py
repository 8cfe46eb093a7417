"""Answers the routes that take pictures or tensors.

They are declared with FastAPI, which describes them in the OpenAPI document, but FastAPI does not serve them: it needs
longer to find a route, resolve its dependencies and write its response than we need to read a digit.
"""

from collections.abc import Callable, Coroutine, Iterable
from typing import Any, get_type_hints

from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Receive, Scope, Send

from app.errors import NOT_ENOUGH_MEMORY, DigitserveError, OverloadedError
from app.http.middleware.compression import MIN_BYTES, compress
from app.http.problems import on_http_error, on_unexpected_error, problem_response
from app.http.query import Parameters, parse_query
from app.http.responses import RawResponse
from app.imaging.memory import is_out_of_memory


class PictureRoute:
    """A route that takes POST requests.

    Args:
        route: Its endpoint takes ``request``, ``service``, what is variable in the path, and ``parameters``, those of
            the query, if the path has any. It returns a ``RawResponse``.
    """

    def __init__(self, route: APIRoute) -> None:
        self.path, self.pattern = route.path, route.path_regex
        self._endpoint: Callable[..., Coroutine[Any, Any, RawResponse]] = route.endpoint
        self._parameters: type[Parameters] | None = get_type_hints(route.endpoint).get("parameters")

    async def call(self, request: Request, in_path: dict[str, str]) -> RawResponse:
        """Answer a request. Raises what the endpoint raises, and MalformedRequestError if the query is wrong."""
        parameters = parse_query(request.scope["query_string"], self._parameters or Parameters)
        in_query = {"parameters": parameters} if self._parameters else {}
        return await self._endpoint(request, request.scope["state"]["service"], **in_path, **in_query)


class PictureRouter:
    """ASGI middleware directly around the FastAPI app. It passes on every request for another path."""

    def __init__(self, app: ASGIApp, routes: Iterable[APIRoute]) -> None:
        self.app = app
        all_routes = [PictureRoute(route) for route in routes]
        self._fixed = {route.path: route for route in all_routes if "{" not in route.path}
        self._variable = [route for route in all_routes if "{" in route.path]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = self._find(scope) if scope["type"] == "http" else None
        if found is None:
            await self.app(scope, receive, send)
            return
        route, in_path = found
        scope["path_label"] = route.path
        request = Request(scope, receive)
        try:
            if scope["method"] != "POST":
                raise HTTPException(405, headers={"Allow": "POST"})
            body, headers = await route.call(request, in_path)
        except DigitserveError as error:
            await problem_response(scope, error)(scope, receive, send)
        except HTTPException as error:
            await (await on_http_error(request, error))(scope, receive, send)
        except ClientDisconnect:
            pass
        except Exception as error:
            if is_out_of_memory(error):
                await problem_response(scope, OverloadedError(NOT_ENOUGH_MEMORY))(scope, receive, send)
                return
            await (await on_unexpected_error(request, error))(scope, receive, send)
            raise  # so that the server logs it
        else:
            if len(body) >= MIN_BYTES:
                body = await compress(scope, headers, body)
            headers.append((b"content-length", b"%d" % len(body)))
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": body})

    def _find(self, scope: Scope) -> tuple[PictureRoute, dict[str, str]] | None:
        """Return the route of a path and what is variable in the path, or None if the path is not one of ours."""
        path = scope["path"].removeprefix(scope["root_path"])
        if route := self._fixed.get(path):
            return route, {}
        for route in self._variable:
            if match := route.pattern.match(path):
                return route, match.groupdict()
        return None
