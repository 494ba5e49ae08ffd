"""Time stamps (RFC 3161): what an authority signs, and what is none."""

from __future__ import annotations

import random
import shutil
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
from asn1crypto import tsp

from privguard.audit.timestamp import MAX_ANSWER, StampAuthority, StampError, read_stamped, request_of
from tests.stamper import NOW, SERVING, Authority

NOTE = "bank.example/log\n7\nAAAA\n\n— bank.example/log AAAAAAAA\n".encode()
HONEST = Authority()
TRUSTED = StampAuthority(HONEST.root)
ANSWER = HONEST(request_of(NOTE))


def test_a_stamp_says_when_a_note_was_there() -> None:
    assert TRUSTED.check(ANSWER, NOTE) == NOW
    assert StampAuthority(Authority("other").root + HONEST.root).check(ANSWER, NOTE) == NOW


def _refused() -> bytes:
    answer = tsp.TimeStampResp.load(ANSWER).copy()
    answer["status"]["status"] = "rejection"
    made: bytes = answer.dump()
    return made


WRONG = {
    "of another note": (lambda: HONEST(request_of(NOTE + b"x")), "Mismatch"),
    "by nobody who is trusted": (lambda: Authority("other")(request_of(NOTE)), "issuer certificate"),
    "by a certificate that had expired": (lambda: Authority(days=-1)(request_of(NOTE)), "expired"),
    "before the certificate": (
        lambda: Authority(at=NOW - timedelta(days=5000))(request_of(NOTE)),
        "not yet valid",
    ),
    "by a certificate for servers": (
        lambda: Authority(usage=SERVING)(request_of(NOTE)),
        "EKU|purpose|certificat",
    ),
    "by one whose use may be passed over": (lambda: Authority(critical=False)(request_of(NOTE)), "purpose"),
    "a refusal": (_refused, "not GRANTED"),
    "garbage": (lambda: b"garbage", "none"),
    "nothing": (lambda: b"", "none"),
    "cut off": (lambda: ANSWER[:-9], "none"),
    "gone on": (lambda: ANSWER + b"\0", "none"),
    "too long": (lambda: ANSWER + b"\0" * MAX_ANSWER, "too long"),
    "of another signature": (lambda: ANSWER[:-5] + bytes(5), "signature"),
    "of another time": (lambda: ANSWER.replace(b"20261127", b"20251127"), "signature"),
    "of a request": (lambda: request_of(NOTE), "none"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_l14_a_hostile_stamp_is_refused(wrong: str) -> None:
    made, why = WRONG[wrong]
    with pytest.raises(StampError, match=why):
        TRUSTED.check(made(), NOTE)


def test_l14_no_changed_byte_makes_another_time_of_it() -> None:
    """Certificates beside the signer's, and encodings that say the same, may differ; what is said may not."""
    drawn = random.Random(3161)
    for _ in range(400):
        changed = bytearray(ANSWER)
        changed[drawn.randrange(len(changed))] ^= 1 << drawn.randrange(8)
        try:
            assert TRUSTED.check(bytes(changed), NOTE) == NOW
        except StampError:
            continue


def test_roots_that_are_none_are_refused() -> None:
    for wrong in (b"", b"x", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"):
        with pytest.raises(StampError, match="PEM"):
            StampAuthority(wrong)


@pytest.mark.parametrize(
    "wrong", [b"x\n", b"{}\n", b'{"note":1,"answer":"","proof":[]}\n', b"\xff\n", b"[" * 9999]
)
def test_l14_a_file_of_stamps_that_is_none_is_refused(wrong: bytes) -> None:
    with pytest.raises(StampError, match="none"):
        read_stamped(wrong)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed here")
def test_strangers_check_a_stamp_with_openssl(tmp_path: Path) -> None:
    for name, data in (("answer", ANSWER), ("note", NOTE), ("roots", HONEST.root)):
        (tmp_path / name).write_bytes(data)
    said = subprocess.run(
        ["openssl", "ts", "-verify", "-in", "answer", "-data", "note", "-CAfile", "roots"],
        cwd=tmp_path, capture_output=True, check=False,
    )  # fmt: skip
    assert said.returncode == 0, said.stderr
