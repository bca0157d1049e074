"""The sessions of the README and of docs/onboarding.md work when pasted one after the other, and print what is said there."""

import re
import subprocess
import sysconfig
import time
from pathlib import Path

import pytest

from app.embedded import free_port
from tests.app.processes import REPOSITORY, abandoned, here, room, until

SESSIONS = (
    ("README.md", "## A first session"),
    ("README.md", "## A first conversation"),
    ("README.md", "## As an operator"),
    ("docs/onboarding.md", "## Who I am and what I do"),
    ("docs/onboarding.md", "## Whom I talk to, and about what"),
    ("docs/onboarding.md", "## On another device, and afterwards"),
)


def section(text: str, heading: str) -> str:
    """What lies below a heading, up to the next one of the same depth."""
    depth = heading.partition(" ")[0]
    found = re.search(rf"^{re.escape(heading)}\n(.*?)(?=^{depth} |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found is not None, f"there is no heading {heading!r}"
    return found[1]


def blocks(text: str) -> list[str]:
    """The shell blocks, without the prompts of those that show a console."""
    found: list[str] = []
    for kind, body in re.findall(r"^```(sh|console)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        commands = [line.removeprefix("$ ") for line in body.splitlines() if line.startswith("$ ")]
        found.append(body if kind == "sh" else "\n".join(commands))
    return found


def promised(text: str) -> list[str]:
    """What the session is said to print, in order: the code in the sentence that begins with "It prints"."""
    found = re.search(r"^It prints (.*?)\.(?=\s)", text, re.MULTILINE | re.DOTALL)
    assert found is not None, 'no sentence begins with "It prints"'
    return re.findall(r"`([^`]+)`", found[1])


def test_the_sessions_work_when_pasted_and_print_what_is_promised() -> None:
    sections = [section((REPOSITORY / name).read_text(), heading) for name, heading in SESSIONS]
    assert all(blocks(text) for text in sections), "a session has no shell block"
    script = "\n".join(block for text in sections for block in blocks(text))
    with room() as folder:
        url = f"http://127.0.0.1:{(port := free_port())}"
        spot = here(folder)
        installed = folder / ".venv" / "bin"
        installed.mkdir(parents=True)
        (installed / "fluentpro").symlink_to(Path(sysconfig.get_path("scripts")) / "fluentpro")
        up = spot.start("-m", "app.cli", "up", FLUENTPRO_PORT=str(port))
        try:
            assert up.stdout is not None
            begun = time.monotonic()
            while "is ready after" not in (line := up.stdout.readline()):
                assert line, "it ended before it was ready"
                assert time.monotonic() - begun < 60
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", script],
                env={"PATH": spot.environ.get("PATH", "/usr/local/bin:/usr/bin:/bin"), "BASE": url},
                cwd=folder,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            printed = 0
            for words in (words for text in sections for words in promised(text)):
                printed = done.stdout.find(words, printed)
                assert printed >= 0, f"{words!r} is not where it should be in\n{done.stdout}"
            until(lambda: list(Path(folder, ".data/mail").glob("*.eml")), "the welcome mail is where the README says")
            assert list(Path(folder, ".data/logs").glob("*.log"))
        finally:
            up.terminate()
            up.communicate(timeout=30)
            until(lambda: abandoned(spot.data), "every child ended")


@pytest.mark.parametrize("text", ["# Nothing", f"{SESSIONS[0][1]}\n\nNo block.\n"])
def test_a_session_that_is_gone_is_noticed(text: str) -> None:
    with pytest.raises(AssertionError):
        promised(section(text, SESSIONS[0][1]))
