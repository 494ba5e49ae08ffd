"""Collections, staff and records for Directus, through its own API."""

from typing import Any

from .crm import Crm, Staff, tell
from .records import CLIENT_COUNT, MANAGERS, STAFF, TIERS, ClientSeed, StaffSeed, client_seed
from .servers import RunningServer

COLLECTIONS = ("clients", "managers", "cards")


def seed_directus(server: RunningServer) -> Crm:
    """Fill an empty Directus; ids are fixed: client 7 is `7`, an integer in its answers."""
    _create_collections(server)
    staff = _create_staff(server)
    rows = [{"id": n + 1, "name": row.name, "phone": row.phone} for n, row in enumerate(MANAGERS)]
    tell(server, "POST", "/items/managers", rows)
    seeds = [client_seed(number) for number in range(1, CLIENT_COUNT + 1)]
    tell(server, "POST", "/items/clients", [_client(seed, staff) for seed in seeds])
    return Crm(server, staff, {seed.number: str(seed.number) for seed in seeds})


def _create_collections(server: RunningServer) -> None:
    _create_collection(server, "managers", [_field("name", "string"), _field("phone", "string")])
    _create_collection(server, "clients", _client_fields())
    _create_collection(server, "cards", [_field(name, "string") for name in ("pan", "cvv")])
    tell(server, "POST", "/fields/directus_users", _field("branch", "string"))
    _relate(server, "clients", "manager", "managers", None)
    tell(server, "POST", "/fields/clients", _field("cards", "alias", special=["o2m"]))
    _relate(server, "cards", "client", "clients", "cards")


def _client_fields() -> list[dict[str, Any]]:
    mobile = _field("mobile", "string", validation={"mobile": {"_regex": r"^1\d{10}$"}})
    tier = _field("tier", "string", validation={"tier": {"_in": list(TIERS)}})
    email = _field("email", "string")
    return [
        mobile,
        tier,
        {**email, "schema": {"is_unique": True}},
        *(_field(name, "string") for name in ("name", "id_no", "branch")),
        _field("dob", "date"),
        _field("balance", "decimal"),
        _field("notes", "text"),
        _field("rm_ids", "json", special=["cast-json"]),
        _field("meta", "json", special=["cast-json"]),
        _field("date_updated", "timestamp", special=["date-updated"]),
        _field("user_updated", "uuid", special=["user-updated"]),
    ]


def _field(name: str, kind: str, **meta: Any) -> dict[str, Any]:
    return {"field": name, "type": kind, "meta": meta, "schema": None if kind == "alias" else {}}


def _create_collection(server: RunningServer, name: str, fields: list[dict[str, Any]]) -> None:
    key = {"field": "id", "type": "integer", "schema": {"is_primary_key": True, "has_auto_increment": True}}
    body = {"collection": name, "schema": {}, "meta": {}, "fields": [key, *fields]}
    tell(server, "POST", "/collections", body)


def _relate(server: RunningServer, many: str, field: str, one: str, one_field: str | None) -> None:
    tell(server, "POST", f"/fields/{many}", _field(field, "integer", special=["m2o"]))
    body = {"collection": many, "field": field, "related_collection": one, "meta": {"one_field": one_field}}
    tell(server, "POST", "/relations", body)


def _create_staff(server: RunningServer) -> dict[str, Staff]:
    policy = tell(server, "POST", "/policies", _policy())["data"]["id"]
    roles: dict[str, str] = {}
    for name in sorted({seed.role for seed in STAFF}):
        roles[name] = tell(server, "POST", "/roles", {"name": name})["data"]["id"]
        tell(server, "POST", "/access", {"role": roles[name], "policy": policy})
    return {seed.key: _create_user(server, seed, roles[seed.role]) for seed in STAFF}


def _policy() -> dict[str, Any]:
    """Staff read and write every client, and read their own account and role."""
    allowed = [(name, action) for name in COLLECTIONS for action in ("create", "read", "update")]
    permissions = [_permission(collection, action, {}) for collection, action in allowed]
    own = [
        _permission("directus_users", "read", {"id": {"_eq": "$CURRENT_USER"}}),
        _permission("directus_roles", "read", {"id": {"_eq": "$CURRENT_ROLE"}}),
    ]
    return {"name": "staff", "app_access": True, "permissions": [*permissions, *own]}


def _permission(collection: str, action: str, rule: dict[str, Any]) -> dict[str, Any]:
    return {"collection": collection, "action": action, "fields": ["*"], "permissions": rule}


def _create_user(server: RunningServer, seed: StaffSeed, role: str) -> Staff:
    token = f"parity-static-token-{seed.key}"
    account = {"email": seed.email, "password": seed.password, "role": role, "token": token}
    created = tell(server, "POST", "/users", {**account, "branch": seed.branch})["data"]
    return Staff(created["id"], seed.email, seed.password, seed.role, seed.branch, token)


def _client(seed: ClientSeed, staff: dict[str, Staff]) -> dict[str, Any]:
    cards = [{"pan": card.pan, "cvv": card.cvv} for card in seed.cards]
    links = {"id": seed.number, "manager": seed.manager + 1, "rm_ids": [staff[key].id for key in seed.rms]}
    return {**seed.fields, **links, "cards": cards}
