"""The pages that explain the API: its OpenAPI document, three renderings of it, and what each problem code means.

Everything they load is vendored and served from here; their Content-Security-Policy lets the browser ask nobody else.
"""

import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Annotated, Any

import msgspec
from litestar import MediaType, Request, Response, Router, get
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import OpenAPIRenderPlugin
from litestar.openapi.spec import Tag
from litestar.params import PathParameter

from app.errors import every_refusal, status_of
from app.openapi import document
from domain.errors import Missing

PATH = "/api/schema"
STATIC = Path(__file__).parent.parent / "static"
MEDIA_TYPES = {".js": "text/javascript", ".css": "text/css"}
ASSETS = {path.name: path for path in STATIC.iterdir() if path.suffix in MEDIA_TYPES}

# Styles are written into the page by all three programs; Redoc searches in a worker that it makes from a blob.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self' data:; "
    "connect-src 'self'; worker-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
SCALAR = {
    "url": PATH,
    "withDefaultFonts": False,
    "telemetry": False,
    "showDeveloperTools": "never",
    "hideClientButton": True,
    "agent": {"disabled": True},
    "mcp": {"disabled": True},
}
PAGES = {
    "scalar": f"""<script id="api-reference" data-configuration="{escape(json.dumps(SCALAR))}"></script>
<script src="{PATH}/assets/scalar.js"></script>""",
    "swagger": f"""<link rel="stylesheet" href="{PATH}/assets/swagger-ui.css">
<div id="app"></div>
<script src="{PATH}/assets/swagger-ui.js"></script>
<script src="{PATH}/assets/swagger-init.js"></script>""",
    "redoc": f"""<redoc spec-url="{PATH}"></redoc>
<script src="{PATH}/assets/redoc.js"></script>""",
}


class DocumentPlugin(OpenAPIRenderPlugin):
    """The OpenAPI document itself, finished by `app.openapi`; made once."""

    def __init__(self) -> None:
        super().__init__(path=["/", "/openapi.json"], media_type=MediaType.JSON)
        self._document = b""

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:  # noqa: ARG002  Litestar's signature.
        if not self._document:
            self._document = msgspec.json.encode(document(request.app))
        return self._document


def openapi_config(*, title: str, version: str, description: str, tags: Sequence[Tag]) -> OpenAPIConfig:
    """Serves the document at `/api/schema` and `/api/schema/openapi.json`, and beside it the pages `scalar`, `swagger` and `redoc`."""
    router = Router(
        PATH,
        route_handlers=[_asset, *(_page(name, body, title) for name, body in PAGES.items())],
        include_in_schema=False,
        opt={"public": True},
        after_request=_refuse_unknown,
    )
    return OpenAPIConfig(
        title=title, version=version, description=description, tags=list(tags), openapi_router=router, render_plugins=[DocumentPlugin()]
    )


def _refuse_unknown(response: Response[Any]) -> Response[Any]:
    """Litestar adds an HTML page of its own for unknown paths here; ours is a problem document as everywhere."""
    if response.status_code == status_of(Missing):
        raise Missing
    return response


def _page(name: str, body: str, title: str) -> HTTPRouteHandler:
    html = html_page(title, body)

    @get(f"/{name}", media_type=MediaType.HTML, sync_to_thread=False)
    def page() -> Response[str]:
        return Response(html, headers={"Content-Security-Policy": CONTENT_SECURITY_POLICY})

    return page


@get("/assets/{name:str}", sync_to_thread=True)
def _asset(name: Annotated[str, PathParameter(description="A file of ours.")]) -> Response[bytes]:
    path = ASSETS.get(name)
    if path is None:
        raise Missing
    return Response(path.read_bytes(), media_type=MEDIA_TYPES[path.suffix], headers={"Cache-Control": "public, max-age=86400"})


@get("/problems", media_type=MediaType.HTML, include_in_schema=False, opt={"public": True}, sync_to_thread=False)
def problem_list() -> str:
    """Every code that a problem document may carry."""
    codes = sorted({refusal.code for refusal in every_refusal()})
    return html_page(
        "Problems", "<ul>" + "".join(f'<li><a href="/problems/{escape(code)}">{escape(code)}</a></li>' for code in codes) + "</ul>"
    )


@get("/problems/{code:str}", media_type=MediaType.HTML, include_in_schema=False, opt={"public": True}, sync_to_thread=False)
def problem_page(code: Annotated[str, PathParameter(description="The code of a problem.")]) -> str:
    """What the `type` of a problem document leads to."""
    refusal = next((refusal for refusal in every_refusal() if refusal.code == code), None)
    if refusal is None:
        raise Missing
    return html_page(code, f"<h1>{escape(code)}</h1><p>{escape(refusal.title)}</p><p>HTTP status {status_of(refusal)}.</p>")


def html_page(title: str, body: str) -> str:
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<link rel="icon" href="data:,">
</head>
<body>
{body}
</body>
</html>
"""
