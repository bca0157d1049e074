"""A child process that does not outlive us: a session, a log and a death signal of its own, and a stop of bounded length."""

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

_PR_SET_PDEATHSIG = 1
_LOG_BYTES = 10_000_000
_libc = ctypes.CDLL(None, use_errno=True)


class Account(NamedTuple):
    """Whom a child runs as, when not as us."""

    uid: int
    gid: int


def die_with(parent: int, number: signal.Signals) -> None:
    """Have the kernel send us `number` when the thread that forked us ends; at once, when `parent` is no longer our parent."""
    if _libc.prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    if os.getppid() != parent:
        os.kill(os.getpid(), number)


class Child:
    """Started from a thread that lasts, the main one: the kernel ties a death signal to the thread that forks.

    `stop_signal` asks it to end, also when we are killed. `lifeline` is a descriptor it inherits and holds for as long as it lives.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        log: Path,
        stop_signal: signal.Signals = signal.SIGTERM,
        environ: Mapping[str, str] | None = None,
        account: Account | None = None,
        lifeline: int | None = None,
        cwd: Path | None = None,
        stdin: bytes = b"",
    ) -> None:
        self.name = name
        self.command = command
        self.log = log
        self.stdin = stdin
        self._stop_signal = stop_signal
        self._environ = environ
        self._account = account
        self._lifeline = lifeline
        self._cwd = cwd
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        if self._process is None:
            raise RuntimeError(f"{self.name} has not been started: call start() first.")
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """None while it runs, or before; negative for a signal."""
        return None if self._process is None else self._process.poll()

    def start(self) -> None:
        if self.log.exists() and self.log.stat().st_size > _LOG_BYTES:
            self.log.replace(self.log.with_suffix(".log.1"))
        parent = os.getpid()
        stop_signal = self._stop_signal

        def in_child() -> None:
            signal.pthread_sigmask(signal.SIG_SETMASK, [])
            die_with(parent, stop_signal)

        self.log.touch(mode=0o600)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603  # Our own programs, with arguments of our own making.
                self.command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._cwd,
                env=self._environ,
                start_new_session=True,
                pass_fds=() if self._lifeline is None else (self._lifeline,),
                preexec_fn=in_child,  # noqa: PLW1509  # The only way to ask for a death signal; it takes no lock another thread could hold.
                user=None if self._account is None else self._account.uid,
                group=None if self._account is None else self._account.gid,
                extra_groups=None if self._account is None else [],
            )
        # A child that ends before it reads its input is seen by its exit code, and its log says why.
        with suppress(BrokenPipeError):
            if self._process.stdin is not None:
                self._process.stdin.write(self.stdin)
                self._process.stdin.close()

    def stop(self, grace: float, *, hurried: Callable[[], bool] = lambda: False) -> bool:
        """Ask, wait up to `grace` seconds or until `hurried`, then kill with everything of its session. Whether asking was enough."""
        if self._process is None or not self.running:
            return True
        self._process.send_signal(self._stop_signal)
        deadline = time.monotonic() + grace
        while time.monotonic() < deadline and not hurried():
            if self.wait(0.02) is not None:
                return True
        self.kill()
        return False

    def wait(self, seconds: float) -> int | None:
        """The exit code, or None when it has not ended by then."""
        if self._process is None:
            return None
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def kill(self) -> None:
        if self._process is not None and self.running:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def last_words(self, lines: int = 1) -> str:
        """The end of its log."""
        if not self.log.exists():
            return ""
        with self.log.open("rb") as log:
            log.seek(max(0, self.log.stat().st_size - 8192))
            return "\n".join(log.read().decode(errors="replace").rstrip().splitlines()[-lines:])
