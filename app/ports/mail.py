"""The `Mailer` port: over SMTP, or as files in a folder for a developer to read."""

import asyncio
import os
import re
import smtplib
import ssl
import tempfile
from datetime import UTC, datetime
from email import policy
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import parseaddr
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

import structlog

from bus.work import Dead
from domain.errors import Unavailable
from handlers.ports import Mail

_MESSAGE_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+=-]{0,120}@[A-Za-z0-9][A-Za-z0-9.-]{0,120}")
_RETRY_AFTER: Final = 30.0
_PORTS: Final = {"smtp": 25, "smtps": 465}
_CLOSING: Final = 421
_PERMANENT: Final = 500
# Lines up to the limit of RFC 5322 need no encoding, so the text lies in the file as it was written.
_READABLE: Final = policy.default.clone(max_line_length=998)
# Seven bits pass every server; smtplib does not ask for 8BITMIME.
_ON_THE_WIRE: Final = policy.SMTP.clone(cte_type="7bit")

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class MailRefused(Dead):
    """The server will never take this mail for this recipient: it becomes a dead letter at once."""


class MailDeferred(Exception):
    """The server does not take this mail now, though it may take others. Not an `Unavailable`: that stops the mail of everybody."""


def _sender(text: str) -> Address:
    name, address = parseaddr(text)
    if "@" not in address:
        raise ValueError('Set FLUENTPRO_MAIL_FROM to a sender like "FluentPro <no-reply@example.com>".')
    return Address(name, addr_spec=address)


def _composed(mail: Mail, sender: Address, how: "policy.EmailPolicy[EmailMessage]") -> EmailMessage:
    """Raises `ValueError` for a value that would end its header: the library refuses line breaks in all of them."""
    if not _MESSAGE_ID.fullmatch(mail.message_id):
        raise ValueError(
            f"Give the mail a message id of the form name@domain, of letters, digits and ._+=-, instead of {mail.message_id!r}."
        )
    message = EmailMessage(how)
    message["From"] = sender
    message["To"] = Address(mail.to_name, addr_spec=mail.to)
    message["Subject"] = mail.subject
    message["Date"] = datetime.now(UTC)
    message["Message-ID"] = f"<{mail.message_id}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(mail.text)
    return message


class SmtpMailer:
    """Sends by `smtp://host` or `smtps://host`, with `user:password@` before it, and with `?starttls=require` after it, where wanted.

    `timeout`, in seconds, bounds every step; four times as much bounds the whole. `tls` replaces the default trust in public authorities.
    """

    def __init__(self, url: str, sender: str, *, timeout: float = 10.0, tls: ssl.SSLContext | None = None) -> None:
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        if parts.scheme not in _PORTS or not parts.hostname or parts.path not in ("", "/") or options not in ({}, {"starttls": "require"}):
            raise ValueError("Set FLUENTPRO_SMTP_URL to smtp://host:port, smtp://host:port?starttls=require, or smtps://host:port.")
        self._implicit_tls, self._starttls = parts.scheme == "smtps", bool(options)
        self._user, self._password = unquote(parts.username or ""), unquote(parts.password or "")
        if self._user and not (self._implicit_tls or self._starttls):
            raise ValueError("FLUENTPRO_SMTP_URL would send its password in the clear: use smtps:// or add ?starttls=require.")
        self._host, self._port = parts.hostname, parts.port or _PORTS[parts.scheme]
        self._sender, self._timeout = _sender(sender), timeout
        self._tls = tls or ssl.create_default_context()

    async def send(self, mail: Mail) -> None:
        """Raises `Unavailable` when the server cannot be used, `MailDeferred` or `MailRefused` when it does not take this mail."""
        message = _composed(mail, self._sender, _ON_THE_WIRE)
        try:
            async with asyncio.timeout(4 * self._timeout):
                await asyncio.to_thread(self._deliver, message)
        except smtplib.SMTPRecipientsRefused as refusal:
            codes = [code for code, _ in refusal.recipients.values()]
            raise _judged(codes[0]) from refusal
        except smtplib.SMTPDataError as refusal:
            raise _judged(refusal.smtp_code) from refusal
        except OSError as problem:  # Those of smtplib and of a passed deadline are OSErrors too.
            raise _unusable() from problem

    def _deliver(self, message: EmailMessage) -> None:
        with self._connected() as server:
            if self._starttls:
                server.starttls(context=self._tls)
            if self._user:
                server.login(self._user, self._password)
            # Not send_message: it would write ">From" for a line that begins with "From".
            recipient = message["To"].addresses[0].addr_spec
            server.sendmail(self._sender.addr_spec, recipient, message.as_bytes())

    def _connected(self) -> smtplib.SMTP:
        # Without a name of ours smtplib would look this machine's up, and tell it.
        name = self._sender.domain
        if self._implicit_tls:
            return smtplib.SMTP_SSL(self._host, self._port, local_hostname=name, timeout=self._timeout, context=self._tls)
        return smtplib.SMTP(self._host, self._port, local_hostname=name, timeout=self._timeout)


def _judged(code: int) -> Exception:
    if code == _CLOSING:
        return _unusable()
    if code >= _PERMANENT:
        return MailRefused(f"The mail server refuses this mail for good, with {code}.")
    return MailDeferred(f"The mail server does not take this mail at the moment, with {code}.")


def _unusable() -> Unavailable:
    return Unavailable(
        "The mail server cannot be used at the moment. Look at FLUENTPRO_SMTP_URL and at the server.", retry_after=_RETRY_AFTER
    )


class FolderMailer:
    """Writes `<message id>.eml`. The same mail again changes nothing."""

    def __init__(self, folder: Path, sender: str) -> None:
        self._folder, self._sender = folder, _sender(sender)

    async def send(self, mail: Mail) -> None:
        message = _composed(mail, self._sender, _READABLE)
        path = self._folder / f"{mail.message_id}.eml"
        if await asyncio.to_thread(_write_once, path, bytes(message)):
            _log.info("mail.written", path=str(path))


def _write_once(path: Path, content: bytes) -> bool:
    """Whether the file was not there before. Nobody ever sees a half-written one."""
    if path.exists():
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".part")
    with os.fdopen(handle, "wb") as file:
        file.write(content)
    Path(name).replace(path)
    return True
