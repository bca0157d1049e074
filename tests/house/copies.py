"""Copies of the packages in a folder of their own, for tests that break one thing and look at what is said about it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
PACKAGES = ("app", "bus", "db", "domain", "handlers", "tasks")


class Copy:
    """The packages, and what the tools read besides."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        unneeded = shutil.ignore_patterns("__pycache__", "static")
        for package in PACKAGES:
            shutil.copytree(REPOSITORY / package, self.folder / package, ignore=unneeded)
        shutil.copytree(REPOSITORY / "app" / "static", self.folder / "app" / "static", copy_function=os.symlink)
        (self.folder / "tests" / "house").mkdir(parents=True)
        for name in ("pyproject.toml", "tests/house/areas.py"):
            shutil.copy(REPOSITORY / name, self.folder / name)

    def add(self, name: str, text: str) -> None:
        """At the end of a file, which is made when there is none."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            file.write(f"\n{text}\n")

    def replace(self, name: str, old: str, new: str) -> None:
        path = self.folder / name
        text = path.read_text()
        assert old in text, f"{name} no longer holds {old!r}; say here what is to be broken instead"
        path.write_text(text.replace(old, new))

    def run(self, *command: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """With the packages of this copy only. What runs here is not measured: it is not the code of the repository."""
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        return subprocess.run(
            [sys.executable, "-P", *command],
            cwd=self.folder,
            env={**kept, "PYTHONPATH": str(self.folder), "PYTHONDONTWRITEBYTECODE": "1", **environ},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
