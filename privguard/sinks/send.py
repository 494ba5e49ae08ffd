"""Hands one-time codes to what delivers them: a file, a service of one's own, or whatever Apprise knows.

No line of a log holds an address or a code (L12): what fails is named by its kind alone.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import http.client
import logging
import os
import stat
import urllib.error
import urllib.request
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

import msgspec

from privguard.config import AlertSettings, SenderSettings
from privguard.errors import CodeNotSentError, ConfigError
from privguard.keystore.keyset_file import read_secret
from privguard.outgoing import DIRECT
from privguard.ports import Clock, CodeSender, Entropy
from privguard.sinks.syslog import SyslogSender

TIMEOUT_S: Final = 5.0
_PREFIX: Final = "whsec_"
_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
_PLACE: Final = "{address}"


def open_sender(
    settings: SenderSettings, clock: Clock, entropy: Entropy, where: str = "[stepup.sender]"
) -> CodeSender:
    """The sender that a section of the configuration names.

    Raises:
        ConfigError: it names none, or two, or what it names cannot be used.
    """
    try:
        return _open(settings, clock, entropy)
    except ConfigError as error:
        raise ConfigError(f"{where} {error.detail}") from None


def open_alert_senders(settings: AlertSettings, clock: Clock, entropy: Entropy) -> list[CodeSender]:
    """The senders of ``[alerts]``: to people, to a collector, or both. Raises as ``open_sender``."""
    senders: list[CodeSender] = []
    if settings.syslog is None or settings.file or settings.url or settings.apprise:
        senders.append(open_sender(settings, clock, entropy, "[alerts]"))
    if settings.syslog is not None:
        senders.append(SyslogSender(settings.syslog, settings.ca, clock))
    return senders


def _open(settings: SenderSettings, clock: Clock, entropy: Entropy) -> CodeSender:
    match (settings.file, settings.url, settings.apprise):
        case (Path() as file, None, None):
            return FileSender(file)
        case (None, str() as url, None):
            if settings.secret is None:
                raise ConfigError("url needs a secret: a file that holds what posts are signed with.")
            return WebhookSender(url, webhook_key(read_secret(settings.secret)), clock, entropy)
        case (None, None, Path() as apprise):
            return AppriseSender(read_secret(apprise).decode("utf-8", "replace").strip())
    raise ConfigError("takes one of file, url and apprise.")


class FileSender:
    """Writes codes to a file, one JSON object a line: for demos and tests.

    Raises:
        ConfigError: the file cannot be written, or others may read it (S15).
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        os.close(self._open())

    def send(self, address: str, text: str, code: str) -> None:
        line = msgspec.json.encode({"address": address, "code": code, "text": text}) + b"\n"
        try:
            descriptor = self._open()
        except ConfigError as error:
            raise CodeNotSentError(error.detail) from None
        try:
            os.write(descriptor, line)
        except OSError as error:
            raise CodeNotSentError(f"The file of codes cannot be written ({error.strerror}).") from None
        finally:
            os.close(descriptor)

    def _open(self) -> int:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            descriptor = os.open(self._path, flags, 0o600)
        except OSError as error:
            raise ConfigError(f"{self._path}: {error.strerror}. Name another file.") from None
        if os.fstat(descriptor).st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            os.close(descriptor)
            raise ConfigError(f"{self._path}: others may read these codes. Run: chmod 600 {self._path}")
        return descriptor


class WebhookSender:
    """Posts codes to a service, signed as Standard Webhooks 1.0 has it (standardwebhooks.com).

    Args:
        url: https, or http on loopback: whoever reads the post can use the code.
        key: shared with the service; see ``webhook_key``.

    Raises:
        ConfigError: the URL is another.
    """

    def __init__(self, url: str, key: bytes, clock: Clock, entropy: Entropy) -> None:
        parts = urlsplit(url)
        if parts.scheme != "https" and (parts.scheme != "http" or parts.hostname not in _LOOPBACK):
            raise ConfigError("url must be https, or http on loopback.")
        self._url = url
        self._key = key
        self._clock = clock
        self._entropy = entropy

    def send(self, address: str, text: str, code: str) -> None:
        now_s = self._clock.now_us() // 1_000_000
        message = f"msg_{self._entropy.token(16).hex()}"
        body = msgspec.json.encode(
            {
                "type": "stepup.code" if code else "privguard.alert",
                "timestamp": datetime.fromtimestamp(now_s, UTC).isoformat(),
                "data": {"address": address, "code": code, "text": text},
            }
        )
        headers = {
            "Content-Type": "application/json",
            "Webhook-Id": message,
            "Webhook-Timestamp": str(now_s),
            "Webhook-Signature": webhook_signature(self._key, message, now_s, body),
        }
        try:
            with DIRECT.open(
                urllib.request.Request(self._url, body, headers),  # noqa: S310  # its scheme was checked
                timeout=TIMEOUT_S,
            ):
                return
        except urllib.error.HTTPError as refusal:
            refusal.close()
            cause = f"answered {refusal.code}"
        except (OSError, ValueError, http.client.HTTPException) as error:
            cause = f"does not answer ({type(error).__name__})"
        raise CodeNotSentError(f"What delivers codes {cause}: ask again in a while, or use another factor.")


class AppriseSender:
    """Sends codes by a service that Apprise knows: e-mail, text message, DingTalk, Feishu, WeCom and others.

    Args:
        template: an Apprise URL with ``{address}`` where the recipient stands.

    Raises:
        ConfigError: it has no such place, or Apprise is not installed.
    """

    def __init__(self, template: str) -> None:
        if _PLACE not in template:
            raise ConfigError(f"apprise: the URL has no {_PLACE} where the recipient stands.")
        try:
            self._apprise: Any = import_module("apprise")
        except ImportError:
            raise ConfigError("apprise: `pip install 'privguard[notify]'`.") from None
        self._template = template
        for name in ("apprise", "urllib3.connectionpool"):
            logging.getLogger(name).disabled = True  # L12: they log codes, recipients, and URLs with tokens

    def send(self, address: str, text: str, code: str) -> None:
        if not address.isprintable():
            raise CodeNotSentError("The address cannot be sent to: enrol it anew.")
        url = self._template.replace(_PLACE, quote(address, safe=""))
        try:
            asset = self._apprise.AppriseAsset(app_id="privguard", async_mode=False)
            service = self._apprise.Apprise(asset=asset)
            if service.add(url) and service.notify(body=text):
                return
        except Exception:  # noqa: BLE001, S110  # a plugin's errors may quote the recipient
            pass
        raise CodeNotSentError("What delivers codes did not take it: ask again, or use another factor.")


def webhook_key(secret: bytes) -> bytes:
    """The key in a secret as Standard Webhooks writes it: ``whsec_`` and 24 to 64 bytes in base64.

    Raises:
        ConfigError: it is none.
    """
    try:
        text = secret.decode("ascii").strip()
        key = base64.b64decode(text.removeprefix(_PREFIX), validate=True)
        if text.startswith(_PREFIX) and 24 <= len(key) <= 64:
            return key
    except (UnicodeDecodeError, binascii.Error):
        pass
    raise ConfigError(
        "secret must be whsec_ and 24 to 64 random bytes in base64: "
        '`printf "whsec_%s" "$(openssl rand -base64 32)"`.'
    )


def webhook_signature(key: bytes, message: str, now_s: int, body: bytes) -> str:
    """The signature's header over a message's id, its time in seconds and its body."""
    signed = f"{message}.{now_s}.".encode("ascii") + body
    return f"v1,{base64.b64encode(hmac.digest(key, signed, 'sha256')).decode('ascii')}"
