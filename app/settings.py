"""One frozen Struct, converted once from the environment. Nothing else reads the environment, and no secret has a default."""

import asyncio
import difflib
import email.utils
import ipaddress
import math
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Literal, get_args, get_origin, get_type_hints
from urllib.parse import SplitResult, parse_qs, parse_qsl, urlencode, urlsplit

import msgspec

from app import data_folder

PREFIX = "FLUENTPRO_"
Env = Literal["development", "testing", "staging", "production"]
Seconds = Annotated[float, msgspec.Meta(gt=0)]
Pause = Annotated[float, msgspec.Meta(ge=0)]
Count = Annotated[int, msgspec.Meta(ge=1)]

_MASK = "***"
_SCHEMES = {
    "database_url": ("postgresql", "postgres", "postgresql+asyncpg"),
    "database_direct_url": ("postgresql", "postgres", "postgresql+asyncpg"),
    "redis_url": ("redis", "rediss", "unix"),
    "smtp_url": ("smtp", "smtps"),
    "public_url": ("http", "https"),
    "embedder_url": ("http", "https"),
    "llm_url": ("http", "https"),
}
_PORTS = {"redis": 6379, "rediss": 6379, "smtp": 25, "smtps": 465}
_POSTGRES_PORT = 5432
_REACHED = ("database_url", "database_direct_url", "redis_url", "smtp_url", "embedder_url", "llm_url")
_PROVIDERS = ("embedder", "llm")
_SECRETS = ("secret_key", "embedder_key", "llm_key")
_REACH_SECONDS = 3.0
_SECRET_BYTES = 32
_SECRET_DISTINCT = 10
_PLACEHOLDERS = (
    "changeme",
    "change-me",
    "change_me",
    "change this",
    "placeholder",
    "example",
    "insecure",
    "your-secret",
    "your_secret",
    "password",
)


class SettingsError(Exception):
    """The environment cannot be used; the message names every problem at once."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("The settings cannot be used:\n" + "\n".join(f"  - {problem}" for problem in problems))
        self.problems = problems


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Each field is the variable `FLUENTPRO_<FIELD>`; durations are in seconds.

    `database_url` and `redis_url` are empty when the servers are embedded ones under `data_dir`. `embedder_url` and `llm_url` are the bases
    of OpenAI-compatible endpoints; empty, roles are embedded by the built-in embedder, and partners speak by their scripts, a word every
    `scripted_pace`. `llm_fallback_models` are asked, in their order, when `llm_model` fails; one turn makes at most `llm_attempts` calls.
    Prices are for a million tokens. `tokens_of_context` bounds the exchanges that a model is told of, and not the rules and the facts. A
    conversation of which more than `snapshot_every` events would have to be folded is kept as a snapshot.

    A WebSocket over which nothing was said for `socket_idle` is closed, and one that cannot take a message for `socket_patience`. A
    connection of which its process has not spoken for `connection_ttl` counts as gone.
    """

    env: Env = "development"
    debug: bool = False
    host: str = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 8000
    data_dir: str = ".data"
    database_url: str = ""
    database_direct_url: str = ""
    redis_url: str = ""
    secret_key: str = ""
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    public_url: str = "http://127.0.0.1:8000"
    trusted_proxies: str = ""
    smtp_url: str = ""
    mail_from: str = "FluentPro <no-reply@fluentpro.localhost>"

    embedder_url: str = ""
    embedder_key: str = ""
    embedder_model: str = ""
    embedder_timeout: Seconds = 10.0
    llm_url: str = ""
    llm_key: str = ""
    llm_model: str = ""
    llm_timeout: Seconds = 60.0
    llm_fallback_models: str = ""
    llm_attempts: Count = 3
    llm_connect_timeout: Seconds = 3.0
    llm_first_token_timeout: Seconds = 10.0
    llm_between_tokens_timeout: Seconds = 10.0
    scripted_pace: Pause = 0.03
    llm_price_in: Pause = 0.0
    llm_price_out: Pause = 0.0

    tokens_per_conversation: Count = 200_000
    tokens_per_day: Count = 400_000
    tokens_per_answer: Count = 300
    tokens_of_context: Count = 4_000
    turn_lease: Seconds = 5.0
    turns_at_once: Count = 500
    log_days: Count = 30
    snapshot_every: Count = 50

    socket_idle: Seconds = 3600.0
    socket_patience: Seconds = 10.0
    connection_ttl: Seconds = 30.0
    draft_days: Count = 7

    database_pool: Count = 10
    hash_concurrency: Count = 2
    access_token_seconds: Count = 900
    session_days: Count = 30
    auth_rate_burst: Count = 60
    auth_rate_per_minute: Count = 60

    reaction_tries: Count = 8
    backoff_first: Seconds = 1.0
    backoff_most: Seconds = 3600.0
    done_days: Count = 30
    stream_days: Count = 7
    feed_days: Count = 30
    relay_lease: Seconds = 5.0
    relay_poll: Seconds = 0.25
    seal_every: Seconds = 60.0
    checkpoint_dir: str = ""
    job_lease: Seconds = 60.0
    claim_lease: Seconds = 30.0
    reclaim_idle: Seconds = 60.0

    @property
    def is_local(self) -> bool:
        return self.env in ("development", "testing")

    @property
    def data_path(self) -> Path:
        return Path(self.data_dir).absolute()

    @property
    def llm_fallbacks(self) -> tuple[str, ...]:
        return tuple(filter(None, (model.strip() for model in self.llm_fallback_models.split(","))))

    @property
    def checkpoint_path(self) -> Path:
        return Path(self.checkpoint_dir).absolute() if self.checkpoint_dir else self.data_path / "checkpoints"


def load(environ: Mapping[str, str]) -> Settings:
    """The settings in the variables `FLUENTPRO_*`; an empty variable counts as unset.

    Raises `SettingsError` with every problem that can be seen in the values; in staging and production, when there is one, also with
    the servers that do not answer, so that nobody repairs one problem to meet the next.
    """
    hints = get_type_hints(Settings, include_extras=True)
    values: dict[str, object] = {}
    problems: list[str] = []
    for variable in sorted(name for name in environ if name.startswith(PREFIX)):
        field = variable.removeprefix(PREFIX).lower()
        if variable != variable.upper() or field not in hints:
            problems.append(f"{variable} is not a setting{_nearest(variable, hints)}")
        elif environ[variable]:
            try:
                values[field] = msgspec.convert(environ[variable], hints[field], strict=False)
            except msgspec.ValidationError as error:
                problems.append(f"{variable}: {_reason(error, hints[field])}.")
    settings = Settings(**values)  # pyright: ignore[reportArgumentType]  # Each value was converted to the type of its field.
    problems += _problems(settings)
    if problems and not settings.is_local:
        with ThreadPoolExecutor(1) as elsewhere:  # The caller may be inside an event loop.
            problems += elsewhere.submit(lambda: asyncio.run(unreachable(settings))).result()
    if problems:
        raise SettingsError(problems)
    return settings


async def require(settings: Settings) -> None:
    """Outside of development and testing: raise one `SettingsError` with all that is wrong or does not answer."""
    if not settings.is_local and (problems := [*_problems(settings), *await unreachable(settings)]):
        raise SettingsError(problems)


async def unreachable(settings: Settings) -> list[str]:
    """A problem for each URL where nothing accepts a connection; all are tried at once, for at most three seconds."""

    async def problem(field: str) -> str | None:
        try:
            places = list(_places(getattr(settings, field)))
        except ValueError:
            return None  # Named already, as a URL that cannot be read.
        if not places or any(await asyncio.gather(*(_answers(place) for place in places))):
            return None
        return f"{_variable(field)}: nothing answers at {' or '.join(_shown(place) for place in places)}."

    return [found for found in await asyncio.gather(*(problem(field) for field in _REACHED)) if found]


def resolve(settings: Settings) -> Settings:
    """In development and testing: what is not set comes from the data folder, the secret and the URLs of the servers running there.

    Raises `SettingsError` when none run there.
    """
    if not settings.is_local:
        return settings
    found = _from_folder(settings)
    missing = [_variable(field) for field in ("database_url", "redis_url") if not getattr(found, field)]
    if missing:
        raise SettingsError([f"no embedded servers run for {settings.data_path}: start `make run`, or set {' and '.join(missing)}."])
    if found.secret_key:
        return found
    try:
        return msgspec.structs.replace(found, secret_key=data_folder.secret_key(settings.data_path))
    except data_folder.DataFolderError as error:
        raise SettingsError([str(error)]) from error


def masked(settings: Settings) -> dict[str, object]:
    """For people to read: no secret, no password. In development and testing `database_url` and `redis_url` can be used as they are."""
    usable = ("database_url", "redis_url") if settings.is_local else ()
    shown: dict[str, object] = {}
    for field, value in msgspec.structs.asdict(_from_folder(settings) if settings.is_local else settings).items():
        if field in _SECRETS:
            shown[field] = _MASK if value else ""
        elif field in _SCHEMES and field not in usable:
            shown[field] = _without_password(value)
        else:
            shown[field] = value
    return shown


def as_environ(settings: Settings) -> dict[str, str]:
    """The variables from which `load` makes the same settings in a child process."""
    return {
        _variable(field): str(value).lower() if isinstance(value, bool) else str(value)
        for field, value in msgspec.structs.asdict(settings).items()
    }


def _from_folder(settings: Settings) -> Settings:
    if settings.database_url and settings.redis_url:
        return settings
    folder = settings.data_path
    try:
        servers = data_folder.recorded(folder) if data_folder.owned(folder) else data_folder.Servers()
    except data_folder.DataFolderError as error:
        raise SettingsError([str(error)]) from error
    return msgspec.structs.replace(
        settings, database_url=settings.database_url or servers.database_url, redis_url=settings.redis_url or servers.redis_url
    )


def _variable(field: str) -> str:
    return PREFIX + field.upper()


def _nearest(variable: str, fields: Mapping[str, object]) -> str:
    near = difflib.get_close_matches(variable.removeprefix(PREFIX).lower(), fields, n=1)
    return f": did you mean {_variable(near[0])}?" if near else ": `fluentpro config` lists them."


def _reason(error: msgspec.ValidationError, hint: object) -> str:
    return f"must be one of {', '.join(get_args(hint))}" if get_origin(hint) is Literal else str(error)


def _problems(settings: Settings) -> list[str]:
    """What can be seen without asking anybody else."""
    problems = [f"{_variable(field)}: {reason}" for field in _SCHEMES if (reason := _bad_url(field, getattr(settings, field)))]
    problems += [
        f"{_variable(field)} must be a finite number of seconds."
        for field, value in msgspec.structs.asdict(settings).items()
        if isinstance(value, float) and not math.isfinite(value)
    ]
    for proxy in filter(None, (part.strip() for part in settings.trusted_proxies.split(","))):
        try:
            ipaddress.ip_network(proxy, strict=False)
        except ValueError:
            problems.append(f"{_variable('trusted_proxies')} must be addresses or networks separated by commas, such as 10.0.0.0/8.")
    if "@" not in email.utils.parseaddr(settings.mail_from)[1]:
        problems.append(f"{_variable('mail_from')} must be an address, such as FluentPro <no-reply@example.org>.")
    for provider in _PROVIDERS:
        if getattr(settings, f"{provider}_url") and not getattr(settings, f"{provider}_model"):
            problems.append(f"{_variable(f'{provider}_model')} is missing: name the model to ask for at {_variable(f'{provider}_url')}.")
    return problems if settings.is_local else problems + _exposed(settings)


def _exposed(settings: Settings) -> list[str]:
    """What is good enough for a developer's machine only."""
    problems: list[str] = []
    if weakness := _weakness(settings.secret_key):
        problems.append(
            f'{_variable("secret_key")} {weakness}: generate one with `python3 -c "import secrets; print(secrets.token_urlsafe(48))"`.'
        )
    if settings.debug:
        problems.append(f"{_variable('debug')} must be off in {settings.env}.")
    problems += [
        f"{_variable(field)} is missing: embedded servers are for development and testing."
        for field in ("database_url", "redis_url")
        if not getattr(settings, field)
    ]
    if not settings.public_url.lower().startswith("https://"):
        problems.append(f"{_variable('public_url')} must be the https:// address that people use.")
    return problems


def _weakness(secret: str) -> str | None:
    if not secret:
        return "is missing"
    if len(secret.encode()) < _SECRET_BYTES:
        return f"is shorter than {_SECRET_BYTES} bytes"
    if len(set(secret)) < _SECRET_DISTINCT:
        return f"has fewer than {_SECRET_DISTINCT} different characters"
    if any(word in secret.casefold() for word in _PLACEHOLDERS):
        return "is a placeholder"
    return None


def _bad_url(field: str, url: str) -> str | None:
    if not url:
        return None
    schemes = _SCHEMES[field]
    try:
        parts = urlsplit(url)
        places = list(_places(url))
    except ValueError:
        return "this URL cannot be read; special characters in a password are written as %XX, and a port is a number."
    if parts.scheme not in schemes:
        return f"the URL must begin with {' or '.join(f'{scheme}://' for scheme in schemes)}."
    return None if places else "the URL names no host."


def _places(url: str) -> Iterator[str | tuple[str, int]]:
    """Where the URL leads: paths of sockets, or hosts and ports; PostgreSQL allows several. Raises `ValueError` for what is no URL."""
    parts = urlsplit(url)
    if parts.scheme == "unix":
        yield parts.path
        return
    default = _PORTS.get(parts.scheme, {"http": 80, "https": 443}.get(parts.scheme, _POSTGRES_PORT))
    query = parse_qs(parts.query)
    hosts = parts.netloc.rpartition("@")[2] or ",".join(query.get("host", []))
    for one in filter(None, hosts.split(",")):
        if one.startswith("/"):
            yield f"{one}/.s.PGSQL.{query.get('port', [str(default)])[0]}"
        else:
            place = SplitResult("", one, "", "", "")
            if not place.hostname:
                raise ValueError("a port without a host")
            yield (place.hostname, place.port or int(query.get("port", [str(default)])[0]))


async def _answers(place: str | tuple[str, int]) -> bool:
    try:
        async with asyncio.timeout(_REACH_SECONDS):
            _, writer = await (asyncio.open_unix_connection(place) if isinstance(place, str) else asyncio.open_connection(*place))
    except (OSError, UnicodeError):  # A timeout is an OSError; a name that cannot be encoded is no host.
        return False
    writer.close()
    return True


def _shown(place: str | tuple[str, int]) -> str:
    return place if isinstance(place, str) else f"{place[0]}:{place[1]}"


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    login, at, host = parts.netloc.rpartition("@")
    user, colon, _ = login.partition(":")
    query = urlencode([(name, _MASK if "password" in name.lower() else value) for name, value in parse_qsl(parts.query)], safe="*/:")
    return parts._replace(netloc=f"{user}{colon}{_MASK if colon else ''}{at}{host}", query=query).geturl()
