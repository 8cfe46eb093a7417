"""The pages: /docs and /redoc, from files of this process alone and with relative addresses."""

from importlib.resources import files
from pathlib import Path

from fastapi import APIRouter
from fastapi.staticfiles import StaticFiles
from starlette.responses import FileResponse, RedirectResponse

WEB = Path(__file__).parent.parent / "web"

router = APIRouter(include_in_schema=False)


@router.get("/")
async def index() -> RedirectResponse:
    return RedirectResponse("docs")


@router.get("/docs")
async def docs() -> FileResponse:
    return FileResponse(WEB / "docs.html")


@router.get("/redoc")
async def redoc() -> FileResponse:
    return FileResponse(WEB / "redoc.html")


@router.get("/favicon.ico")
async def favicon() -> FileResponse:
    return FileResponse(WEB / "favicon.svg", media_type="image/svg+xml")


@router.get("/redoc/logo-mini.svg")
async def redoc_logo() -> FileResponse:
    """ReDoc's own footer looks for its logo here."""
    return FileResponse(str(files("fastapi_standalone_docs") / "static/redoc/logo-mini.svg"))


def assets() -> StaticFiles:
    """Our own files, and Swagger UI and ReDoc as fastapi-standalone-docs packs them."""
    return StaticFiles(directory=WEB, packages=[("fastapi_standalone_docs", "static")])
