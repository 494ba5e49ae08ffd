from __future__ import annotations

import errno
import json
import logging
import os
import threading
from base64 import b64encode
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from privguard.config import SenderSettings
from privguard.errors import CodeNotSentError, ConfigError
from privguard.ports import CodeSender
from privguard.sinks import send
from privguard.sinks.send import (
    AppriseSender,
    FileSender,
    WebhookSender,
    open_sender,
    webhook_key,
    webhook_signature,
)
from privguard.stepup.one_time import code_text
from privguard.testing import CountingEntropy, FrozenClock

CODE, ADDRESS = "48151623", "+86 138-0013-8000"
TEXT = code_text(CODE, 300)
KEY = bytes(range(32))
SECRET = f"whsec_{b64encode(KEY).decode()}\n".encode()


class Service:
    """A service on loopback that answers as it is told, and keeps what it got."""

    def __init__(self) -> None:
        self.status = 204
        self.over = threading.Event()
        self.got: list[tuple[str, Mapping[str, str], bytes]] = []
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                service.got.append((self.path, dict(self.headers), body))
                if service.status < 0:
                    service.over.wait(5)
                if service.status <= 0:
                    return  # hangs up
                self.send_response(service.status)
                if service.status in (301, 302, 307, 308):
                    self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def do_GET(self) -> None:
                service.got.append((self.path, {}, b""))  # a redirect that was followed

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def service() -> Iterator[Service]:
    one = Service()
    thread = threading.Thread(target=one.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield one
    one.over.set()
    one.server.shutdown()
    one.server.server_close()
    thread.join()


def webhook(service: Service) -> WebhookSender:
    return WebhookSender(f"http://{service.address}/codes", KEY, FrozenClock(), CountingEntropy())


def secret(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    path.chmod(0o600)
    return path


def test_what_is_sent_is_the_code_and_its_minutes_in_both_languages() -> None:
    assert code_text("00000042", 300) == (
        "验证码 00000042，5 分钟内有效，请勿告诉他人。 Code 00000042, valid for 5 minutes. Tell it to nobody."
    )


# -- file -------------------------------------------------------------------------------------------------


def test_s15_a_file_of_codes_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "codes"
    sender = FileSender(path)
    for _ in range(2):
        sender.send(ADDRESS, TEXT, CODE)
    assert path.stat().st_mode & 0o777 == 0o600
    lines = path.read_text().splitlines()
    assert [json.loads(line) for line in lines] == [{"address": ADDRESS, "code": CODE, "text": TEXT}] * 2
    path.chmod(0o640)
    with pytest.raises(CodeNotSentError, match="chmod 600"):
        sender.send(ADDRESS, TEXT, CODE)
    with pytest.raises(ConfigError, match="chmod 600"):
        FileSender(path)
    assert len(path.read_text().splitlines()) == 2


def test_a_file_of_codes_is_no_link_and_no_folder(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for path in (tmp_path / "link", tmp_path, tmp_path / "none" / "codes"):
        with pytest.raises(ConfigError, match="Name another file"):
            FileSender(path)
    assert not (tmp_path / "elsewhere").exists()


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sender = FileSender(tmp_path / "codes")

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(CodeNotSentError, match="No space left"):
        sender.send(ADDRESS, TEXT, CODE)


# -- webhook ----------------------------------------------------------------------------------------------


def test_the_vector_of_standard_webhooks() -> None:
    # standard-webhooks/standard-webhooks (Apache-2.0), test_sign_function of its libraries.
    key = webhook_key(b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    signature = webhook_signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, b'{"test": 2432232314}')
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_service_gets_a_signed_code(service: Service) -> None:
    sender = webhook(service)
    sender.send(ADDRESS, TEXT, CODE)
    sender.send(ADDRESS, TEXT, CODE)
    (path, headers, body), (_, again, _) = service.got
    assert path == "/codes"
    assert json.loads(body) == {
        "type": "stepup.code",
        "timestamp": "2026-01-05T09:00:00+00:00",
        "data": {"address": ADDRESS, "code": CODE, "text": TEXT},
    }
    message, time = headers["Webhook-Id"], int(headers["Webhook-Timestamp"])
    assert headers["Webhook-Signature"] == webhook_signature(KEY, message, time, body)
    assert message != again["Webhook-Id"]


@pytest.mark.parametrize("status", [301, 302, 307, 308, 400, 401, 404, 500, 503, 0])
def test_a_code_that_was_not_taken_is_told_without_quoting(service: Service, status: int) -> None:
    service.status = status
    with pytest.raises(CodeNotSentError) as caught:
        webhook(service).send(ADDRESS, TEXT, CODE)
    assert CODE not in str(caught.value)
    assert ADDRESS not in str(caught.value)
    assert [path for path, _, _ in service.got] == ["/codes"]  # nothing is followed, nothing sent twice


def test_a_service_that_is_not_there_is_told(service: Service) -> None:
    sender = webhook(service)
    service.server.server_close()
    with pytest.raises(CodeNotSentError, match="does not answer"):
        sender.send(ADDRESS, TEXT, CODE)


def test_a_service_that_does_not_answer_in_time_is_told(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    sender, service.status = webhook(service), -1
    monkeypatch.setattr(send, "TIMEOUT_S", 0.1)
    with pytest.raises(CodeNotSentError, match="does not answer"):
        sender.send(ADDRESS, TEXT, CODE)


@pytest.mark.parametrize(
    "url",
    [
        "http://bank.example/codes",
        "http://127.0.0.1@evil.example/",
        "http://localhost.evil.example/",
        "ftp://127.0.0.1/",
        "file:///etc/passwd",
        "//127.0.0.1/",
        "",
    ],
)
def test_codes_go_over_no_open_line(url: str) -> None:
    with pytest.raises(ConfigError, match="https, or http on loopback"):
        WebhookSender(url, KEY, FrozenClock(), CountingEntropy())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b64encode(KEY),
        b"whsec_",
        b"whsec_" + b64encode(bytes(23)),
        b"whsec_" + b64encode(bytes(65)),
        b"whsec_*" + b64encode(KEY),
        b"whsec_\xff",
    ],
)
def test_a_secret_is_of_its_form(data: bytes) -> None:
    with pytest.raises(ConfigError, match="whsec_ and 24 to 64") as caught:
        webhook_key(data)
    assert caught.value.__cause__ is caught.value.__context__ is None
    assert webhook_key(SECRET) == KEY


# -- apprise ----------------------------------------------------------------------------------------------


plugins = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")  # one of Apprise's


@plugins
def test_apprise_sends_to_the_address(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    service.status = 200
    AppriseSender(f"json://{service.address}/{{address}}/?method=post").send(ADDRESS, TEXT, CODE)
    ((path, _, body),) = service.got
    assert json.loads(body)["message"] == TEXT
    assert path == "/+86%20138-0013-8000/"
    assert CODE not in caplog.text
    assert "8000" not in caplog.text


@plugins
@pytest.mark.parametrize("address", ["x/../../y?method=get", "a?to=b&c#d", "a@b:c"])
def test_an_address_does_not_become_part_of_the_url(service: Service, address: str) -> None:
    service.status = 200
    AppriseSender(f"json://{service.address}/to/{{address}}?method=post").send(address, TEXT, CODE)
    ((path, _, _),) = service.got
    assert path.startswith("/to/")
    assert "?" not in path


@plugins
def test_what_apprise_does_not_take_is_told_without_quoting(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    service.status = 500
    for template in (f"json://{service.address}/{{address}}", "nonsense://{address}", "{address}"):
        with pytest.raises(CodeNotSentError) as caught:
            AppriseSender(template).send(ADDRESS, TEXT, CODE)
        assert ADDRESS not in str(caught.value)
        assert caught.value.__cause__ is caught.value.__context__ is None
    with pytest.raises(CodeNotSentError, match="enrol it anew"):
        AppriseSender("json://{address}").send("a\r\nBcc: b", TEXT, CODE)
    assert CODE not in caplog.text
    assert "8000" not in caplog.text


# -- which ------------------------------------------------------------------------------------------------


def test_the_configuration_names_one_sender(tmp_path: Path) -> None:
    def opened(**settings: object) -> CodeSender:
        return open_sender(SenderSettings.model_validate(settings), FrozenClock(), CountingEntropy())

    hook = secret(tmp_path / "hook", SECRET)
    service = secret(tmp_path / "service", b"mailtos://u:p@bank.example?to={address}\n")
    assert isinstance(opened(file=tmp_path / "codes"), FileSender)
    assert isinstance(opened(url="https://bank.example/codes", secret=hook), WebhookSender)
    assert isinstance(opened(apprise=service), AppriseSender)
    for settings, mend in [
        ({}, "one of file, url and apprise"),
        ({"file": tmp_path / "codes", "apprise": service}, "one of file, url and apprise"),
        ({"url": "https://bank.example/codes"}, "needs a secret"),
        ({"url": "https://bank.example/codes", "secret": service}, "whsec_"),
        ({"apprise": hook}, "no {address}"),
    ]:
        with pytest.raises(ConfigError, match=mend):
            opened(**settings)
    for path in (hook, service):
        path.chmod(0o644)
    for settings in ({"url": "https://bank.example/codes", "secret": hook}, {"apprise": service}):
        with pytest.raises(ConfigError, match="others may read"):
            opened(**settings)
