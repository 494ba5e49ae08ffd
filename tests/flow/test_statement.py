"""What a client is handed of who saw their data, and what must not be told of it."""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future
from datetime import date
from pathlib import Path
from typing import Any

import pypdfium2
import pytest
from pyhanko.keys import load_certs_from_pemder_data
from pyhanko.pdf_utils.reader import PdfFileReader
from pyhanko.sign.validation import validate_pdf_signature
from pyhanko_certvalidator import ValidationContext

from privguard.errors import AuditUnavailableError
from privguard.model import AccessEvent, AuditReceipt
from privguard.oversight import pdf
from privguard.ports import Claim
from privguard.store.audit_log import SqlAuditLog
from tests.command import Said, privguard
from tests.door import Gateway, Running, make_gateway

ISSUED = "oversight:statement:issue"
AML = {"Privguard-Purpose": "aml_case", "Privguard-Ticket": "AML-7"}


@pytest.fixture(scope="module")
def door(bank: Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    made = make_gateway(tmp_path_factory.mktemp("statement"), bank.port)
    signer = made.folder / "statement.pem"
    signer.write_bytes(pdf.new_signer("bank.example", date(2026, 1, 5)))
    signer.chmod(0o600)
    said = made.config.read_text().replace("[audit]\n", '[audit]\nstatement_signer = "statement.pem"\n')
    made.config.write_text(said)
    made.start()
    (made.folder / "trust").write_bytes(privguard("audit", "trust", "--config", made.config).stdout)
    yield made
    made.stop()


def run(door: Gateway, *arguments: object) -> Said:
    return privguard(*arguments, "--config", door.config)


def handed(door: Gateway, client: str, *more: object) -> Any:
    said = run(door, "client", "statement", client, "--json", *more)
    assert said.returncode == 0, said.stderr
    return json.loads(said.stdout)


def own(door: Gateway, at: int) -> str:
    """A client of rm.li's, another one for each number."""
    return str(door.get("rm.li", "/clients?page=1&size=50").json()["items"][at]["id"])


def by_hand(door: Gateway) -> list[dict[str, Any]]:
    """The log without what the gateway puts there by itself, each minute."""
    return [leaf for leaf in door.leaves() if leaf["action"] != "privguard:map:commit"]


def told(file: Any) -> list[Any]:
    """The accesses of a statement, without where they stand in the log."""
    return [{**seen, "index": 0, "leaf": ""} for seen in file["statement"]["seen"]]


def test_l15_a_client_is_told_who_saw_what_and_why_and_the_telling_is_on_record(door: Gateway) -> None:
    client = own(door, 0)
    door.get("rm.li", f"/clients/{client}", headers={"Privguard-Reason": '"asks for a call back"'})
    denied = door.get("rm.chen", f"/clients/{client}")
    assert denied.status == 404
    file = handed(door, client)
    newest, listed = file["statement"]["seen"][:2]
    assert newest["roles"] == ["rm"]
    assert newest["purpose"] == "service"
    assert newest["relations"] == ["assigned"]
    assert (newest["fields"]["name"], newest["fields"]["mobile"]) == ("clear", "masked")
    assert newest["action"] == listed["action"] == "read"
    for kept in ("rm.li", "call back", "rm.chen"):
        assert kept not in json.dumps(file), kept
    assert file["statement"]["names"]["rm"] == {"en": "Relationship manager", "zh": "客户经理"}
    leaves = door.leaves()
    issue = leaves[file["issue"]["index"]]
    assert issue["action"] == ISSUED
    assert leaves[issue["intent"]]["action"] == "cli:audit:statement"
    assert "groups" not in issue, "the leaf that is handed out names no client and numbers no entry"
    shown = run(door, "client", "statement", client, "--lang", "zh").stdout.decode()
    assert "客户经理  客户服务; 您的服务人员  查阅  完整显示：客户编号、姓名、性别" in shown
    assert re.search(r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d \+08:00", shown)
    door.verify()


def test_a_stranger_holds_a_statement_to_the_log_and_every_change_is_refused(
    door: Gateway, tmp_path: Path
) -> None:
    client, file = own(door, 1), tmp_path / "s.json"
    door.get("rm.li", f"/clients/{client}")
    proved = handed(door, client)
    door.get("rm.li", f"/clients/{client}")

    def check(data: bytes) -> Said:
        file.write_bytes(data)
        return privguard("audit", "verify", "--statement", file, "--key", door.folder / "trust")

    good = run(door, "client", "statement", client, "--json").stdout
    said = check(good)
    assert said.stdout.startswith(b"genuine: issued 20"), said
    # The digest on record can be had without privguard: sorted keys, no spaces.
    plain = json.loads(good)["statement"]
    compact = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    issue = json.loads(json.loads(good)["issue"]["leaf"])
    assert issue["about"] == {"statement": hashlib.sha256(compact).hexdigest()}
    notes = good.index(b"\n", 3)  # below: a signature by a key with another name is passed over (L11)
    for at in (*range(30), *range(notes, len(good), 97)):
        assert check(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :]).returncode == 1, at
    whole = json.loads(good)
    seen, paths = whole["statement"]["seen"], whole["paths"]
    for wrong in (
        {**whole, "statement": proved["statement"]},
        {**whole, "statement": {**plain, "seen": seen[1:]}, "paths": paths[1:]},
        {**whole, "statement": {**plain, "seen": []}, "paths": []},
        {**whole, "paths": paths[1:]},
        {**whole, "issue": proved["issue"]},
        {**whole, "v": 2},
        [],
    ):
        bad = check(json.dumps(wrong, indent=2, ensure_ascii=False).encode() + b"\n")
        assert (bad.returncode, bad.stderr[:7]) == (1, b"WRONG: ")
    assert check(good.replace(b'"v": 1', b'"v": 1,"v": 1', 1)).returncode == 1
    assert privguard("audit", "verify", "--statement", file).returncode == 2


def test_an_embargo_leaves_no_trace_and_ends_with_an_entry(door: Gateway) -> None:
    client = own(door, 2)
    door.get("rm.li", f"/clients/{client}")
    before = handed(door, client)
    for _ in range(3):
        assert door.get("aml.zhao", f"/clients/{client}", headers=AML).status == 200
    under = handed(door, client)
    assert told(under) == told(before)
    assert list(under) == list(before)
    assert under["statement"]["names"] == before["statement"]["names"]
    handed_out = json.dumps(under)
    readable = json.dumps([told(under), under["statement"]["names"], under["issue"]["leaf"]])  # no base64
    assert not [trace for trace in ("aml", "zhao") if trace in readable]
    assert not [leaf for leaf in door.leaves() if leaf["action"] != ISSUED and leaf["id"] in handed_out]
    tokens = {t for leaf in door.leaves() for g in leaf.get("groups", ()) for t, _, _ in g["subjects"]}
    assert not [token for token in tokens if token in handed_out]

    wrong = run(door, "client", "lift", client, "--embargo", "aml-case", "--reason", "closed")
    assert wrong.returncode == 2
    assert b"aml, aml_case, aml_lead" in wrong.stderr
    assert run(door, "client", "lift", "nobody", "--embargo", "aml", "--reason", "x").returncode == 1
    one = run(door, "client", "lift", client, "--embargo", "aml_case", "--reason", "closed", "--json")
    assert json.loads(one.stdout)["lifted"] == ["aml_case"]
    assert told(handed(door, client)) == told(before), "the officer's role is under embargo still"
    assert run(door, "client", "lift", client, "--embargo", "aml", "--reason", "closed").returncode == 0
    lifted = by_hand(door)[-1]
    assert (lifted["action"], lifted["about"]) == ("oversight:client:lift", {"aml": "lifted"})
    after = handed(door, client)
    assert [seen["purpose"] for seen in after["statement"]["seen"][:3]] == ["aml_case"] * 3
    assert told(after)[3:] == told(before)
    assert door.get("aml.zhao", f"/clients/{client}", headers=AML).status == 200
    assert told(handed(door, client)) == told(after), "a case that begins afterwards is under embargo again"
    door.verify()


def test_who_is_known_only_by_an_embargo_is_told_what_a_stranger_is(door: Gateway) -> None:
    known = {token for leaf in door.leaves() for g in leaf.get("groups", ()) for token, _, _ in g["subjects"]}
    for client in map(str, range(100, 200)):
        seen = door.get("aml.zhao", f"/clients/{client}", headers=AML)
        if seen.status == 200:
            [[token, _, _]] = door.leaves()[seen.index]["groups"][0]["subjects"]
            assert token not in known
            break
    only, stranger = handed(door, client), handed(door, "nobody")
    assert only["statement"]["seen"] == stranger["statement"]["seen"] == []
    assert only["statement"]["names"] == stranger["statement"]["names"] == {}
    assert only.keys() == stranger.keys()
    issues = [json.loads(file["issue"]["leaf"]) for file in (only, stranger)]
    assert issues[0].keys() == issues[1].keys()
    assert b"see that the id and its --kind are right" in run(door, "client", "statement", "nobody").stderr


@pytest.mark.parametrize(("lang", "reads"), [("zh", 1), ("en", 20)])
def test_the_pdf_is_signed_and_a_changed_byte_is_noticed(
    door: Gateway, tmp_path: Path, lang: str, reads: int
) -> None:
    client, out = own(door, 3 + (lang == "en")), tmp_path / "out"
    for _ in range(reads):
        door.get("rm.li", f"/clients/{client}")
    said = run(door, "client", "statement", client, "--lang", lang, "--out", out)
    assert said.returncode == 0, said.stderr
    assert sorted(file.name for file in out.iterdir()) == ["statement.json", "statement.pdf"]
    assert {file.stat().st_mode & 0o777 for file in (out, *out.iterdir())} == {0o700, 0o600}
    data = (out / "statement.pdf").read_bytes()

    [root] = load_certs_from_pemder_data((door.folder / "statement.pem").read_bytes().split(b"KEY-----\n")[2])
    context = ValidationContext(trust_roots=[root], allow_fetching=False)
    for changed, fine in ((data, True), (data.replace(b"/Title", b"/Titel", 1), False)):
        [signature] = PdfFileReader(io.BytesIO(changed)).embedded_signatures
        status = validate_pdf_signature(signature, context)
        assert (status.intact, status.bottom_line) == (fine, fine)

    document = pypdfium2.PdfDocument(data)
    pages = len(document)
    assert (pages == 1) is (lang == "zh")
    texts = ["".join(page.get_textpage().get_text_bounded().split()) for page in document]
    if lang == "zh":
        for word in (
            "个人信息查阅情况说明",
            "客户经理",
            "客户服务",
            "部分遮盖：手机号码",
            "法律法规可能禁止",
        ):
            assert word in texts[0], word
    else:
        assert all("Relationshipmanager" in text and f"/{pages}" in text for text in texts)
    pixels = bytes(document[0].render(scale=1).buffer)
    assert 0.01 < sum(value < 128 for value in pixels[::97]) / len(pixels[::97]) < 0.3, "there is ink on it"

    check = [
        "audit",
        "verify",
        "--statement",
        out / "statement.json",
        "--key",
        door.folder / "trust",
        "--json",
    ]
    assert json.loads(privguard(*check).stdout)["pdf"] == hashlib.sha256(data).hexdigest()
    (out / "statement.pdf").write_bytes(data + b"\n")
    assert b"is not the PDF" in privguard(*check).stdout
    assert b"is there already" in run(door, "client", "statement", client, "--out", out).stderr


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl here: .ci/servers.sh openssl")
def test_openssl_takes_the_signature_and_no_other_bytes(door: Gateway, tmp_path: Path) -> None:
    folder, pem = tmp_path, door.folder / "statement.pem"
    assert run(door, "client", "statement", own(door, 5), "--out", tmp_path / "out").returncode == 0
    data = (tmp_path / "out" / "statement.pdf").read_bytes()
    first, length, second, rest = map(int, re.search(rb"/ByteRange\s*\[(.*?)\]", data)[1].split())  # type: ignore[index]
    (folder / "signed").write_bytes(data[first : first + length] + data[second : second + rest])
    cms = bytes.fromhex(data[first + length + 1 : second - 1].decode())
    (folder / "cms").write_bytes(cms)
    for changed in (False, True):
        if changed:
            (folder / "signed").write_bytes(b"x" + (folder / "signed").read_bytes()[1:])
        done = subprocess.run(
            ["openssl", "cms", "-verify", "-binary", "-inform", "DER", "-in", folder / "cms", "-content",
             folder / "signed", "-CAfile", pem, "-purpose", "any", "-partial_chain", "-out", folder / "x"],
            capture_output=True, check=False,
        )  # fmt: skip
        assert (done.returncode == 0) is not changed, done.stderr


def test_what_is_missing_is_said_with_its_mend(
    door: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, out = own(door, 8), tmp_path / "out"

    def refused(*why: bytes) -> None:
        said = run(door, "client", "statement", client, "--out", out)
        assert said.returncode == 1, said
        assert all(each in said.stderr for each in why), said.stderr
        assert list(tmp_path.iterdir()) == []

    with monkeypatch.context() as patch:
        patch.setattr(pdf, "CHINESE", ("No Such Family",))
        refused(b"fonts-noto-cjk", b"privguard[pdf]")
    signer = door.folder / "statement.pem"
    whole = signer.read_bytes()
    other, old = pdf.new_signer("x", date(2026, 1, 5)), pdf.new_signer("x", date(2001, 1, 5))
    at = whole.index(b"-----BEGIN CERT")
    for wrong in (b"", whole[:200], whole[at:], other[: other.index(b"-----BEGIN CERT")] + whole[at:]):
        signer.write_bytes(wrong)
        refused(b"statement_signer is no PEM file")
    signer.write_bytes(old)
    refused(b"not valid today")
    signer.write_bytes(whole)
    signer.chmod(0o644)
    refused(b"chmod 600")
    signer.chmod(0o600)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "typst", None)
        refused(b"pip install 'privguard[pdf]'")
    # A policy beside that of the gateway, which would put every change in force for the tests that follow.
    policy, text = door.folder / "other.yaml", (door.folder / "policy.yaml").read_text()
    monkeypatch.setenv("PRIVGUARD_SYSTEMS__0__POLICY", str(policy))
    policy.write_text(text[: text.index("\nstatement:")])
    refused(b"does not say what a client may be handed", b"embargo: {}")
    policy.write_text(re.sub(r"\bservice\b", "visit", text))
    refused(b"`service`, which the policy does not know any more", b"statement: embargo")


@pytest.mark.parametrize("persisted", [False, True])
def test_l09_what_cannot_be_put_on_record_is_not_handed_out(
    door: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, persisted: bool
) -> None:
    client, whole = own(door, 9), SqlAuditLog.submit

    def failing(log: SqlAuditLog, event: AccessEvent, claim: Claim | None = None) -> Future[AuditReceipt]:
        if event.action == ISSUED and persisted:
            whole(log, event, claim).result(5)
        if event.action != ISSUED:
            return whole(log, event, claim)
        lost: Future[AuditReceipt] = Future()
        lost.set_exception(AuditUnavailableError("The disk is full."))
        return lost

    monkeypatch.setattr(SqlAuditLog, "submit", failing)
    for more in (("--out", tmp_path / "out"), ("--json",), ()):
        said = run(door, "client", "statement", client, *more)
        assert (said.returncode, said.stdout) == (1, b"")
        assert b"The disk is full" in said.stderr
    assert list(tmp_path.iterdir()) == []
    assert (by_hand(door)[-1]["action"] == ISSUED) is persisted
