"""The gateway before a real upstream, with a relay between; every answer is held against the seed.

Whatever a test asks, no answer may hold a value that the policies mask or withhold, and every answer is on
record.
"""

import contextlib
import json
import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from tests.door import Answer, Gateway, make_gateway

from . import wire
from .crm import Crm, tell
from .records import CLIENT_COUNT, MANAGERS, NAMES, STAFF, ClientSeed, client_seed
from .relay import Relay, relay

HERE = Path(__file__).parent
WRITTEN = client_seed(CLIENT_COUNT).fields
"""What the clients are made of that tests write to."""
SHOWN_CLEAR = ("name", "branch", "tier")
"""Fields that the policies show in clear to whoever sees the client."""
UPSTREAMS_OWN = (
    "etag",
    "last-modified",
    "accept-ranges",
    "content-range",
    "location",
    "set-cookie",
    "x-powered-by",
    "content-disposition",
)
"""Response headers that must not come through on a governed answer (M06, M08)."""
_FIELD = re.compile(r'(?:^|, )"?([^;"]+)"?;view=')


@dataclass
class Guarded:
    """A guarded upstream; names of staff are keys of `crm.staff`.

    Attributes:
        whoami: path by which the gateway asks who holds a token.
        made: how many clients tests have made, to number them by.
    """

    crm: Crm
    relay: Relay
    gateway: Gateway
    whoami: str
    made: int = field(default=0)

    def ask(self, who: str | None, method: str, target: str, **more: Any) -> Answer:
        """A request through the gateway; `json`, `body` and `headers` as of `Gateway.ask`."""
        answer = self.gateway.ask(who, method, target, **more)
        self.sweep(who, answer)
        self._on_record(who, method, answer)
        return answer

    def get(self, who: str | None, target: str, **more: Any) -> Answer:
        return self.ask(who, "GET", target, **more)

    def records(self, who: str, target: str) -> list[dict[str, Any]]:
        """The records of a list."""
        answer = self.get(who, target)
        assert answer.status == 200, answer
        body = answer.json()
        found: list[dict[str, Any]] = body["items" if "items" in body else "data"]
        return found

    def refuse(self, who: str | None, method: str, target: str, *, as_: str, **more: Any) -> Answer:
        """A request that is refused before the upstream sees it."""
        with self.unasked():
            answer = self.ask(who, method, target, **more)
        assert answer.problem == as_, answer
        return answer

    @contextmanager
    def unasked(self, *methods: str) -> Iterator[None]:
        """Within the block no request of these methods (all, if none is named) reaches the upstream."""
        before = len(self.relay.sent)
        yield
        reached = [line for line in self.relay.requests(before) if line != f"GET {self.whoami}"]
        assert [line for line in reached if not methods or line.partition(" ")[0] in methods] == []

    def upstream(self, who: str, target: str) -> Any:
        """What the upstream itself says: the truth."""
        answer = wire.ask("GET", self.crm.server.url + target, token=self.crm.staff[who].token)
        assert answer.status == 200, answer
        return answer.json()

    def new_client(self, create: str, client_id: str | int, **fields: Any) -> str:
        """Makes a client of `rm` with the last client's values, for a test that writes; gives its id."""
        self.made += 1
        seed = {
            **WRITTEN,
            "name": "新客户",
            "email": f"canary.client.0{self.made}@example.com",
            **fields,
        }
        body = {**seed, "id": client_id, "rm_ids": [self.crm.staff["rm"].id]}
        tell(self.crm.server, "POST", create, body)
        return str(client_id)

    def leaf(self, answer: Answer) -> dict[str, Any]:
        """What is on record of an answer."""
        return self.leaf_at(index_of(answer))

    def leaf_at(self, index: int) -> dict[str, Any]:
        """What stands in the log at an index."""
        database = sqlite3.connect(f"file:{self.gateway.database}?mode=ro", uri=True)
        with contextlib.closing(database):
            ((leaf,),) = database.execute("SELECT leaf FROM event WHERE idx = ?", (index,))
        found: dict[str, Any] = json.loads(leaf)
        return found

    def assert_nothing_kept(self) -> None:
        """No client's value and no credential stands in the gateway's folder: database, WAL, log output."""
        staff = [text for each in self.crm.staff.values() for text in (each.token, each.password)]
        texts = {*everything(), *NAMES, *staff}
        for file in self.gateway.folder.rglob("*"):
            if file.is_file():
                held = file.read_bytes()
                found = [text for text in texts if any(form in held for form in _forms(text))]
                assert found == [], f"{file.name}: {found}"

    def sweep(self, who: str | None, answer: Answer) -> None:
        """No answer holds a value that is masked or withheld, or a header of the upstream's own."""
        held = answer.body + repr(dict(answer.headers)).encode()
        staff = [text for each in self.crm.staff.values() for text in (each.id, each.token)]
        texts = [*everything(), *_names_hidden_from(who), *staff]
        assert [text for text in texts if any(form in held for form in _forms(text))] == []
        assert [name for name in UPSTREAMS_OWN if name in answer.headers] == []
        assert answer.headers["cache-control"] == "no-store"

    def _on_record(self, who: str | None, method: str, answer: Answer) -> None:
        if method == "HEAD" and answer.status >= 400:
            return  # its receipt stands in the body
        leaf = self.leaf(answer)
        assert leaf["status"] == answer.status
        assert leaf.get("problem", "") == answer.problem
        actor = self.crm.staff[who].id if who is not None else ""
        # An ambiguous request is refused before it is asked whose it is.
        assert leaf["actor"] in ((actor, "") if answer.problem == "malformed-request" else (actor,))
        if answer.status < 300:
            assert leaf["outcome"] == "permitted"
            noted = {path for group in leaf.get("groups", ()) for path in group.get("fields", ())}
            assert noted.issuperset(_FIELD.findall(answer.headers.get("privguard-fields", "")))


@contextmanager
def guarded(
    crm: Crm, folder: Path, policy: str, identity: Mapping[str, Any], *, settings: str = ""
) -> Iterator[Guarded]:
    """A gateway before a seeded upstream until the block ends.

    Args:
        policy: name of the policy beside this file.
        identity: settings of `[identity.upstream]`.
        settings: further lines of `[gateway]`.
    """
    lines = "\n".join(f"{name} = {json.dumps(value)}" for name, value in identity.items())
    section = f'[identity]\nmode = "upstream"\n[identity.upstream]\ncache_seconds = 300\n{lines}'
    with relay(urlsplit(crm.server.url).port or 0) as between:
        rules = (HERE / f"{policy}.yaml").read_text()
        gateway = make_gateway(folder, between.port, policy=rules, identity=section, gateway=settings)
        gateway.tokens = {key: staff.token for key, staff in crm.staff.items()}
        gateway.start()
        try:
            yield Guarded(crm, between, gateway, identity["whoami"])
        finally:
            gateway.stop()


def index_of(answer: Answer) -> int:
    """Where the answer says it is on record."""
    if "privguard-receipt" in answer.headers:
        return answer.index
    return int(answer.json()["receipt"]["index"])


def alike(answer: Answer) -> tuple[dict[str, str], Any]:
    """An answer without its time and its place in the log: two that must not differ, not in this."""
    body = answer.json() if answer.body else {"receipt": {}}
    body["receipt"] = sorted(body["receipt"])
    return {**answer.headers, "date": "", "content-length": ""}, body


def subjects(leaf: Mapping[str, Any], resource: str) -> list[str]:
    """Tokens of the clients in a leaf's groups of a resource."""
    return [
        token
        for group in leaf.get("groups", ())
        if group["resource"] == resource
        for token, _, _ in group["subjects"]
    ]


def seen_by(key: str) -> list[int]:
    """Numbers of the clients whom the policies let a member of staff see."""
    staff = next(each for each in STAFF if each.key == key)
    seeds = [client_seed(number) for number in range(1, CLIENT_COUNT + 1)]
    if staff.role == "rm":
        return [seed.number for seed in seeds if key in seed.rms]
    return [seed.number for seed in seeds if seed.fields["branch"] == staff.branch]


@cache
def everything() -> tuple[str, ...]:
    """Every value of the seed that the policies mask or withhold; three digits of a cvv are no canary."""
    seeds = [client_seed(number) for number in range(1, CLIENT_COUNT + 1)]
    return (*(value for seed in seeds for value in _values(seed)), *(each.phone for each in MANAGERS))


def _values(seed: ClientSeed) -> Iterator[str]:
    yield from (str(value) for name, value in seed.fields.items() if name not in (*SHOWN_CLEAR, "meta"))
    yield from (card.pan for card in seed.cards)
    meta = seed.fields["meta"]
    yield meta["kyc"]["passport"]
    yield from meta["contacts"][0].values()


@cache
def _names_hidden_from(who: str | None) -> tuple[str, ...]:
    seen = {NAMES[number - 1] for number in seen_by(who)} if who is not None else set()
    return tuple(name for name in NAMES if name not in seen)


@cache
def _forms(text: str) -> tuple[bytes, ...]:
    """A text as UTF-8, escaped in JSON, and in a URL."""
    return tuple({text.encode(), json.dumps(text)[1:-1].encode(), quote(text).encode()})
