# noqa: INP001  A script beside the files it fetches, not a module.
"""Fetches the front-end files of the API pages from npm and records what they are; with `--check` it only compares, without a network."""

import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RECORD = HERE / "VENDORED.json"

# Package, version, licence, and which of its files (as they are named there) become which of ours.
# Scalar's package holds no licence text; scalar.LICENSE.txt is the one of its repository.
PACKAGES: list[tuple[str, str, str, dict[str, str]]] = [
    ("@scalar/api-reference", "1.46.4", "MIT", {"dist/browser/standalone.js": "scalar.js"}),
    (
        "swagger-ui-dist",
        "5.35.0",
        "Apache-2.0",
        {
            "swagger-ui-bundle.js": "swagger-ui.js",
            "swagger-ui-bundle.js.LICENSE.txt": "swagger-ui.js.LICENSE.txt",
            "swagger-ui.css": "swagger-ui.css",
            "LICENSE": "swagger-ui.LICENSE.txt",
            "NOTICE": "swagger-ui.NOTICE.txt",
        },
    ),
    (
        "redoc",
        "2.5.4",
        "MIT",
        {
            "bundles/redoc.standalone.js": "redoc.js",
            "bundles/redoc.standalone.js.LICENSE.txt": "redoc.js.LICENSE.txt",
            "LICENSE": "redoc.LICENSE.txt",
        },
    ),
]


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def fetch(name: str, version: str, licence: str, files: dict[str, str]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        command = ["npm", "pack", f"{name}@{version}", "--json", "--pack-destination", folder]
        packed = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603  Every word is from PACKAGES.
        about = json.loads(packed.stdout)[0]
        with tarfile.open(next(Path(folder).glob("*.tgz"))) as archive:
            for member, ours in files.items():
                content = archive.extractfile(f"package/{member}")
                if content is None:
                    raise SystemExit(f"{name} {version} holds no file {member}; correct PACKAGES in {__file__}.")
                (HERE / ours).write_bytes(content.read())
    return {
        "name": name,
        "version": version,
        "licence": licence,
        "integrity": about["integrity"],
        "files": {ours: {"from": member, "sha256": sha256(HERE / ours)} for member, ours in files.items()},
    }


def differences() -> list[str]:
    """What is not as the record says, in sentences."""
    found: list[str] = []
    recorded = json.loads(RECORD.read_text())
    for package in recorded:
        for name, about in package["files"].items():
            path = HERE / name
            if not path.is_file():
                found.append(f"{name} is missing; run `make vendor`.")
            elif sha256(path) != about["sha256"]:
                found.append(f"{name} is not the file of {package['name']} {package['version']}; run `make vendor`.")
    pinned = [(name, version, list(files.values())) for name, version, _, files in PACKAGES]
    if pinned != [(package["name"], package["version"], list(package["files"])) for package in recorded]:
        found.append("VENDORED.json does not list what vendor.py asks for; run `make vendor`.")
    return found


def main() -> None:
    if sys.argv[1:] == ["--check"]:
        if found := differences():
            raise SystemExit("\n".join(found))
        return
    previous = {package["name"]: package for package in json.loads(RECORD.read_text())} if RECORD.exists() else {}
    fetched = [fetch(*package) for package in PACKAGES]
    for package in fetched:
        before = previous.get(package["name"], {})
        if before.get("version") == package["version"] and before["integrity"] != package["integrity"]:
            raise SystemExit(f"npm now serves another {package['name']} {package['version']} than the one recorded; do not commit it.")
    RECORD.write_text(json.dumps(fetched, indent=2) + "\n")


if __name__ == "__main__":
    main()
