"""S07: security keys of the makes that the bank names, against a gateway that holds to AAL3."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

import pytest

from tests.attacks.stepup import API, ORIGIN, KeyHolder
from tests.authenticator import Authenticator, Maker, text
from tests.command import privguard
from tests.door import BANK_POLICY, Answer, Gateway, Running, make_gateway

MAKE, OTHER = UUID("2fc0579f-8113-47ea-b116-bb5a8db9202a"), UUID("d8522d9f-575b-4866-88a9-ba99fa02f35b")
MAKER = Maker(MAKE, said=MAKE)
STEPUP = f"""
[stepup]
profile = "nist-aal3"
public_url = "{ORIGIN}"
[stepup.attestation]
roots = "makers.pem"
aaguids = ["{MAKE}"]
"""


@pytest.fixture
def guarded(bank: Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    policy = BANK_POLICY.read_text().replace("ttl: 5m", "ttl: 8h")
    made = make_gateway(tmp_path_factory.mktemp("makers"), bank.port, policy=policy, extra=STEPUP)
    (made.folder / "makers.pem").write_bytes(MAKER.root)
    yield made.start()
    made.stop()
    made.verify()
    assert "Traceback" not in made.output


def enrolled(person: KeyHolder, key: Authenticator) -> Answer:
    """A first key, by invitation."""
    said = privguard("factor", "invite", person.name, "--config", person.gateway.config)
    begun = person.begin("webauthn", {"method": "invite", "code": said.stdout.decode().strip()})
    assert begun.status == 201, begun
    person.key = key
    answer = key.create(begun.json()["options"], person.origin)
    return person.ask("POST", f"{API}factors/{begun.json()['id']}", {"attestation": answer})


def test_s07_keys_count_whose_maker_vouches_for_them_and_while_their_make_is_named(guarded: Gateway) -> None:
    rm = KeyHolder(guarded, "rm.li").sign_in()
    for key in (Authenticator(), Authenticator(maker=Maker(MAKE, said=MAKE))):  # nobody's; a namesake's
        refused = enrolled(rm, key)
        assert (refused.status, refused.problem) == (403, "key-not-vouched"), refused
        assert "let the browser see its make" in refused.json()["detail"]
    assert guarded.leaves()[-1]["problem"] == "key-not-vouched"
    assert rm.ask("GET", f"{API}factors").json() == {"factors": []}

    done = enrolled(rm, Authenticator(maker=MAKER))
    assert done.status == 200, done
    met = rm.meet_by_key(rm.challenge())
    assert (met.status, met.json()["expires_in"]) == (201, 900)  # AAL3's idle time, not the rule's 8 h

    guarded.stop()
    guarded.config.write_text(guarded.config.read_text().replace(str(MAKE), str(OTHER)))
    guarded.start()
    rm.sign_in()
    looked = rm.ask(
        "GET", "/clients/1", Privguard_Reveal="mobile", Privguard_Reason='"client asked for a call"'
    )
    assert looked.json()["methods"] == []
    assert [one["state"] for one in rm.ask("GET", f"{API}factors").json()["factors"]] == ["disabled"]
    challenge = looked.json()["challenge_id"]
    asked = rm.ask("POST", f"{API}options", {"challenge_id": challenge, "method": "webauthn"})
    assert asked.status == 404, asked
    proof = {"method": "webauthn", "assertion": {"id": text(rm.key.id)}}
    assert rm.meet_by_key(challenge, proof).problem == "factor-refused"
    assert guarded.leaves()[-1]["problem"] == "no-such-factor"  # and no try of it was counted


def test_s07_a_file_without_roots_stops_the_start(guarded: Gateway) -> None:
    (guarded.folder / "makers.pem").write_bytes(MAKER.leaf)
    said = privguard("factor", "invite", "rm.li", "--config", guarded.config)
    assert said.returncode != 0
    assert b"makers.pem: the file is to hold the makers' root certificates" in said.stderr
