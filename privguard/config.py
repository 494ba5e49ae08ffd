"""Settings: ``privguard.toml``, any key also as ``PRIVGUARD_SECTION__KEY``; unknown keys are errors."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from privguard.errors import ConfigError

DEFAULT_STORE = "sqlite+aiosqlite:///privguard.db"
DEFAULT_KEYS = "keys.json"


class Section(BaseModel):
    """A table of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class GatewaySettings(Section):
    """[gateway]"""

    listen: str = Field("127.0.0.1:8080", description="host:port to listen on")
    mode: Literal["enforce", "observe"] = Field(
        "enforce", description="observe changes nothing and records everything as it would have been"
    )
    trusted_proxies: tuple[str, ...] = Field((), description="addresses whose X-Forwarded-For is believed")
    max_body: int = Field(1_048_576, ge=1024, description="bytes; larger answers are streamed in parts")
    max_request_body: int = Field(1_048_576, ge=0, description="bytes a governed write may have")
    deadline_ms: int = Field(30_000, ge=100, description="how long the upstream may take to begin its answer")
    query_forms: bool = Field(
        default=False, description="accept _purpose and _reveal as query parameters; never forwarded"
    )


class TlsSettings(Section):
    """[systems.tls]"""

    ca: Path | None = Field(
        None, description="PEM file of the authorities the upstream's certificate is held against"
    )
    client_cert: Path | None = Field(
        None, description="PEM file with the certificate and key shown to the upstream"
    )


class OwnCredentials(Section):
    """Credentials of the gateway itself, so that staff never hold the CRM's."""

    header: str = Field(description="request header that carries them, e.g. authorization")
    from_file: Path = Field(description="file with the header's value, 0600")


class SystemSettings(Section):
    """[[systems]]: a CRM that is guarded."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_-]{0,31}$")
    upstream: str = Field(pattern=r"^https?://[^/?#\s]+$", description="scheme://host:port of the CRM")
    policy: Path
    tls: TlsSettings = TlsSettings()
    headers: dict[str, str] = Field(default_factory=dict, description="request headers added upstream")
    credentials: Literal["forward"] | OwnCredentials = Field(
        "forward", description="whose credentials the CRM sees: the caller's own, or the gateway's"
    )


class ClaimSettings(Section):
    """[identity.jwt.claims]: paths of claims."""

    id: str = "sub"
    roles: str = "roles"
    branch: str = "branch"
    client_id: str | None = Field(
        None, description="claim with the actor's own client id; not OAuth's `client_id`, an application"
    )
    tenant: str = "tenant"
    attributes: dict[str, str] = Field(
        default_factory=lambda: {"training": "training"}, description="attribute = claim path"
    )


class JwtSettings(Section):
    """[identity.jwt]"""

    issuer: str
    audience: str
    jwks: str = Field(description="file or https URL of the issuer's key set")
    claims: ClaimSettings = ClaimSettings()
    multi_factor: tuple[str, ...] = Field(
        ("mfa", "pwd+otp", "pwd+hwk", "pwd+fpt"),
        description="acr or amr values, or amr combinations, that mean more than one factor (RFC 8176)",
    )
    phishing_resistant: tuple[str, ...] = Field(("hwk", "fido", "phr"), description="acr or amr values")


class ProxySettings(Section):
    """[identity.proxy]"""

    hmac_key: Path = Field(description="file with the shared key, 0600")
    max_skew: int = Field(30, ge=1, le=300, description="seconds")


class WhoAmISettings(Section):
    """[identity.upstream]: the CRM itself says who holds a token or cookie."""

    whoami: str = Field(description="path of the CRM's who-am-I route")
    credentials: tuple[str, ...] = Field(
        ("authorization",), description="header names, and cookie names as cookie:NAME"
    )
    id: str = Field("id", description="path in the answer")
    roles: str = "roles"
    branch: str = "branch"
    client_id: str = "client_id"
    attributes: dict[str, str] = Field(default_factory=lambda: {"training": "training"})
    cache_seconds: int = Field(10, ge=0, le=300)


class DemoAccount(Section):
    """[[identity.demo]]: a made-up member of staff; the token is no secret, it stands in this file."""

    token: str = Field(min_length=16)
    id: str
    roles: tuple[str, ...] = ()
    branch: str | None = None
    client_id: str | int | None = None
    training: dict[str, str] = Field(default_factory=dict, description="course = date of the last completion")


class IdentitySettings(Section):
    """[identity]"""

    mode: Literal["jwt", "proxy", "upstream", "demo"] = "jwt"
    jwt: JwtSettings | None = None
    proxy: ProxySettings | None = None
    upstream: WhoAmISettings | None = None
    demo: tuple[DemoAccount, ...] = ()


class StoreSettings(Section):
    """[store]"""

    url: str = Field(DEFAULT_STORE, description="SQLAlchemy URL")


class AuditSettings(Section):
    """[audit]"""

    origin: str = Field("privguard.invalid/log", description="name of the log in receipts and checkpoints")
    deadline_ms: int = Field(2_000, ge=10, description="how long an answer may wait for its record")


class KeySettings(Section):
    """[keys]"""

    provider: Literal["file"] = "file"
    file: Path = Path(DEFAULT_KEYS)


class Settings(BaseSettings):
    """All of ``privguard.toml``."""

    model_config = SettingsConfigDict(
        env_prefix="PRIVGUARD_", env_nested_delimiter="__", extra="forbid", frozen=True
    )

    gateway: GatewaySettings = GatewaySettings()
    systems: Annotated[tuple[SystemSettings, ...], Field(min_length=1, max_length=1)]
    identity: IdentitySettings = IdentitySettings()
    store: StoreSettings = StoreSettings()
    audit: AuditSettings = AuditSettings()
    keys: KeySettings = KeySettings()

    @property
    def system(self) -> SystemSettings:
        """The guarded system: one gateway process guards one."""
        return self.systems[0]

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return env_settings, init_settings


def load_settings(file: Path) -> Settings:
    """Reads the file and the environment; relative paths are taken from the file's folder.

    Raises:
        ConfigError: names file, line and column where there is one, the key, and the mend.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}. Write one with `privguard init DIR`.") from None
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file}: {error}") from None
    tree.setdefault("store", {}).setdefault("url", DEFAULT_STORE)
    tree.setdefault("keys", {}).setdefault("file", DEFAULT_KEYS)
    _anchor(tree, file.resolve().parent)
    try:
        settings = Settings(**tree)
    except ValidationError as error:
        raise ConfigError("\n".join(_explain(file, text, e) for e in error.errors())) from None
    if settings.identity.mode != "demo" and getattr(settings.identity, settings.identity.mode) is None:
        raise ConfigError(
            f"{file}: [identity] mode is {settings.identity.mode!r}: add [identity.{settings.identity.mode}]"
        )
    return settings


def json_schema() -> dict[str, Any]:
    """JSON Schema of the file, as ``privguard.schema.json``."""
    return Settings.model_json_schema()


def _explain(file: Path, text: str, error: Any) -> str:
    """One validation error with the line its key stands on; without the value, which may be a secret."""
    keys = [str(part) for part in error["loc"]]
    name = ".".join(keys)
    leaf = next((k for k in reversed(keys) if not k.isdigit()), "")
    found = re.search(rf"^[ \t]*(\[+[\w.]*\b)?{re.escape(leaf)}\b", text, re.MULTILINE)
    where = f"{file}:{text.count(chr(10), 0, found.start()) + 1}:1" if found else str(file)
    if error["type"] == "extra_forbidden":
        return f"{where}: {name} is not a setting. Take it out, or see docs/reference/configuration.md."
    return f"{where}: {name}: {error['msg']}"


def _anchor(tree: dict[str, Any], folder: Path) -> None:
    """Makes relative paths absolute below the file's folder, in place; shapes are checked afterwards."""
    for place, names in _PATHS:
        for table in _tables(tree, place):
            for name in names:
                value = table.get(name)
                if isinstance(value, str) and "://" not in value:
                    table[name] = str(folder / value)
    store = tree["store"]
    if isinstance(store, dict) and isinstance(url := store.get("url"), str):
        engine, separator, path = url.partition(":///")
        if engine.startswith("sqlite") and separator and not path.startswith(("/", ":")):
            store["url"] = f"{engine}:///{folder / path}"


def _tables(tree: Any, place: tuple[str, ...]) -> list[dict[str, Any]]:
    """The tables that stand at a place, be it a table or an array of tables."""
    found = [tree]
    for key in place:
        below = [table.get(key) for table in found if isinstance(table, dict)]
        found = [item for one in below for item in (one if isinstance(one, list) else [one])]
    return [table for table in found if isinstance(table, dict)]


_PATHS = (
    (("systems",), ("policy",)),
    (("systems", "tls"), ("ca", "client_cert")),
    (("systems", "credentials"), ("from_file",)),
    (("identity", "jwt"), ("jwks",)),
    (("identity", "proxy"), ("hmac_key",)),
    (("keys",), ("file",)),
)
