"""The front page, /docs and /redoc. They load files only from this service, and all their URLs are relative."""

import secrets
from importlib.resources import files
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from fastapi.staticfiles import StaticFiles
from starlette.responses import FileResponse, HTMLResponse, Response

STATIC = Path(__file__).parent.parent / "static"
# The browser must ask again each time: otherwise it would mix the files of two versions after an update.
REVALIDATE = {"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}

router = APIRouter(include_in_schema=False)


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


@router.get("/")
async def index() -> FileResponse:
    return FileResponse(STATIC / "index.html", headers=security_headers())


@router.get("/docs")
async def docs() -> FileResponse:
    return FileResponse(STATIC / "docs.html", headers=security_headers())


@router.get("/redoc")
async def redoc() -> HTMLResponse:
    """Serve ReDoc. It adds its styles to the page, which a nonce allows, and builds its search index in a worker."""
    nonce = secrets.token_urlsafe(16)
    page = (STATIC / "redoc.html").read_text().replace("{nonce}", nonce)
    return HTMLResponse(page, headers=security_headers(style_src=f"'self' 'nonce-{nonce}'", worker_src="blob:"))


@router.get("/favicon.ico")
async def favicon() -> FileResponse:
    return FileResponse(STATIC / "favicon.svg", media_type="image/svg+xml")


@router.get("/redoc/logo-mini.svg")
async def redoc_logo() -> FileResponse:
    """Serve the logo where ReDoc's footer expects it."""
    return FileResponse(str(files("fastapi_standalone_docs") / "static/redoc/logo-mini.svg"))


class Assets(StaticFiles):
    """Static files that a browser must revalidate."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers.update(REVALIDATE)
        return response


def create_assets() -> StaticFiles:
    """Return the app for our own files, and for Swagger UI and ReDoc from fastapi-standalone-docs."""
    return Assets(directory=STATIC, packages=[("fastapi_standalone_docs", "static")])
