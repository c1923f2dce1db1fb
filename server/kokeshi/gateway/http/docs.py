"""Swagger UI from the installed package: the docs need no internet."""

from typing import Final

from fastapi import APIRouter, Request, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import FileResponse, RedirectResponse

from kokeshi.errors import NotFoundError

ASSETS: Final = {
    "swagger-ui.css": "text/css",
    "swagger-ui-bundle.js": "text/javascript",
    "favicon-32x32.png": "image/png",
}

router: Final = APIRouter(include_in_schema=False)


@router.get("/", name="Docs")
async def root() -> Response:
    """Leads to the docs."""
    return RedirectResponse("/docs")


@router.get("/docs", name="Docs")
async def docs(request: Request) -> Response:
    """The page."""
    return get_swagger_ui_html(
        openapi_url="/openapi.json",
        title=f"{request.app.title} {request.app.version}",
        swagger_js_url="/docs/swagger-ui-bundle.js",
        swagger_css_url="/docs/swagger-ui.css",
        swagger_favicon_url="/docs/favicon-32x32.png",
    )


@router.get("/docs/{asset}", name="Docs")
async def docs_asset(asset: str) -> Response:
    """A file that the page needs.

    Raises:
        NotFoundError: it needs no such file.
    """
    from swagger_ui_bundle import swagger_ui_path

    if asset not in ASSETS:
        raise NotFoundError(f"no file named {asset!r} belongs to the docs")
    return FileResponse(swagger_ui_path / asset, media_type=ASSETS[asset])
