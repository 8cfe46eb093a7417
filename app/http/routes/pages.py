"""The front page, /docs and /redoc. They load files only from this service, and all their URLs are relative."""

import hashlib
import json
import secrets
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from fastapi.staticfiles import StaticFiles
from starlette.responses import HTMLResponse, Response

STATIC = Path(__file__).parent.parent / "static"
# The browser must ask again each time: otherwise it would mix the files of two versions after an update.
REVALIDATE = {"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}

router = APIRouter(include_in_schema=False)


class Assets(StaticFiles):
    """Static files that a browser must revalidate."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers.update(REVALIDATE)
        return response


# Our own files, and Swagger UI and ReDoc from fastapi-standalone-docs.
ASSETS = Assets(directory=STATIC, packages=[("fastapi_standalone_docs", "static")])


def security_headers(**directives: str) -> dict[str, str]:
    """Return the security headers of a page: only files of this service, no inline scripts or styles, no frames.

    Args:
        directives: More directives of the Content-Security-Policy, such as ``worker_src="blob:"``.
    """
    policy = {
        "default-src": "'self'",
        "img-src": "'self' data: blob:",
        "object-src": "'none'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    } | {name.replace("_", "-"): value for name, value in directives.items()}
    return {
        "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
        "Referrer-Policy": "no-referrer",
        **REVALIDATE,
    }


async def serve_file(request: Request, name: str, headers: dict[str, str] | None = None) -> Response:
    """Serve a file, or 304 if the browser has it already."""
    response = await ASSETS.get_response(name, request.scope)
    response.headers.update(headers or {})
    return response


@router.get("/")
async def index(request: Request) -> Response:
    return await serve_file(request, "index.html", security_headers())


@router.get("/docs")
async def docs(request: Request) -> Response:
    return await serve_file(request, "docs.html", security_headers())


@router.get("/redoc")
async def redoc() -> HTMLResponse:
    """Serve ReDoc. It adds its styles to the page, which a nonce allows, and builds its search index in a worker."""
    nonce = secrets.token_urlsafe(16)
    page = (STATIC / "redoc.html").read_text(encoding="utf-8").replace("{nonce}", nonce)
    return HTMLResponse(page, headers=security_headers(style_src=f"'self' 'nonce-{nonce}'", worker_src="blob:"))


@router.get("/openapi.json")
async def openapi(request: Request) -> Response:
    """Serve the OpenAPI document, or 304 if the client has it already."""
    document = request.app.openapi()
    if root_path := request.scope["root_path"]:  # of a proxy
        document = {**document, "servers": [{"url": root_path}]}
    body = json.dumps(document, ensure_ascii=False).encode()
    etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {**REVALIDATE, "ETag": etag}
    if etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type="application/json")


@router.get("/favicon.ico")
async def favicon(request: Request) -> Response:
    return await serve_file(request, "favicon.svg")


@router.get("/redoc/logo-mini.svg")
async def redoc_logo(request: Request) -> Response:
    """Serve the logo where ReDoc's footer expects it."""
    return await serve_file(request, "redoc/logo-mini.svg")
