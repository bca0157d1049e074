"""SAQ's own page of its queue at `/admin/jobs`, for admins: by their token, or in a browser by a cookie that a ticket was changed for.

SAQ brings the page for aiohttp and for Starlette; of either it needs nothing but routes, so its files are served by ours, behind our guard.
The page only shows. The ledger decides when a command is tried again; SAQ's buttons would go past it, so they lead nowhere and are hidden.
"""

import asyncio
import base64
import gzip
import hashlib
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from html import escape
from pathlib import Path
from typing import Annotated, Any, cast
from urllib.parse import parse_qs, urlsplit

from litestar import MediaType, Request, Response, Router, get, post
from litestar.datastructures import Cookie, State
from litestar.di import NamedDependency, Provide
from litestar.params import PathParameter
from litestar.response import Redirect
from redis.exceptions import RedisError
from saq.queue.redis import RedisQueue
from saq.web.common import STATIC_PATH, render

from app.api.pages import MEDIA_TYPES, html_page
from app.auth import JOBS_AUDIENCE, JOBS_SECONDS, Authentication, admin_with_cookie, same_origin
from app.bootstrap import House
from app.errors import answer
from bus.dispatch import Bus
from bus.message import Actor, Refusal, Trace
from domain.accounts.commands import RedeemTicket
from domain.errors import Denied, Missing, Unproven
from domain.types import Secret
from tasks.queue import QueueDown

PATH = "/admin/jobs"
COOKIE = "fluentpro_jobs"
JOBS_SHOWN = 100
PATIENCE = 2.0  # Seconds that Redis has for an answer; the page asks again every two.

# The page's own address must end in a slash for its script. An answer that is no success is shown, or leads back to the sign-in.
SCRIPT = """<script>{
  if (location.pathname === root_path) history.replaceState(null, "", root_path + "/")
  const ask = window.fetch
  window.fetch = async (...asked) => {
    const answer = await ask(...asked)
    if (answer.status === 401 || answer.status === 403) location.reload()
    if (!answer.ok) throw new Error((await answer.json()).detail)
    return answer
  }
}</script>"""
SAQS_SCRIPT = f'<script src="{PATH}/static/app.js">'
HEAD = '<title>Jobs</title><link rel="icon" href="data:,"><style>grid { display: none }</style>'
BOTTOM = f"""<form class="container" method="post" action="{PATH}/session/end">
<p>This page only shows. What failed is tried again, or dropped, with <code>fluentpro dead</code>.</p>
<button class="secondary outline">Sign out</button>
</form>"""
SIGN_IN = f"""<form method="post" action="{PATH}/session">
<p><label>Ticket <input name="ticket" required autofocus autocomplete="off" size="50"></label> <button>Open</button></p>
</form>
<p>An admin gets a ticket, which is good once and for 30 seconds, with their access token:</p>
<pre>curl -X POST …/api/v2/auth/tickets -H "Authorization: Bearer $TOKEN" \\
  -H 'Content-Type: application/json' -d '{{"purpose": "admin_jobs"}}'</pre>"""


def _saqs_page() -> str:
    """With what we add to it; a test holds that SAQ's markup still has the places for it."""
    page = render(root_path=PATH).replace("<title>SAQ</title>", HEAD)
    return page.replace('<div id="app"></div>', f'<div id="app"></div>{BOTTOM}').replace(SAQS_SCRIPT, SCRIPT + SAQS_SCRIPT)


def _saqs_files() -> Mapping[str, bytes]:
    """Its script forgets in one link that the page may have a path of its own."""
    found = {path.name: path.read_bytes() for path in Path(STATIC_PATH).iterdir() if path.is_file()}
    plain = {name.removesuffix(".gz"): gzip.decompress(data) if name.endswith(".gz") else data for name, data in found.items()}
    return {name: data.replace(b'href: "/queues/"', b'href: root_path + "/queues/"') for name, data in plain.items()}


def _policy(page: str) -> str:
    """What a browser may load for this page: files from here, and the scripts and styles that are written into it."""
    own = {"script": "", "style": ""}
    for kind, text in re.findall(r"<(script|style)>(.*?)</\1>", page, re.DOTALL):
        own[kind] += f" 'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
    return (
        f"default-src 'none'; script-src 'self'{own['script']}; style-src 'self'{own['style']}; img-src data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )


def _html(page: str, **options: Any) -> Response[str]:
    """Without a referrer a browser would call the origin of its forms `null`."""
    headers = {**options.pop("headers", {}), "Content-Security-Policy": _policy(page), "Referrer-Policy": "same-origin"}
    return Response(page, media_type=MediaType.HTML, headers=headers, **options)


def _refused(request: Request[Any, Any, Any], refusal: Refusal) -> Response[str]:
    """The problem as a page, with a way in when that is what is missing."""
    problem = answer(request, refusal)
    way_in = SIGN_IN if isinstance(refusal, Unproven | Denied) else ""
    page = html_page("Jobs", f"<h1>Jobs</h1><p>{escape(refusal.detail)}</p>{way_in}")
    return _html(page, status_code=problem.status_code, headers=dict(problem.headers))


PAGE = _saqs_page()
FILES = _saqs_files()
admin_here = admin_with_cookie(COOKIE, JOBS_AUDIENCE)
Name = Annotated[str, PathParameter(description="As SAQ calls it.")]


@get(
    ["/", "/queues/{queue:str}", "/queues/{queue:str}/jobs/{job:str}"],
    guards=[admin_here],
    exception_handlers={Refusal: _refused},
    sync_to_thread=False,
)
def show() -> Response[str]:
    """The same page at every address: its script asks for what belongs there."""
    return _html(PAGE)


@get("/static/{name:str}", guards=[admin_here], sync_to_thread=False)
def get_file(name: Name) -> Response[bytes]:
    if name not in FILES:
        raise Missing
    return Response(FILES[name], media_type=MEDIA_TYPES[Path(name).suffix])


@get("/api/queues", guards=[admin_here])
async def get_queues(jobs: NamedDependency[RedisQueue]) -> dict[str, Any]:
    async with _answering():
        return {"queues": [await jobs.info()]}


@get("/api/queues/{queue:str}", guards=[admin_here])
async def get_queue(queue: Name, jobs: NamedDependency[RedisQueue]) -> dict[str, Any]:
    _refuse_unknown(queue, jobs)
    async with _answering():
        found: Any = await jobs.info(jobs=True, limit=JOBS_SHOWN)
    return {"queue": {**found, "jobs": [_readable(job) for job in found["jobs"]]}}


@get("/api/queues/{queue:str}/jobs/{job:str}", guards=[admin_here])
async def get_job(queue: Name, job: Name, jobs: NamedDependency[RedisQueue]) -> dict[str, Any]:
    _refuse_unknown(queue, jobs)
    async with _answering():
        found = await jobs.job(job)
    if found is None:
        raise Missing
    return {"job": _readable(found.to_dict())}


@post(
    "/session",
    guards=[same_origin],
    opt={"public": True, "rate_limit": "auth"},
    exception_handlers={Refusal: _refused},
    status_code=303,
)
async def sign_in(
    request: Request[Any, Any, Any],
    house: NamedDependency[House],
    bus: NamedDependency[Bus],
    authentication: NamedDependency[Authentication],
    actor: NamedDependency[Actor],
    trace: NamedDependency[Trace],
) -> Redirect:
    [ticket, *_] = parse_qs((await request.body()).decode(errors="replace")).get("ticket", [""])
    holder = await bus.execute(RedeemTicket(ticket=Secret(ticket.strip()), purpose="admin_jobs"), by=actor, trace=trace)
    request.scope["state"]["actor"] = await authentication.actor_of(holder.account, holder.session)
    token = await authentication.issue(holder.account, holder.session, JOBS_AUDIENCE)
    cookie = _cookie(house, token.token, JOBS_SECONDS)
    return Redirect(f"{PATH}/", status_code=303, cookies=[cookie])


@post("/session/end", guards=[same_origin], opt={"public": True}, exception_handlers={Refusal: _refused}, status_code=200)
async def sign_out(house: NamedDependency[House]) -> Response[str]:
    """Clears the cookie of this browser and ends nothing else: a copy of it counts until it expires or its session ends."""
    return _html(html_page("Jobs", f"<h1>Jobs</h1><p>You have signed out.</p>{SIGN_IN}"), cookies=[_cookie(house, "", 0)])


def _cookie(house: House, value: str, seconds: int) -> Cookie:
    secure = urlsplit(house.settings.public_url).scheme == "https"
    return Cookie(key=COOKIE, value=value, path=PATH, max_age=seconds, httponly=True, samesite="strict", secure=secure)


def _readable(job: Mapping[str, Any]) -> dict[str, Any]:
    """The script puts values into the page as text."""
    return {**job, "kwargs": repr(job.get("kwargs")), "result": repr(job.get("result"))}


def _refuse_unknown(queue: str, jobs: RedisQueue) -> None:
    if queue != jobs.name:
        raise Missing


@asynccontextmanager
async def _answering() -> AsyncGenerator[None, None]:
    try:
        async with asyncio.timeout(PATIENCE):
            yield
    except (RedisError, OSError, TimeoutError) as error:
        raise QueueDown(retry_after=1) from error


def provide_jobs(state: State) -> RedisQueue:
    return cast("RedisQueue", state.jobs)


def jobs_page() -> Router:
    return Router(
        PATH,
        route_handlers=[show, get_file, get_queues, get_queue, get_job, sign_in, sign_out],
        dependencies={"jobs": Provide(provide_jobs, sync_to_thread=False)},
        include_in_schema=False,
    )
