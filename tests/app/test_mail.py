"""Mail over a real socket, and mail as files."""

import asyncio
import base64
import email
import email.policy
import ipaddress
import os
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path

import msgspec
import pytest
import structlog
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from app.ports.mail import FolderMailer, MailDeferred, MailRefused, SmtpMailer
from bus.work import Dead
from domain.errors import Unavailable
from handlers.ports import Mail

SENDER = "FluentPro <no-reply@fluentpro.example>"
MAIL = Mail(
    message_id="accounts.send_welcome.0199-1@fluentpro.example",
    to="ana@example.com",
    to_name="Ána Souza, Lda. <王伟>",
    subject="Olá, Ána! 欢迎",
    text="Bem-vinda, Ána.\n.\nFrom here on: 欢迎\n" + "x" * 300 + "\n",
)


class SmtpServer:
    """Speaks just enough SMTP, answers each verb as it is told to, and keeps what it heard."""

    def __init__(self, replies: dict[str, str], silent_at: str | None, endless_at: str | None, tls: ssl.SSLContext | None) -> None:
        self.replies = {
            "CONNECT": "220 ready",
            "EHLO": "250-here\r\n250-AUTH PLAIN" + ("\r\n250 STARTTLS" if tls else "\r\n250 OK"),
            "STARTTLS": "220 go on",
            "AUTH": "235 welcome",
            "DATA": "354 go on",
            "DATA.": "250 taken",
            "QUIT": "221 bye",
        } | replies
        self.silent_at, self.endless_at, self.tls = silent_at, endless_at, tls
        self.heard: list[str] = []
        self.mails: list[EmailMessage] = []
        self.seven_bits: list[bool] = []
        self.port = 0
        self.stopped = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._answer(writer, "CONNECT")
            while line := await reader.readline():
                self.heard.append(line.decode("ascii").rstrip())
                verb = self.heard[-1].partition(" ")[0].upper()
                await self._answer(writer, verb)
                if verb == "STARTTLS" and self.tls:
                    await writer.start_tls(self.tls)
                if verb == "DATA" and self.replies["DATA"].startswith("354"):
                    content = await reader.readuntil(b"\r\n.\r\n")
                    self.seven_bits.append(content.isascii())
                    unstuffed = content[:-3].replace(b"\r\n..", b"\r\n.")
                    self.mails.append(email.message_from_bytes(unstuffed, EmailMessage, policy=email.policy.SMTP))
                    await self._answer(writer, "DATA.")
        except ConnectionError:
            self.heard.append("(connection lost)")
        finally:
            writer.close()

    async def _answer(self, writer: asyncio.StreamWriter, verb: str) -> None:
        if verb == self.silent_at:
            await self.stopped.wait()
        while verb == self.endless_at and not self.stopped.is_set():
            writer.write(b"250-and\r\n")
            await writer.drain()
            await asyncio.sleep(0.01)
        writer.write(self.replies.get(verb, "250 OK").encode() + b"\r\n")
        await writer.drain()


@asynccontextmanager
async def smtp_server(
    replies: dict[str, str] | None = None,
    *,
    silent_at: str | None = None,
    endless_at: str | None = None,
    tls: ssl.SSLContext | None = None,
    implicit: bool = False,
) -> AsyncGenerator[SmtpServer]:
    smtp = SmtpServer(replies or {}, silent_at, endless_at, tls)
    server = await asyncio.start_server(smtp.serve, "127.0.0.1", 0, ssl=tls if implicit else None)
    smtp.port = server.sockets[0].getsockname()[1]
    try:
        yield smtp
    finally:
        smtp.stopped.set()
        server.close()


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's context with a certificate for 127.0.0.1, and a client's that trusts it."""
    key, name = Ed25519PrivateKey.generate(), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now - timedelta(days=1), now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, None)
    )
    pem = certificate.public_bytes(Encoding.PEM)
    file = tmp_path_factory.mktemp("tls") / "server.pem"
    file.write_bytes(pem + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    servers = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    servers.load_cert_chain(file)
    return servers, ssl.create_default_context(cadata=pem.decode())


async def test_a_mail_arrives_as_it_was_written() -> None:
    async with smtp_server() as server:
        await SmtpMailer(f"smtp://127.0.0.1:{server.port}", SENDER).send(MAIL)
    (mail,) = server.mails
    assert mail["From"].addresses[0].addr_spec == "no-reply@fluentpro.example"
    assert (mail["To"].addresses[0].display_name, mail["To"].addresses[0].addr_spec) == (MAIL.to_name, MAIL.to)
    assert mail["Subject"] == MAIL.subject
    assert mail["Message-ID"] == f"<{MAIL.message_id}>"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert abs(mail["Date"].datetime - datetime.now(UTC)) < timedelta(minutes=1)
    assert mail.get_content().replace("\r\n", "\n") == MAIL.text
    assert "mail FROM:<no-reply@fluentpro.example>" in server.heard[1]
    assert server.heard[2:] == ["rcpt TO:<ana@example.com>", "data", "QUIT"]
    assert server.heard[0] == "ehlo fluentpro.example"


async def test_the_same_mail_again_has_the_same_message_id() -> None:
    async with smtp_server() as server:
        mailer = SmtpMailer(f"smtp://127.0.0.1:{server.port}", SENDER)
        await mailer.send(MAIL)
        await mailer.send(MAIL)
    assert [mail["Message-ID"] for mail in server.mails] == [f"<{MAIL.message_id}>"] * 2


async def test_a_mail_takes_only_the_seven_bits_that_every_server_takes() -> None:
    async with smtp_server() as server:
        await SmtpMailer(f"smtp://127.0.0.1:{server.port}", SENDER).send(msgspec.structs.replace(MAIL, text="Olá, Ána!\n"))
    assert server.seven_bits == [True]


async def test_a_long_message_id_stays_in_one_piece() -> None:
    mail = msgspec.structs.replace(MAIL, message_id="a" * 100 + "@" + "b" * 100)
    async with smtp_server() as server:
        await SmtpMailer(f"smtp://127.0.0.1:{server.port}", SENDER).send(mail)
    assert server.mails[0]["Message-ID"] == f"<{mail.message_id}>"


@pytest.mark.parametrize(
    "replies",
    [
        {"CONNECT": "421 closing"},
        {"CONNECT": "554 no service"},
        {"EHLO": "502 what", "HELO": "451 no"},
        {"MAIL": "451 later"},
        {"MAIL": "550 not this sender"},
        {"RCPT": "421 closing"},
        {"DATA.": "421 closing"},
    ],
)
async def test_a_server_that_takes_no_mail_is_unavailable(replies: dict[str, str]) -> None:
    async with smtp_server(replies) as server:
        with pytest.raises(Unavailable) as refused:
            await SmtpMailer(f"smtp://127.0.0.1:{server.port}", SENDER).send(MAIL)
    assert refused.value.retry_after == 30
    assert MAIL.to not in refused.value.detail


@pytest.mark.parametrize(
    "replies", [{"RCPT": "450 mailbox busy"}, {"RCPT": "452 mailbox full"}, {"DATA": "451 later"}, {"DATA.": "451 greylisted"}]
)
async def test_a_mail_that_is_not_taken_now_is_deferred_without_stopping_others(replies: dict[str, str]) -> None:
    async with smtp_server(replies) as server:
        with pytest.raises(MailDeferred):
            await SmtpMailer(f"smtp://127.0.0.1:{server.port}", SENDER).send(MAIL)
    assert not issubclass(MailDeferred, Unavailable)


@pytest.mark.parametrize("replies", [{"RCPT": "550 no such mailbox"}, {"DATA": "554 no"}, {"DATA.": "552 too large"}])
async def test_a_mail_that_is_never_taken_is_refused_for_good(replies: dict[str, str]) -> None:
    async with smtp_server(replies) as server:
        with pytest.raises(MailRefused, match="for good, with 55") as refused:
            await SmtpMailer(f"smtp://127.0.0.1:{server.port}", SENDER).send(MAIL)
    assert isinstance(refused.value, Dead)
    assert MAIL.to not in str(refused.value)


@pytest.mark.parametrize("step", ["CONNECT", "EHLO", "RCPT", "DATA."])
async def test_a_server_that_falls_silent_is_unavailable_within_the_time_limit(step: str) -> None:
    async with smtp_server(silent_at=step) as server, asyncio.timeout(5):
        with pytest.raises(Unavailable):
            await SmtpMailer(f"smtp://127.0.0.1:{server.port}", SENDER, timeout=0.2).send(MAIL)


async def test_each_step_is_bounded_and_not_only_the_whole() -> None:
    async with smtp_server(silent_at="CONNECT") as server, asyncio.timeout(3):
        with pytest.raises(Unavailable):
            await SmtpMailer(f"smtp://127.0.0.1:{server.port}", SENDER, timeout=1).send(MAIL)


async def test_a_server_that_never_comes_to_an_end_is_unavailable_within_the_time_limit() -> None:
    async with smtp_server(endless_at="EHLO") as server, asyncio.timeout(5):
        with pytest.raises(Unavailable):
            await SmtpMailer(f"smtp://127.0.0.1:{server.port}", SENDER, timeout=0.2).send(MAIL)


async def test_a_silent_server_is_unavailable_over_implicit_tls_too() -> None:
    async with smtp_server(silent_at="CONNECT") as server, asyncio.timeout(5):
        with pytest.raises(Unavailable):
            await SmtpMailer(f"smtps://127.0.0.1:{server.port}", SENDER, timeout=0.2).send(MAIL)


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    async with smtp_server() as server:
        pass
    with pytest.raises(Unavailable):
        await SmtpMailer(f"smtp://127.0.0.1:{server.port}", SENDER).send(MAIL)


async def test_starttls_comes_before_credentials_and_mail(tls: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    servers, clients = tls
    async with smtp_server(tls=servers) as server:
        url = f"smtp://us%40er:p%3Ass@127.0.0.1:{server.port}?starttls=require"
        await SmtpMailer(url, SENDER, tls=clients).send(MAIL)
    assert server.heard[1] == "STARTTLS"
    assert base64.b64decode(server.heard[3].removeprefix("AUTH PLAIN ")) == b"\0us@er\0p:ss"
    assert len(server.mails) == 1


async def test_implicit_tls_is_spoken_from_the_first_byte(tls: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    servers, clients = tls
    async with smtp_server(tls=servers, implicit=True) as server:
        await SmtpMailer(f"smtps://127.0.0.1:{server.port}", SENDER, tls=clients).send(MAIL)
    assert len(server.mails) == 1


async def test_a_server_without_the_required_starttls_gets_no_mail() -> None:
    async with smtp_server() as server:
        with pytest.raises(Unavailable):
            await SmtpMailer(f"smtp://127.0.0.1:{server.port}?starttls=require", SENDER).send(MAIL)
    assert not server.mails


async def test_a_server_with_a_certificate_of_nobody_gets_no_mail(tls: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    async with smtp_server(tls=tls[0]) as server:
        with pytest.raises(Unavailable):
            await SmtpMailer(f"smtp://127.0.0.1:{server.port}?starttls=require", SENDER).send(MAIL)
    assert not server.mails


async def test_refused_credentials_do_not_cost_a_mail(tls: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    async with smtp_server({"AUTH": "535 no"}, tls=tls[0]) as server:
        with pytest.raises(Unavailable):
            await SmtpMailer(f"smtp://u:p@127.0.0.1:{server.port}?starttls=require", SENDER, tls=tls[1]).send(MAIL)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://mail.example.com",
        "smtp://",
        "smtp://mail.example.com?starttls=maybe",
        "smtp://mail.example.com?tls=1",
        "smtp://mail.example.com/path",
        "smtp://user:password@mail.example.com",
    ],
)
def test_a_url_that_cannot_be_meant_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(ValueError, match="FLUENTPRO_SMTP_URL") as refused:
        SmtpMailer(url, SENDER)
    assert "user:password@mail" not in str(refused.value)


def files_in(folder: Path) -> list[Path]:
    return list(folder.iterdir())


@pytest.mark.parametrize("sender", ["", "FluentPro", "FluentPro <>"])
def test_a_sender_without_an_address_is_refused(sender: str) -> None:
    with pytest.raises(ValueError, match="FLUENTPRO_MAIL_FROM"):
        SmtpMailer("smtp://127.0.0.1", sender)


@pytest.mark.parametrize(
    "mail",
    [
        msgspec.structs.replace(MAIL, subject="Hello\nBcc: eve@example.com"),
        msgspec.structs.replace(MAIL, to_name="Ana\r\nBcc: eve@example.com"),
        msgspec.structs.replace(MAIL, to="ana@example.com\nBcc: eve@example.com"),
        msgspec.structs.replace(MAIL, to="ana@example.com, eve@example.com"),
        msgspec.structs.replace(MAIL, message_id="a@b>\nBcc: eve@example.com"),
        msgspec.structs.replace(MAIL, message_id="../a@b"),
        msgspec.structs.replace(MAIL, message_id="a@b/../c"),
        msgspec.structs.replace(MAIL, message_id=".a@b"),
        msgspec.structs.replace(MAIL, message_id="welcome"),
        msgspec.structs.replace(MAIL, message_id="a" * 300 + "@b"),
    ],
)
async def test_a_value_cannot_leave_its_header_or_the_folder(mail: Mail, tmp_path: Path) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the library's own, in several wordings
        await FolderMailer(tmp_path / "mail", SENDER).send(mail)
    assert files_in(tmp_path) == []


async def test_a_mail_in_the_folder_is_readable_as_it_lies_there(tmp_path: Path) -> None:
    with structlog.testing.capture_logs() as logs:
        await FolderMailer(tmp_path / "data" / "mail", SENDER).send(MAIL)
    path = tmp_path / "data" / "mail" / f"{MAIL.message_id}.eml"
    assert path.read_text("utf-8").endswith(MAIL.text)
    mail = email.message_from_bytes(path.read_bytes(), EmailMessage, policy=email.policy.default)
    assert mail["To"].addresses[0].display_name == MAIL.to_name
    assert (mail["Subject"], mail["Message-ID"]) == (MAIL.subject, f"<{MAIL.message_id}>")
    assert mail.get_content() == MAIL.text
    assert logs == [{"event": "mail.written", "path": str(path), "log_level": "info"}]


async def test_a_mail_in_the_folder_is_for_its_owner_only(tmp_path: Path) -> None:
    await FolderMailer(tmp_path, SENDER).send(MAIL)
    assert (tmp_path / f"{MAIL.message_id}.eml").stat().st_mode & 0o077 == 0


async def test_the_same_mail_again_is_one_file_untouched(tmp_path: Path) -> None:
    mailer = FolderMailer(tmp_path, SENDER)
    await mailer.send(MAIL)
    (path,) = files_in(tmp_path)
    os.utime(path, (0, 0))
    await mailer.send(MAIL)
    assert files_in(tmp_path) == [path]
    assert path.stat().st_mtime == 0


async def test_the_same_mail_at_once_is_one_whole_file(tmp_path: Path) -> None:
    mailer = FolderMailer(tmp_path, SENDER)
    await asyncio.gather(*(mailer.send(MAIL) for _ in range(20)))
    (path,) = files_in(tmp_path)
    assert email.message_from_bytes(path.read_bytes(), EmailMessage, policy=email.policy.default).get_content() == MAIL.text


async def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "mail").write_text("a file")
    with pytest.raises(OSError, match="mail"):
        await FolderMailer(tmp_path / "mail", SENDER).send(MAIL)
