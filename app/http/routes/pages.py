"""The pages: the front page, /docs and /redoc, from files of this process alone and with relative addresses."""

import secrets
from importlib.resources import files
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from fastapi.staticfiles import StaticFiles
from starlette.responses import FileResponse, HTMLResponse, Response

STATIC = Path(__file__).parent.parent / "static"
UNMIXED = {"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}

router = APIRouter(include_in_schema=False)


def security_headers(**also: str) -> dict[str, str]:
    """What a page may do: use what this service serves, with no script or style within it and no frame around it.

    Args:
        also: what a page needs beyond that, as ``worker_src="blob:"``.
    """
    directives = {
        "default-src": "'self'",
        "img-src": "'self' data: blob:",
        "object-src": "'none'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    } | {name.replace("_", "-"): value for name, value in also.items()}
    return {
        "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in directives.items()),
        "Referrer-Policy": "no-referrer",
        **UNMIXED,
    }


@router.get("/")
async def index() -> FileResponse:
    return FileResponse(STATIC / "index.html", headers=security_headers())


@router.get("/docs")
async def docs() -> FileResponse:
    return FileResponse(STATIC / "docs.html", headers=security_headers())


@router.get("/redoc")
async def redoc() -> HTMLResponse:
    """ReDoc makes its styles in the page, under a nonce, and its search index in a worker."""
    nonce = secrets.token_urlsafe(16)
    page = (STATIC / "redoc.html").read_text().replace("{nonce}", nonce)
    return HTMLResponse(page, headers=security_headers(style_src=f"'self' 'nonce-{nonce}'", worker_src="blob:"))


@router.get("/favicon.ico")
async def favicon() -> FileResponse:
    return FileResponse(STATIC / "favicon.svg", media_type="image/svg+xml")


@router.get("/redoc/logo-mini.svg")
async def redoc_logo() -> FileResponse:
    """ReDoc's own footer looks for its logo here."""
    return FileResponse(str(files("fastapi_standalone_docs") / "static/redoc/logo-mini.svg"))


class Assets(StaticFiles):
    """Static files that a browser asks about anew: else it would mix those of two versions after an update."""

    def file_response(self, *args: Any, **options: Any) -> Response:
        response = super().file_response(*args, **options)
        response.headers.update(UNMIXED)
        return response


def assets() -> StaticFiles:
    """Our own files, and Swagger UI and ReDoc as fastapi-standalone-docs packs them."""
    return Assets(directory=STATIC, packages=[("fastapi_standalone_docs", "static")])
