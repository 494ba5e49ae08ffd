"""Settings: ``privguard.toml``, any key also as ``PRIVGUARD_SECTION__KEY``; unknown keys are errors."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Final, Literal, cast, get_args
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from privguard.errors import ConfigError

DEFAULT_STORE = "sqlite+aiosqlite:///privguard.db"
DEFAULT_KEYS = "keys.json"
DEFAULT_SIGNER_STATE = "signer.state"
DEFAULT_LOOK_BACK = "look-back"


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

    name: str = Field(
        pattern=r"^[a-z][a-z0-9_-]{0,31}$",
        description="the CRM's name in the log: small letters, digits, _ or -, 32 at most",
    )
    upstream: str = Field(
        pattern=r"^https?://[^/?#\s]+$",
        description="scheme://host:port of the CRM, without a path: requests keep theirs",
    )
    policy: Path = Field(description="file of the policy")
    tls: TlsSettings = TlsSettings()
    headers: dict[str, str] = Field(default_factory=dict, description="request headers added upstream")
    credentials: Literal["forward"] | OwnCredentials = Field(
        "forward",
        description="whose credentials the CRM sees: the caller's, or the gateway's ({header, from_file})",
    )


class ClaimSettings(Section):
    """[identity.jwt.claims]: paths of claims."""

    id: str = Field("sub", description="the actor's id")
    roles: str = Field("roles", description="the actor's roles")
    branch: str = Field("branch", description="the actor's branch")
    client_id: str | None = Field(
        None, description="claim with the actor's own client id; not OAuth's `client_id`, an application"
    )
    tenant: str = Field(
        "tenant", description="the actor's tenant; the same for all where there is no such claim"
    )
    attributes: dict[str, str] = Field(
        default_factory=lambda: {"training": "training"},
        description="attribute = claim path: what conditions may read as subject.ATTRIBUTE",
    )
    acr: str = Field("acr", description="how strongly the actor authenticated, in the issuer's words")
    amr: str = Field("amr", description="by which factors (RFC 8176)")
    auth_time: str = Field("auth_time", description="when, in seconds since the epoch")


class LoginSettings(Section):
    """[identity.jwt.login]: staff sign in to the gateway's own pages at the issuer (OpenID Connect)."""

    client_id: str = Field(description="what the issuer knows the gateway by")
    client_secret: Path | None = Field(
        None, description="file with the secret, 0600; none for a public client, which PKCE alone protects"
    )
    public_url: str = Field(
        pattern=r"^https?://[^/?#\s]+$", description="scheme://host:port that browsers reach the gateway by"
    )
    scope: str = Field("openid profile", description="what is asked of the issuer")


class JwtSettings(Section):
    """[identity.jwt]"""

    issuer: str = Field(description="the `iss` that tokens must have")
    audience: str = Field(description="the `aud` that tokens must have")
    jwks: str = Field(description="file or https URL of the issuer's key set")
    claims: ClaimSettings = ClaimSettings()
    multi_factor: tuple[str, ...] = Field(
        ("mfa", "pwd+otp", "pwd+hwk", "pwd+fpt"),
        description="acr or amr values, or amr combinations, that mean more than one factor (RFC 8176)",
    )
    phishing_resistant: tuple[str, ...] = Field(
        ("hwk", "fido", "phr"), description="acr or amr values that mean a phishing-resistant factor"
    )
    login: LoginSettings | None = Field(None, description="sign-in to the gateway's own pages")


class ProxySettings(Section):
    """[identity.proxy]"""

    hmac_key: Path = Field(description="file with the shared key, 0600")
    max_skew: int = Field(30, ge=1, le=300, description="seconds an assertion may be old or ahead")


class WhoAmISettings(Section):
    """[identity.upstream]: the CRM itself says who holds a token or cookie."""

    whoami: str = Field(description="path of the CRM's who-am-I route")
    credentials: tuple[str, ...] = Field(
        ("authorization",), description="header names, and cookie names as cookie:NAME"
    )
    id: str = Field("id", description="path in the answer of the actor's id")
    roles: str = Field("roles", description="path of the actor's roles")
    branch: str = Field("branch", description="path of the actor's branch")
    client_id: str = Field("client_id", description="path of the actor's own client id")
    attributes: dict[str, str] = Field(
        default_factory=lambda: {"training": "training"},
        description="attribute = path: what conditions may read as subject.ATTRIBUTE",
    )
    cache_seconds: int = Field(
        10, ge=0, le=300, description="how long an answer counts: a log-out is noticed after that time"
    )


class DemoAccount(Section):
    """[[identity.demo]]: a made-up member of staff; the token is no secret, it stands in this file."""

    token: str = Field(min_length=16, description="the bearer token of this account")
    id: str = Field(description="the actor's id")
    roles: tuple[str, ...] = Field((), description="the actor's roles")
    branch: str | None = Field(None, description="the actor's branch")
    client_id: str | int | None = Field(None, description="the actor's own client id")
    training: dict[str, str] = Field(default_factory=dict, description="course = date of the last completion")


class IdentitySettings(Section):
    """[identity]"""

    mode: Literal["jwt", "proxy", "upstream", "demo"] = Field("jwt", description="who vouches for the actor")
    jwt: JwtSettings | None = Field(None, description="an issuer's tokens")
    proxy: ProxySettings | None = Field(None, description="a reverse proxy's signed assertions")
    upstream: WhoAmISettings | None = Field(None, description="the CRM's own who-am-I route")
    demo: tuple[DemoAccount, ...] = Field((), description="made-up accounts")


class DirectorySettings(Section):
    """[directory]"""

    required: bool = Field(
        default=False,
        description="refuse whoever is not in the staff directory; roles, branch and training are then its",
    )


class StoreSettings(Section):
    """[store]"""

    url: str = Field(DEFAULT_STORE, description="SQLAlchemy URL of the log's database")


class WitnessSettings(Section):
    """[[audit.witnesses]]: who cosigns checkpoints."""

    url: str = Field(pattern=r"^https?://[^\s]+$", description="the witness's submission prefix")
    key: str = Field(description="its public key, as `privguard witness keys` says it (C2SP vkey)")


class RetentionSettings(Section):
    """[audit.retention]: days after which `privguard audit prune` may seal entries; without, they stay."""

    disclosures: int | None = Field(None, ge=1, description="days that accesses to clients' records stay")
    administration: int | None = Field(
        None, ge=1, description="days that holds, erasures and other acts of oversight stay"
    )
    other: int | None = Field(
        None, ge=1, description="days that all else stays: looks at the trail, sign-ins"
    )


class TimestampSettings(Section):
    """[audit.timestamps]: an authority says when checkpoints were there (RFC 3161)."""

    url: str = Field(description="where the authority answers, http or https")
    roots: Path = Field(description="PEM file with the certificates that lead to the authority's")
    interval_s: int = Field(3_600, ge=1, description="seconds from one stamp to the next")


class AuditSettings(Section):
    """[audit]"""

    origin: str = Field("privguard.invalid/log", description="name of the log in receipts and checkpoints")
    deadline_ms: int = Field(2_000, ge=10, description="how long an answer may wait for its record")
    signing_keys: Path | None = Field(
        None, description="file with the keys that sign checkpoints, 0600; without it the log is unsigned"
    )
    signer_state: Path = Field(
        Path(DEFAULT_SIGNER_STATE),
        description="file of what was signed last; keep it apart from the database",
    )
    statement_signer: Path | None = Field(
        None, description="PEM file with the key and certificate that sign clients' statements, 0600"
    )
    witnesses: tuple[WitnessSettings, ...] = Field((), description="who cosigns checkpoints")
    operators: tuple[str, ...] = Field(
        (), description="public keys of those who may sign a recovery, two of them each"
    )
    witness_quorum: int | None = Field(
        None, ge=0, description="how many must have cosigned a checkpoint before it is shown; all by default"
    )
    timestamps: TimestampSettings | None = Field(
        None, description="who stamps checkpoints; needs the extra timestamps"
    )
    retention: RetentionSettings = RetentionSettings()


class Pkcs11Settings(Section):
    """[keys.pkcs11]: a security module keeps the wrapping keys."""

    module: str = Field(description="file of the module's PKCS#11 library")
    token: str = Field(description="label of the token")
    pin_file: Path = Field(description="file with the token's user PIN, 0600")


class KeySettings(Section):
    """[keys]"""

    provider: Literal["file", "pkcs11"] = Field("file", description="where wrapping keys are kept")
    file: Path = Field(Path(DEFAULT_KEYS), description="the key file, 0600")
    pkcs11: Pkcs11Settings | None = Field(None, description="the security module, for provider = pkcs11")


class SenderSettings(Section):
    """[stepup.sender], [alerts]: what delivers messages; one of ``file``, ``url`` and ``apprise``."""

    file: Path | None = Field(None, description="file that codes are written to, 0600: for demos and tests")
    url: str | None = Field(
        None, description="a service of yours that codes are posted to: https, or http on loopback"
    )
    secret: Path | None = Field(
        None, description="file with the secret that such posts are signed with, 0600"
    )
    apprise: Path | None = Field(
        None, description="file with an Apprise URL in which {address} stands for the recipient, 0600"
    )


class AlertSettings(SenderSettings):
    """[alerts]: as ``[stepup.sender]``, and ``syslog`` beside it or alone."""

    syslog: str | None = Field(
        None, description="a collector that alerts are sent to as well: udp://, tcp:// or tls://host:port"
    )
    ca: Path | None = Field(
        None, description="certificates that a tls:// collector is trusted by; the system's without it"
    )


class AttestationSettings(Section):
    """[stepup.attestation]: the makes of security keys that count, their makers vouching for each key."""

    roots: Path = Field(description="PEM file with the makers' root certificates")
    aaguids: tuple[UUID, ...] = Field(
        min_length=1, description="the makes, each as 2fc0579f-8113-47ea-b116-bb5a8db9202a"
    )


class StepUpSettings(Section):
    """[stepup]"""

    profile: Literal["nist-aal2", "nist-aal3", "pci", "psd2", "cn-mlps3"] = Field(
        "nist-aal2", description="how strong factors must be, and how often one may be tried"
    )
    factors: tuple[Literal["totp", "webauthn", "code", "recovery"], ...] = Field(
        ("totp", "webauthn", "recovery"), description="kinds in use, as far as the profile has them"
    )
    grant_ttl: int = Field(300, ge=10, le=86_400, description="seconds a grant holds whose rule sets none")
    grant_reads: int = Field(10, ge=1, le=10_000, description="answers such a grant gives")
    public_url: str = Field(
        "",
        pattern=r"^(https?://[^/?#\s]+)?$",
        description="scheme://host:port that browsers reach the gateway by; security keys are bound to it",
    )
    reset_role: str = Field("", description="role of who approves that somebody's factors are reset")
    sender: SenderSettings | None = Field(None, description="what delivers one-time codes")
    attestation: AttestationSettings | None = Field(
        None, description="the makes of security keys that count; any, where it is not set"
    )


class AnomalySettings(Section):
    """[anomaly]"""

    history_days: int = Field(
        35, ge=1, le=400, description="days of the log that a worker goes by; it reads them as it starts"
    )
    excuse_role: str = Field(
        "", description="role of who approves that something counts as expected of somebody for a while"
    )
    look_back_at: str = Field(
        "",
        pattern=r"^(([01][0-9]|2[0-3]):[0-5][0-9])?$",
        description="time of day (UTC, 02:30) at which `serve` looks back over the log; empty: never",
    )
    look_back_budget: int = Field(
        5, ge=1, le=1000, description="findings of such a look back a day, at most, that are in no open case"
    )
    look_back_role: str = Field("", description="role that [alerts] tells of what a look back found")
    look_back_file: Path = Field(
        Path(DEFAULT_LOOK_BACK),
        description="beginning of the names of the files with what a look back has read, one a tenant, 0600",
    )
    work_secret: Path | None = Field(
        None, description="file with the secret by which the CRM signs what work there is with clients, 0600"
    )


class ZoneSettings(Section):
    """[[zones]]: where callers are, for rules that require it."""

    name: str = Field(min_length=1, description="what policies call it")
    networks: tuple[str, ...] = Field(min_length=1, description="addresses and networks (10.0.0.0/8)")


class Settings(BaseSettings):
    """All of ``privguard.toml``."""

    model_config = SettingsConfigDict(
        env_prefix="PRIVGUARD_", env_nested_delimiter="__", extra="forbid", frozen=True
    )

    gateway: GatewaySettings = GatewaySettings()
    systems: Annotated[
        tuple[SystemSettings, ...],
        Field(min_length=1, max_length=1, description="one [[systems]] table: a gateway guards one CRM"),
    ]
    identity: IdentitySettings = IdentitySettings()
    directory: DirectorySettings = DirectorySettings()
    store: StoreSettings = StoreSettings()
    audit: AuditSettings = AuditSettings()
    keys: KeySettings = KeySettings()
    stepup: StepUpSettings = StepUpSettings()
    anomaly: AnomalySettings = AnomalySettings()
    alerts: AlertSettings | None = Field(
        None, description="what brings messages to roles: alerts, and requests that they may approve"
    )
    zones: Annotated[tuple[ZoneSettings, ...], Field(description="network zones")] = ()

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
        def environment() -> dict[str, Any]:
            return _by_index(env_settings(), init_settings())

        return cast("PydanticBaseSettingsSource", environment), init_settings  # any callable is a source


def _by_index(environment: dict[str, Any], file: dict[str, Any]) -> dict[str, Any]:
    """The environment's settings, one of a list's tables (``SYSTEMS__0__NAME``) over the file's."""
    for name, given in environment.items():
        tables = file.get(name)
        if isinstance(tables, list) and isinstance(given, dict) and all(map(str.isdecimal, given)):
            merged = dict(enumerate(tables))
            for index, table in given.items():
                merged[int(index)] = _over(merged.get(int(index), {}), table)
            environment[name] = [merged[index] for index in sorted(merged)]
    return environment


def _over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Both tables in one; what ``above`` has, counts."""
    both = {
        key
        for key in above.keys() & below.keys()
        if isinstance(above[key], dict) and isinstance(below[key], dict)
    }
    return {**below, **above, **{key: _over(below[key], above[key]) for key in both}}


def load_settings(file: Path) -> Settings:
    """Reads the file and the environment; relative paths are taken from the file's folder.

    Raises:
        ConfigError: names file, line and column where there is one, the key, and the mend.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}. Write one with `privguard init DIR`.") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{file}: the file is not UTF-8. Save it anew in that encoding.") from None
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file}: {error}") from None
    tree.setdefault("store", {}).setdefault("url", DEFAULT_STORE)
    tree.setdefault("keys", {}).setdefault("file", DEFAULT_KEYS)
    tree.setdefault("audit", {}).setdefault("signer_state", DEFAULT_SIGNER_STATE)
    tree.setdefault("anomaly", {}).setdefault("look_back_file", DEFAULT_LOOK_BACK)
    _anchor(tree, file.resolve().parent)
    if stray := sorted(name for name in _environment() if name.split("__")[0] not in Settings.model_fields):
        raise ConfigError(f"environment: PRIVGUARD_{stray[0].upper()} is not a setting. Unset it.")
    try:
        settings = Settings(**tree)
    except ValidationError as error:
        raise ConfigError("\n".join(_explain(file, text, error.errors()))) from None
    except SettingsError:  # its message is about the machinery
        raise ConfigError(
            "environment: a PRIVGUARD_ variable does not parse. Lists and tables are JSON: "
            "PRIVGUARD_GATEWAY__TRUSTED_PROXIES='[\"10.0.0.1\"]'."
        ) from None
    if settings.identity.mode != "demo" and getattr(settings.identity, settings.identity.mode) is None:
        raise ConfigError(
            f"{file}: [identity] mode is {settings.identity.mode!r}: add [identity.{settings.identity.mode}]"
        )
    if settings.keys.provider == "pkcs11" and settings.keys.pkcs11 is None:
        raise ConfigError(f"{file}: [keys] provider is 'pkcs11': add [keys.pkcs11]")
    return settings


def json_schema() -> dict[str, Any]:
    """JSON Schema of the file, as ``privguard.schema.json``."""
    return Settings.model_json_schema()


_PREFIX: Final = "PRIVGUARD_"
_BRANCHES: Final = ("literal['forward']", OwnCredentials.__name__)
"""What a union adds to the place of an error."""
_TABLE: Final = re.compile(r"[ \t]*(\[\[?)[ \t]*([\w.-]+)[ \t]*\]")
_KEY: Final = re.compile(r"[ \t]*([\w.-]+)[ \t]*=")
Place = tuple[str | int, ...]


def _environment() -> set[str]:
    """The environment's settings, as ``section__key``."""
    return {name[len(_PREFIX) :].lower() for name in os.environ if name.upper().startswith(_PREFIX)}


def _explain(file: Path, text: str, errors: Sequence[Any]) -> Iterator[str]:
    """Each validation error with the line its key stands on; without the value, which may be a secret."""
    found: dict[Place, Any] = {}
    for error in errors:
        found.setdefault(tuple(part for part in error["loc"] if part not in _BRANCHES), error)
    for place, error in found.items():
        if any(other != place and other[: len(place)] == place for other in found):
            continue  # it follows from what is wrong below
        yield f"{_where(file, text, place)}: {_said(place, error)}"


def _said(place: Place, error: Any) -> str:
    name, known = _named(place), _known(place[:-1])
    setting = known.get(str(place[-1]))
    means = setting.description if setting is not None and setting.description else ""
    match error["type"]:
        case "extra_forbidden":
            close = get_close_matches(str(place[-1]), known, n=1)
            mend = f"Did you mean {close[0]}?" if close else "Take it out."
            return f"{name} is not a setting. {mend} All settings: docs/reference/configuration.md."
        case "missing":
            return f"{name} is missing: {means}."
        case "string_pattern_mismatch":
            return f"{name} does not fit: {means}."
    return f"{name}: {error['msg']}" + (f" ({means})" if means else "")


def _named(place: Place) -> str:
    """A place as the file has it: ``[gateway] listen``, ``[[systems]] upstream``."""
    tables = ".".join(part for part in place[:-1] if isinstance(part, str))
    if isinstance(place[-2] if len(place) > 1 else None, int):
        return f"[[{tables}]] {place[-1]}"
    return f"[{tables}] {place[-1]}" if tables else str(place[-1])


def _known(place: Place) -> Mapping[str, FieldInfo]:
    """The settings of a table."""
    known: Mapping[str, FieldInfo] = Settings.model_fields
    for part in place:
        if isinstance(part, str):
            table = _table(known[part].annotation) if part in known else None
            known = table.model_fields if table is not None else {}
    return known


def _table(kind: object) -> type[BaseModel] | None:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return kind
    return next((table for part in get_args(kind) if (table := _table(part)) is not None), None)


def _where(file: Path, text: str, place: Place) -> str:
    """``file:line:1`` of a key, or of the table around it; or the environment's variable."""
    variable = "__".join(str(part) for part in place).lower()
    if variable in _environment():
        return f"environment {_PREFIX}{variable.upper()}"
    best, line = 0, 0
    for number, path in _paths(text):
        if best < len(path) and path == place[: len(path)]:
            best, line = len(path), number
    return f"{file}:{line}:1" if line else str(file)


def _paths(text: str) -> Iterator[tuple[int, Place]]:
    """Every table's and key's line and place, tables of an array counted from 0."""
    counts: dict[Place, int] = {}
    here: Place = ()
    for number, line in enumerate(text.splitlines(), start=1):
        if table := _TABLE.match(line):
            here = ()
            names = table[2].split(".")
            for position, name in enumerate(names, start=1):
                here = (*here, name)
                if table[1] == "[[" and position == len(names):
                    counts[here] = counts.get(here, -1) + 1
                if here in counts:
                    here = (*here, counts[here])
            yield number, here
        elif key := _KEY.match(line):
            yield number, (*here, *key[1].split("."))


def _anchor(tree: dict[str, Any], folder: Path) -> None:
    """Makes relative paths absolute below the file's folder, in place; shapes are checked afterwards."""
    for place, name in _files(Settings):
        for table in _tables(tree, place):
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


_EITHER: Final = frozenset({"jwks", "module"})
"""Settings that are text and may name a file."""


def _files(model: type[BaseModel], place: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Every setting that names a file: its tables, and its name."""
    for name, setting in model.model_fields.items():
        if name in _EITHER or Path in (setting.annotation, *get_args(setting.annotation)):
            yield place, name
        if (table := _table(setting.annotation)) is not None:
            yield from _files(table, (*place, name))
