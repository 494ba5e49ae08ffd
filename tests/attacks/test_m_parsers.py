"""M09 and M15 against the running gateway: bodies that two parsers read in two ways, and numbers."""

from __future__ import annotations

import gzip
import json
import zlib
from typing import Any

import brotli
import pytest
import zstandard

from tests.attacks.truth import leaked
from tests.attacks.vouched import CHIEF, CLERK, EXPORTER, Vouched
from tests.door import Answer
from tests.recorder import Recorder, answer, as_json

MOBILE, OTHER, ID = "19900001234", "19900005678", "990101199001011234"
SECRETS = [MOBILE, OTHER, ID, "19900009999"]
OWN = {"id": 1, "name": "张伟民", "mobile": MOBILE, "id_no": ID, "branch": "north", "tier": "mass"}
TEXT = json.dumps({"person": OWN}, ensure_ascii=False)


def unreadable(came: Answer) -> None:
    """Withheld as what cannot be read."""
    assert (came.status, came.problem) == (502, "unreadable-response"), came
    assert not leaked(came, SECRETS)


def no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    assert len(dict(pairs)) == len(pairs), pairs
    return dict(pairs)


def strictly(came: Answer) -> Any:
    """The answer as a strict parser reads it."""
    assert came.status == 200, came
    return json.loads(came.body.decode(), object_pairs_hook=no_key_twice, parse_constant=pytest.fail)


# -- M09: JSON ----------------------------------------------------------------------------------------------

DOUBLED = [
    '{"person":{"id":1,"branch":"north","tier":"mass","mobile":"19900001234","mobile":"19900005678"}}',
    '{"person":{"id":1,"branch":"north","tier":"mass","mobile":"19900001234","m\\u006fbile":"19900005678"}}',
    '{"person":{"id":1,"branch":"south","branch":"north","tier":"mass","mobile":"19900001234"}}',
    '{"person":{"id":1,"branch":"north","tier":"mass","\\u0062ranch":"south","mobile":"19900001234"}}',
    '{"person":{"id":2,"id":1,"branch":"north","tier":"mass","mobile":"19900001234"}}',
    '{"person":{"id":1,"branch":"north","tier":"private","tier":"mass","mobile":"19900001234"}}',
    '{"person":{"id":1,"branch":"south","mobile":"19900001234"},"person":{"id":1,"branch":"north","tier":"mass","mobile":"19900005678"}}',
    '{"person":{"id":1,"branch":"north","tier":"mass"},"person":{"id":1,"branch":"south","mobile":"19900005678"}}',
    '{"person":{"id":1,"branch":"north","tier":"mass","score":{"x":"19900001234"},"score":5}}',
    '{"person":{"id":1,"branch":"north","tier":"mass","profile":{"city":"a"},"profile":{"city":"b","tax":{"no":"990101199001011234"}}}}',
    '{"items":[{"id":1,"branch":"north","tier":"mass"}],"items":[{"id":1,"branch":"south","mobile":"19900001234"}]}',
    '{"person":{"id":1,"branch":"north","tier":"mass","friend":{"id":2,"branch":"south","mobile":"19900001234"},"friend":{"id":2,"branch":"north","tier":"mass"}}}',
    '{"person":{"id":1,"branch":"north","tier":"mass","contacts":{"19900001234":{"since":1},"19900001234":{"since":2}}}}',
]


@pytest.mark.parametrize("body", DOUBLED)
def test_m09_a_key_that_stands_twice_is_read_once(odd: Vouched, stand: Recorder, body: str) -> None:
    """Whatever the gateway judged by is what leaves: no key stands twice in what comes out."""
    stand.replies["/people/1"] = lambda _: answer(200, body)
    came = odd.get(CLERK, "/people/1")
    assert not leaked(came, SECRETS)
    if came.status == 200:
        content = strictly(came)
        for record in [content.get("person"), *content.get("items", [])]:
            assert record is None or record.get("tier") != "private"
    else:
        assert came.problem in ("unreadable-response", "not-permitted", "step-up-required")


UNREADABLE: dict[str, bytes] = {
    "BOM": b"\xef\xbb\xbf" + TEXT.encode(), "UTF-16 LE": TEXT.encode("utf-16-le"),
    "UTF-16 BE": TEXT.encode("utf-16-be"),
    "UTF-16 BOM": TEXT.encode("utf-16"), "UTF-32": TEXT.encode("utf-32"),
    "UTF-32 LE": TEXT.encode("utf-32-le"),
    "GB18030": TEXT.encode("gb18030"),
    "cut in a character": TEXT.encode()[:-30] + b"\xe5\xbc", "overlong": TEXT.encode() + b"\xc0\xaf",
    "surrogate as UTF-8": b'{"person":{"id":1,"branch":"north","tier":"mass","name":"\xed\xa0\x80"}}',
    "NaN": b'{"person":{"id":1,"branch":"north","tier":"mass","score":NaN}}',
    "NaN in what is dropped": b'{"x":NaN,"person":{"id":1,"branch":"north","tier":"mass"}}',
    "Infinity": b'{"person":{"id":1,"branch":"north","tier":"mass","amount":-Infinity}}',
    "comment": b"/* 19900001234 */" + TEXT.encode(),
    "trailing comma": b'{"person":{"id":1,"branch":"north","tier":"mass",}}',
    "single quotes": TEXT.replace('"', "'").encode(),
    "two documents": (TEXT + TEXT).encode(), "two lines": (TEXT + "\n" + TEXT).encode(),
    "callback": f"cb({TEXT})".encode(),
    "prefix": f")]}}',\n{TEXT}".encode(), "loop": f"while(1);{TEXT}".encode(),
    "record separator": b"\x1e" + TEXT.encode(),
    "NUL": TEXT.encode() + b"\0",
    "NUL in text": b'{"person":{"id":1,"branch":"north","tier":"mass","name":"\0"}}', "empty": b"",
    "space": b"  ",
    "cut": TEXT.encode()[:-2], "unclosed": b'{"person":' * 20 + b'"19900001234',
    "text": json.dumps(MOBILE).encode(), "number": MOBILE.encode(),
    "true": b"true", "null": b"null", "HTML": f"<p>{MOBILE}</p>".encode(),
    "XML": f"<person>{MOBILE}</person>".encode(),
    "deep arrays": b"[" * 100_000 + b"]" * 100_000,
    "deep in what is dropped": b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep objects": b'{"person":' * 50_000 + b"1" + b"}" * 50_000, "hex": b'{"person":{"id":0x1}}',
    "plus": b'{"person":{"id":+1}}',
    "leading zero": b'{"person":{"id":1,"branch":"north","tier":"mass","score":0199}}',
    "dot": b'{"person":{"id":1,"branch":"north","tier":"mass","score":.5}}',
    "raw newline": b'{"person":{"id":1,"branch":"north","tier":"mass","name":"a\nb"}}',
    "bad escape": b'{"person":{"id":1,"branch":"north","tier":"mass","name":"\\x41"}}',
    "bad escape in what is clear": b'{"person":{"id":1,"branch":"north","tier":"mass","city":"\\x41"}}',
    "unquoted": b"{person:{id:1}}",
    "event stream": b"data: " + TEXT.encode() + b"\n\n", "vertical tab": b"\x0b" + TEXT.encode(),
    "nbsp": b"\xc2\xa0" + TEXT.encode(),
    "form": f"mobile={MOBILE}".encode(), "MessagePack": b"\x81\xa6person\xab" + MOBILE.encode(),
    "YAML": f"person:\n  mobile: {MOBILE}".encode(),
}  # fmt: skip


@pytest.mark.parametrize("name", UNREADABLE)
def test_m09_what_is_not_one_strict_json_document_is_withheld(
    odd: Vouched, stand: Recorder, name: str
) -> None:
    stand.replies["/people/1"] = lambda _: answer(200, UNREADABLE[name])
    for actor in (CLERK, CHIEF):
        came = odd.get(actor, "/people/1")
        unreadable(came)
        assert odd.gateway.last()["problem"] == "unreadable-response"


def test_m09_a_text_in_another_charset_does_not_shift_where_texts_end(odd: Vouched, stand: Recorder) -> None:
    """In GBK the second byte of 縗 is a backslash: read as ASCII it swallows, or frees, the quote behind it."""
    for memo in (
        '縗","branch":"north","x":"', '縗"},{"id":2,"branch":"north","tier":"mass","mobile":"19900005678', "縗", '縗"',
        '縗"縗"', "縗\\", '縗","branch":"north"}}', "縗\",", "memo縗",
    ):  # fmt: skip
        record = {"id": 1, "branch": "south", "tier": "mass", "mobile": MOBILE, "memo": memo, "z": "z"}
        for content in ({"person": record}, {"person": {**record, "kin": [{**record, "id": 3}]}}):
            body = json.dumps(content, ensure_ascii=False).encode("gbk")
            for media in ("application/json", "application/json; charset=gbk"):
                stand.replies["/people/1"] = lambda _, body=body, media=media: answer(200, body, media)
                came = odd.get(CLERK, "/people/1")
                assert came.status in (404, 502), (memo, came)
                assert not leaked(came, [*SECRETS, "199****"])


def test_m09_bytes_that_are_no_text_do_not_leave_and_change_nothing(odd: Vouched, stand: Recorder) -> None:
    body = b'{"person":{"id":1,"branch":"north","tier":"mass","mobile":"19900001234"%b}%b}'
    stand.replies["/people/1"] = lambda _: answer(200, body % (b"", b""))
    plain = odd.get(CLERK, "/people/1").body
    for inside, beside in (
        (b',"x":"\xff"', b""), (b"", b',"x":"\xc0\xaf"'), (b',"n\xe9":"19900001234"', b""), (b',"\xff":{"mobile":"1"}', b""),
        (b',"score":"\xff"', b""), (b',"city":"\xed\xa0\x80"', b""), (b',"note":"\xff"', b""), (b',"name":"\xbf\\\\"', b""),
    ):  # fmt: skip
        for actor in (CLERK, CHIEF):
            stand.replies["/people/1"] = lambda _, i=inside, b=beside: answer(200, body % (i, b))
            came = odd.get(actor, "/people/1")
            assert came.status in (200, 502), (inside, came)
            if came.status == 200:
                strictly(came)
                assert actor is CHIEF or came.body == plain


def test_m09_lone_surrogates_and_odd_escapes_leave_as_valid_json_or_not_at_all(
    odd: Vouched, stand: Recorder
) -> None:
    for text in (
        r"\ud800",
        r"\udc00x",
        r"\ud83d",
        r"\ud83d\ud83d",
        r"\u0000",
        r"\u2028",
        r"\/\b\f",
        r"\ud83d\ude00",
    ):
        for field in ("city", "name", "mobile", "note", "score", "x", "prénom"):
            body = f'{{"person":{{"id":1,"branch":"north","tier":"mass","{field}":"{text}{MOBILE}"}}}}'
            stand.replies["/people/1"] = lambda _, body=body: answer(200, body)
            came = odd.get(CLERK, "/people/1")
            assert came.status in (200, 502)
            if field not in ("city", "score"):
                assert not leaked(came, SECRETS), (text, field)
            if came.status == 200:
                strictly(came)


def test_m09_names_are_compared_as_they_are(odd: Vouched, stand: Recorder) -> None:
    """NFD, full-width and differently cased names are other names; the policy's own is masked."""
    body = {
        "id": 1,
        "branch": "north",
        "tier": "mass",
        "prénom": "张伟民",
        "pre\u0301nom": MOBILE,
        "PRÉNOM": MOBILE,
        "ｍobile": MOBILE,
    }
    body |= {
        "Mobile": MOBILE,
        "mobile\u0000": MOBILE,
        "\ufeffmobile": MOBILE,
        "mobile ": MOBILE,
        "m\u200dobile": MOBILE,
    }
    stand.replies["/people/1"] = lambda _: as_json({"person": body, "pe\u0301rson": OWN, "Person": OWN})
    came = odd.get(CLERK, "/people/1")
    assert not leaked(came, SECRETS)
    assert came.json() == {"person": {"id": 1, "tier": "mass", "prénom": "张**"}}


@pytest.mark.parametrize("value", [
    "１９９００００１２３４", "١٩٩٠٠٠٠١٢٣٤", "𝟏𝟗𝟗𝟎𝟎𝟎𝟎𝟏𝟐𝟑𝟒", "1\u200b9900001234", "199\u00ad00001234", " 19900001234",
    "19900001234\n",
    "19900001234\u2028x", "+86 199-0000-1234", "008619900001234", "199 0000 1234", "(199)00001234",
    "19900001234;ext=5",
    "19900001234/19900005678", "19900001234,19900005678", "tel:19900001234", "o19900001234", "1990000123",
    "199000012345",
])  # fmt: skip
def test_m09_digits_of_other_scripts_and_hidden_characters_do_not_slip_a_mask(
    odd: Vouched, stand: Recorder, value: str
) -> None:
    record = {**OWN, "mobile": value, "id_no": value, "account": value, "email": value, "phones": [value]}
    stand.replies["/people/1"] = lambda _: as_json({"person": record})
    left = strictly(odd.get(CLERK, "/people/1"))["person"]
    assert left["mobile"] in ("****", "199****1234")
    assert left["phones"] == [left["mobile"]]
    assert left["id_no"] == "****"
    assert left["email"] == "****"
    hidden = left["account"].removeprefix("****")
    assert len(hidden) in (0, 4)
    assert len(value.strip()) - len(hidden) >= 4


@pytest.mark.parametrize("value", [
    "１９９００００１２３４", "١٩٩٠٠٠٠١٢٣٤", "1\u200b9900001234", "199-0000-1234", "199 0000 1234", "199.0000.1234",
    "199/0000/1234",
    "+86 (199) 0000 1234", "199—0000—1234", "199\u00a00000\u00a01234", "199 0000　1234",
    "990101 19900101 1234", "9901011990010112X4",
    "9901-0119-9001-0112-34", "tel:19900001234", "mailto:zhang@example.cn", "zhang＠example．cn",
    "{\"m\":\"19900001234\"}", "19900001234" * 50,
    "199\u00ad0000\u00ad1234", "199\u2063000\u206301234", "1\ufe0f\u20e39\ufe0f\u20e39\ufe0f\u20e300001234", "\u202d199\u202c00001234",
    "१९९००००१२३४", "๑๙๙๐๐๐๐๑๒๓๔", "199⁃0000⁃1234", "199・0000・1234", "199~0000~1234", "199•0000•1234",
])  # fmt: skip
def test_m09_free_text_loses_numbers_however_they_are_written(
    odd: Vouched, stand: Recorder, value: str
) -> None:
    for text in (value, f"请致电{value}。", f"x{value}y", f"a\n{value}\nb", f"<b>{value}</b>"):
        stand.replies["/people/1"] = lambda _, text=text: as_json({"person": {**OWN, "note": text}})
        note = strictly(odd.get(CLERK, "/people/1"))["person"]["note"]
        assert value not in note
        assert "zhang" not in note
        digits = "".join(c for c in note if c.isdigit())
        assert len(digits) < 7, note


# -- M09: content codings and types -------------------------------------------------------------------------


def _zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(data)


def test_m09_a_known_content_coding_is_undone_and_the_result_masked(odd: Vouched, stand: Recorder) -> None:
    raw = TEXT.encode()
    for name, body in {
        "gzip": gzip.compress(raw), "GZIP": gzip.compress(raw), "x-gzip": gzip.compress(raw),
        "deflate": zlib.compress(raw), "br": brotli.compress(raw),
        "zstd": _zstd(raw), "gzip, gzip": gzip.compress(gzip.compress(raw)),
        "gzip, br": brotli.compress(gzip.compress(raw)), "identity": raw, "": raw,
    }.items():  # fmt: skip
        stand.replies["/people/1"] = lambda _, body=body, name=name: answer(200, body, Content_Encoding=name)
        came = odd.get(CLERK, "/people/1", headers={"Accept-Encoding": "gzip, br"})
        assert strictly(came)["person"]["mobile"] == "199****1234", name
        assert "content-encoding" not in came.headers
        assert not leaked(came, SECRETS)
        assert int(came.headers["content-length"]) == len(came.body)


def test_m09_codings_that_lie_bomb_or_nest_are_withheld(odd: Vouched, stand: Recorder) -> None:
    raw = TEXT.encode()
    packed = gzip.compress(raw)
    bomb = (
        b'{"person":' + b" " * 60_000_000 + b'{"id":1,"branch":"north","tier":"mass","mobile":"19900001234"}}'
    )
    for name, body in (
        ("gzip", raw), ("br", packed), ("zstd", packed), ("deflate", packed), ("", packed),
        ("identity", packed),
        ("gzip", packed[:-9]), ("gzip", packed[:-4]), ("gzip", packed + b"x"), ("gzip", packed + packed),
        ("gzip", packed + raw),
        ("gzip, gzip, gzip", gzip.compress(gzip.compress(packed))), ("gzip, gzip", packed),
        ("compress", raw), ("aes128gcm", raw),
        ("exi", raw), ("gzip;q=1", packed), ("gzip gzip", packed), ("g\u00fczip", packed), ("gzip", b""),
        ("chunked", raw), ("*", raw),
        ("gzip", gzip.compress(bomb, 1)), ("br", brotli.compress(bomb, quality=1)), ("zstd", _zstd(bomb)),
        ("deflate", zlib.compress(bomb, 1)),
        ("gzip, gzip", gzip.compress(gzip.compress(bomb, 1))),
        ("gzip", gzip.compress(UNREADABLE["deep arrays"])),
    ):  # fmt: skip
        stand.replies["/people/1"] = lambda _, body=body, name=name: answer(200, body, Content_Encoding=name)
        unreadable(odd.get(CLERK, "/people/1"))
    twice = b"HTTP/1.1 200 X\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Encoding: identity\r\nContent-Length: %d\r\n\r\n%b"
    stand.replies["/people/1"] = lambda _: twice % (len(raw), raw)
    unreadable(odd.get(CLERK, "/people/1"))


def test_m09_content_types_that_stand_twice_or_lie_are_withheld(odd: Vouched, stand: Recorder) -> None:
    raw = TEXT.encode()
    for first, second in (
        ("application/json", "text/html"),
        ("text/html", "application/json"),
        ("application/json", "application/json"),
    ):
        head = f"HTTP/1.1 200 X\r\nContent-Type: {first}\r\nContent-Type: {second}\r\nContent-Length: {len(raw)}\r\n\r\n"
        stand.replies["/people/1"] = lambda _, head=head: head.encode() + raw
        unreadable(odd.get(CLERK, "/people/1"))
    for media, body in (
        ("application/json; charset=utf-16", TEXT.encode("utf-16")),
        ("application/json; charset=gbk", TEXT.encode("gbk")),
        ("application/json; charset=utf-7", TEXT.encode("utf-7").replace(b'"', b"+ACI-")),
        ("application/json;", UNREADABLE["BOM"]),
    ):  # fmt: skip
        stand.replies["/people/1"] = lambda _, media=media, body=body: answer(200, body, media)
        unreadable(odd.get(CLERK, "/people/1"))
    for media in (
        "application/json; charset=utf-16",
        "application/json;charset=UTF-7",
        "application/vnd.bank.v1+json",
        "APPLICATION/JSON",
    ):
        stand.replies["/people/1"] = lambda _, media=media: answer(200, raw, media)
        came = odd.get(CLERK, "/people/1")
        assert strictly(came)["person"]["mobile"] == "199****1234"
        assert "utf-16" not in came.headers["content-type"]
        assert "utf-7" not in came.headers["content-type"]


# -- M09: rows ----------------------------------------------------------------------------------------------

NORTH = {"id": 1, "branch": "north", "tier": "mass", "name": "张伟民", "mobile": MOBILE}
SOUTH = {"id": 2, "branch": "south", "tier": "mass", "name": "王芳芳", "mobile": OTHER}
LINES = [
    [json.dumps(NORTH), json.dumps(SOUTH)], [json.dumps(NORTH) + "\r", "", " ", json.dumps(SOUTH)],
    [json.dumps(NORTH) + json.dumps(SOUTH)], [f"[{json.dumps(NORTH)},{json.dumps(SOUTH)}]"],
    ["\ufeff" + json.dumps(NORTH)],
    [json.dumps(NORTH) + ","], ["//" + json.dumps(NORTH)], [json.dumps(NORTH, indent=1)],
    [json.dumps(NORTH) + "\u2028" + json.dumps(SOUTH)],
    [json.dumps(NORTH)[:-1]],
    ['{"id":1,"branch":"south","branch":"north","tier":"mass","mobile":"19900001234"}'],
    ["data: " + json.dumps(NORTH)],
    ['"19900001234"', "19900001234", "null"], [json.dumps({"person": NORTH})], ["\x1e" + json.dumps(NORTH)],
    ["id,mobile", "1,19900001234"],
    [json.dumps(NORTH) + "\x0c" + json.dumps(SOUTH)], ["{}"], ["[" * 5000],
    [json.dumps({**NORTH, "id": None})], [json.dumps({**NORTH, "id": [1]})],
]  # fmt: skip


@pytest.mark.parametrize("split", [1, 7, 4096])
def test_m09_json_lines_are_split_at_line_feeds_only_and_masked_one_by_one(
    odd: Vouched, stand: Recorder, split: int
) -> None:
    for lines in LINES:
        body = "\n".join(lines).encode()

        def reply(_: Any, body: bytes = body) -> Any:
            yield b"HTTP/1.1 200 X\r\nContent-Type: application/x-ndjson\r\n\r\n"
            for at in range(0, len(body), split):
                yield body[at : at + split]

        stand.replies["/people.ndjson"] = reply
        came = _until_it_ends(odd, EXPORTER, "/people.ndjson")
        assert not leaked(came, [*SECRETS, "王芳芳", "王**"]), lines
        if came.startswith(b"HTTP/1.1 200"):
            for line in _unchunked(came).splitlines():
                assert json.loads(line, object_pairs_hook=no_key_twice)["id"] == 1


def _until_it_ends(odd: Vouched, actor: dict[str, Any], target: str) -> bytes:
    """All that came, also of an answer that breaks off."""
    import http.client

    try:
        came = odd.get(actor, target)
    except (http.client.IncompleteRead, http.client.RemoteDisconnected) as error:
        return b"HTTP/1.1 broken\r\n\r\n" + getattr(error, "partial", b"")
    return b"HTTP/1.1 %d\r\n%b\r\n\r\n%b" % (came.status, repr(came.headers).encode(), came.body)


def _unchunked(came: bytes) -> bytes:
    return came.partition(b"\r\n\r\n")[2]


def test_m09_rows_leave_only_to_those_who_may_export_them(odd: Vouched, stand: Recorder) -> None:
    rows = (json.dumps(NORTH) + "\n").encode()
    for media in ("application/x-ndjson", "application/ndjson", "application/jsonl", "text/csv"):
        stand.replies["/people"] = lambda _, media=media: answer(200, rows, media)
        for actor in (CLERK, CHIEF):
            came = odd.get(actor, "/people")
            assert (came.status, came.problem) == (403, "not-permitted"), media
            assert not leaked(came, SECRETS)
    for media in (
        "text/event-stream",
        "application/json-seq",
        "application/stream+json-lines",
        "application/x-json-stream",
    ):
        stand.replies["/people"] = lambda _, media=media: answer(200, rows, media)
        unreadable(odd.get(EXPORTER, "/people"))
    for actor in (CLERK, CHIEF):
        with stand.unasked():
            assert odd.get(actor, "/people.ndjson").status == 403
            assert odd.get(actor, "/people.csv").status == 403


HEAD = "id,branch,tier,name,mobile,note,score\n"
CSV: dict[str, str] = {
    "plain": HEAD + "1,north,mass,张伟民,19900001234,call 19900001234,5\n2,south,mass,王芳芳,19900005678,x,5\n",
    "quoted": 'id,branch,"tier","name","mobile"\n"1","north","mass","张伟民","19900001234"\n',
    "quoted line feed": HEAD + '1,north,mass,"张伟民\n2,south",19900001234,"a\r\n19900001234",5\n',
    "doubled quotes": HEAD + '1,north,mass,"张""19900001234""民",19900001234,x,5\n',
    "bare quote": HEAD + '1,north,mass,张"伟,"民,19900001234,x,5\n',
    "unclosed": HEAD + '1,north,mass,"张伟民,19900001234,x,5\n',
    "after a quote": HEAD + '1,north,mass,"张"伟,19900001234,x,5\n',
    "ragged": HEAD + "1,north,mass,张伟民,x,19900001234\n",
    "wide": HEAD + "1,north,mass,张伟民,x,y,5,19900001234\n", "narrow": "id,branch\n1,north,19900001234\n",
    "no header": "1,north,19900001234\n",
    "column twice": "id,branch,branch,mobile\n1,south,north,19900001234\n",
    "id twice": "id,id,branch,score\n1,2,north,19900001234\n",
    "cased": "Id,BRANCH,Mobile,Score\n1,north,19900001234,19900001234\n",
    "spaced": "id, branch, score\n1,north,19900001234\n",
    "full-width": "id,branch,ｍobile,ｓcore\n1,north,19900001234,19900001234\n",
    "BOM": "\ufeff" + HEAD + "1,north,mass,张伟民,19900001234,x,5\n",
    "sep": "sep=;\nid;branch;score\n1;north;19900001234\n",
    "semicolons": "id;branch;mobile\n1;north;19900001234\n",
    "tabs": "id\tbranch\tmobile\n1\tnorth\t19900001234\n",
    "two delimiters": "id;branch,mobile,score\n1;north,19900001234,19900001234\n",
    "bar": "id|branch|score\n1|north|19900001234\n",
    "comment": "# 19900001234\n" + HEAD + "1,north,mass,张伟民,19900001234,x,5\n",
    "NUL": HEAD + "1,north,mass,张\0伟民,19900001234,x,5\n",
    "CR only": HEAD.replace("\n", "\r") + "1,north,mass,张伟民,19900001234,x,5\r",
    "CR in a cell": HEAD + "1,north,mass,张\r伟民,19900001234,x,5\n",
    "vertical tab": HEAD + "1,north,mass,张\x0b伟民,19900001234,x,5\x0c2,south,mass,x,19900005678,x,5\n",
    "next line": HEAD + "1,north,mass,张伟民,19900001234,x,5\x852,south,mass,x,19900005678,x,5\u20283,south,x,y,19900005678,x,5\n",
    "formula": HEAD + "1,north,mass,=cmd,@19900001234,+19900001234,5\n", "empty": "", "header only": HEAD,
    "empty lines": HEAD + "\n\n1,north,mass,张伟民,19900001234,x,5\n\n",
    "no id": "branch,mobile,score\nnorth,19900001234,19900001234\n",
    "empty id": HEAD + ",north,mass,张伟民,19900001234,x,5\n",
    "no tier": "id,branch,mobile\n1,north,19900001234\n",
    "no branch": "id,tier,mobile\n1,mass,19900001234\n",
    "backslash": HEAD + '1,north,mass,"张\\",伟民",19900001234,x,5\n',
    "single quotes": HEAD + "1,north,mass,'张,伟',19900001234,x,5\n",
    "private": HEAD + "1,north,private,张伟民,19900001234,x,19900001234\n",
    "South": HEAD + "1,North,mass,张伟民,19900001234,x,19900001234\n",
    "space before the branch": HEAD + "1, north,mass,张伟民,19900001234,x,19900001234\n",
    "JSON": json.dumps({"items": [NORTH]}), "HTML": f"<p>{MOBILE}</p>\n",
    "long cell": HEAD + f"1,north,mass,{'张' * 70_000},19900001234,x,5\n",
    "dotted": "id,branch,tier,profile.city,profile.tax.no\n1,north,mass,pudong,990101199001011234\n",
    "list": "id,branch,tier,tags,phones\n1,north,mass,a;b,19900001234;19900005678\n",
    "clash": "id,branch,tier,profile,profile.city\n1,north,mass,19900001234,x\n",
}  # fmt: skip
WITHHELD = {
    "bare quote", "unclosed", "after a quote", "ragged", "wide", "narrow", "no header", "column twice",
    "id twice", "cased", "spaced", "sep", "two delimiters",
    "bar", "comment", "NUL", "CR only", "no id", "JSON", "HTML", "backslash", "single quotes", "full-width",
}  # fmt: skip


@pytest.mark.parametrize("name", CSV)
def test_m09_csv_is_read_in_one_way_or_withheld(odd: Vouched, stand: Recorder, name: str) -> None:
    for ending in ("\n", "\r\n"):
        body = CSV[name].replace("\n", ending) if "\r" not in CSV[name] else CSV[name]
        stand.replies["/people.csv"] = lambda _, body=body: answer(200, body, "text/csv")
        came = _until_it_ends(odd, EXPORTER, "/people.csv")
        assert not leaked(came, SECRETS), came
        assert "王芳芳".encode() not in came
        if name in WITHHELD:
            assert not came.startswith(b"HTTP/1.1 200") or b"****" not in came, came
        for cell in (
            _unchunked(came).decode("utf-8", "replace").replace("\r", "\n").replace("\n", ",").split(",")
        ):
            assert not cell.lstrip('"').startswith(("@", "+")), cell


def test_m09_a_cell_that_was_changed_is_no_formula(odd: Vouched, stand: Recorder) -> None:
    for note, left in (
        ("=SUM(19900001234)", "'=SUM([phone])"), ("@19900001234", "[email]"), ("-x 19900001234", "'-x [phone]"),
        ('"=1,19900001234"', '"\'=1,[phone]"'), ("+x19900001234", "'+x[phone]"), ("=1+1", "=1+1"),
    ):  # fmt: skip
        stand.replies["/people.csv"] = lambda _, note=note: answer(
            200, f"{HEAD}1,north,mass,x,1,{note},5\n", "text/csv"
        )
        [_, row] = odd.get(EXPORTER, "/people.csv").body.decode().splitlines()
        assert row == f"1,****,****,{left},5,mass"


def test_m09_a_csv_in_the_banks_own_charset_is_masked_in_it(odd: Vouched, stand: Recorder) -> None:
    body = CSV["plain"]
    for charset, codec in (
        ("GBK", "gbk"),
        ('"gb18030"', "gb18030"),
        ("utf-8", "utf-8"),
        ("gb2312", "gb18030"),
    ):
        stand.replies["/people.csv"] = lambda _, c=charset, k=codec: answer(
            200, body.encode(k), f"text/csv; charset={c}"
        )
        came = odd.get(EXPORTER, "/people.csv")
        assert came.status == 200, came
        [_, row] = came.body.decode(codec).splitlines()
        assert row == "1,张**,199****1234,call [phone],5,mass", row
        assert came.headers["content-type"] == f"text/csv; charset={charset.strip(chr(34)).lower()}"
    for charset, codec in (
        ("utf-16", "utf-16"),
        ("shift_jis", "gbk"),
        ("utf-8", "gbk"),
        ("", "gbk"),
        ("utf-7", "utf-7"),
    ):
        stand.replies["/people.csv"] = lambda _, c=charset, k=codec: answer(
            200, body.encode(k), f"text/csv; charset={c}"
        )
        assert not leaked(_until_it_ends(odd, EXPORTER, "/people.csv"), [*SECRETS, "王芳芳", "张伟民"])


def test_m09_an_export_stops_at_its_limit_and_an_aborted_one_has_no_clean_end(
    odd: Vouched, stand: Recorder
) -> None:
    rows = "".join(f"{n},north,mass,张伟民,{MOBILE},x,5\n" for n in range(1, 402))
    stand.replies["/people.csv"] = lambda _: answer(200, HEAD + rows, "text/csv")
    came = _until_it_ends(odd, EXPORTER, "/people.csv")
    assert not came.startswith(b"HTTP/1.1 200")
    assert not leaked(came, SECRETS)

    def breaks_off(_: Any) -> Any:
        yield (
            b"HTTP/1.1 200 X\r\nContent-Type: text/csv\r\nContent-Length: 99999\r\n\r\n"
            + (HEAD + rows[:900]).encode()
        )

    stand.replies["/people.csv"] = breaks_off
    came = _until_it_ends(odd, EXPORTER, "/people.csv")
    assert not came.startswith(b"HTTP/1.1 200"), "a truncated export must not look whole"
    assert not leaked(came, SECRETS)


# -- M09: answers too large to be held ----------------------------------------------------------------------

MANY = [{**NORTH, "id": n} for n in range(1, 300)]
PAD = "x" * 5_000


def _large(records: list[dict[str, Any]], **around: Any) -> str:
    padded = [{**record, "pad": PAD} for record in records]
    return json.dumps({"items": padded, **around}, ensure_ascii=False)


DOUBLE_RECORD = (
    '{"id":1,"branch":"south","branch":"north","tier":"mass","mobile":"19900001234","pad":"' + PAD + '"}'
)
LARGE: dict[str, str] = {
    "plain": _large(MANY), "hidden among them": _large([*MANY, SOUTH, {**NORTH, "tier": "private",
    "mobile": OTHER}]),
    "beside": _large(MANY, facets={MOBILE: ID}, debug=OWN, total=300, person=OWN),
    "total first": '{"total":300,"facets":{"x":"19900001234"},' + _large(MANY)[1:],
    "cut": _large(MANY)[:-2], "cut in a record": _large(MANY)[:1_300_000],
    "two documents": _large(MANY) + TEXT, "after": _large(MANY) + " x19900001234",
    "key twice": _large(MANY)[:-1] + ',"items":[{"id":1,"branch":"south","mobile":"19900001234"}]}',
    "other key": _large(MANY)[:-1] + ',"Items":[{"mobile":"19900001234"}]}',
    "escaped key twice": _large(MANY)[:-1] + ',"\\u0069tems":[{"id":1,"branch":"south","mobile":"19900001234"}]}',
    "NaN at the end": _large(MANY)[:-1] + ',"x":NaN}',
    "bad record at the end": _large(MANY)[:-2] + ',{"id":1,"branch":"north","mobile":19900001234"}]}',
    "comma": _large(MANY)[:-2] + ",]}", "no comma": _large(MANY)[:-2] + '{"id":1,"mobile":"19900001234"}]}',
    "scalars": _large(MANY)[:-2] + ',"19900001234",19900001234,null]}',
    "arrays": _large(MANY)[:-2] + ',[{"id":1,"branch":"north","mobile":"19900001234"}]]}',
    "deep": _large(MANY)[:-2] + "," + "[" * 5000 + "]" * 5000 + "]}",
    "one large record": json.dumps({"person": {**NORTH, "pad": PAD * 300}}),
    "one large hidden record": json.dumps({"person": {**SOUTH, "pad": PAD * 300}}),
    "an array alone": json.dumps([{**record, "pad": PAD} for record in MANY]),
    "a large text": json.dumps(PAD * 300 + MOBILE),
    "unknown form": json.dumps({"data": [{**OWN, "pad": PAD * 300}]}),
    "double keys in records": f'{{"items":[{",".join([DOUBLE_RECORD] * 250)}]}}',
    "groups": json.dumps({"groups": [{"x": MOBILE, "members": [{**record, "pad": PAD}]} for record in [*MANY,
    SOUTH]]}),
}  # fmt: skip
BROKEN = {
    "cut",
    "cut in a record",
    "two documents",
    "after",
    "key twice",
    "escaped key twice",
    "NaN at the end",
    "bad record at the end",
    "comma",
    "no comma",
    "deep",
    "a large text",
    "one large record",
    "unknown form",
}


@pytest.mark.parametrize("name", LARGE)
def test_m09_large_answers_leave_in_parts_under_the_same_rules(
    odd: Vouched, stand: Recorder, name: str
) -> None:
    stand.replies["/people"] = lambda _: answer(200, LARGE[name])
    came = _until_it_ends(odd, CLERK, "/people")
    assert not leaked(came, [*SECRETS, "王芳芳", "王**", "199****5678", PAD[:100]])
    assert came.startswith(b"HTTP/1.1 200") == (name not in BROKEN and name != "one large hidden record"), (
        came[:300]
    )
    if came.startswith(b"HTTP/1.1 200"):
        json.loads(_unchunked(came), object_pairs_hook=no_key_twice)
        assert b'"total"' not in came


# -- M15: numbers -------------------------------------------------------------------------------------------

NUMBERS = [
    "0", "-0", "0.0", "-0.0", "100.00", "0.10", "1e5", "1E+5", "1e-7", "1E400", "-1E400", "1e-400",
    "9007199254740993", "18446744073709551616",
    "123456789012345678901234567890", "3.14159265358979323846264338327950288",
    "0.1000000000000000055511151231257827", "1" + "0" * 400, "9" * 5000,
    "0." + "0" * 400 + "1", "1.7976931348623157e308", "1.7976931348623159e308", "-9223372036854775809",
    "1.0E0", "2.50",
]  # fmt: skip


@pytest.mark.parametrize("digits", NUMBERS, ids=lambda digits: digits[:24])
def test_m15_a_clear_number_keeps_every_digit_wherever_it_stands(
    odd: Vouched, stand: Recorder, digits: str
) -> None:
    body = f'{{"id":1,"branch":"north","tier":"mass","score":{digits},"city":{digits},"tags":[{digits},"x"],"profile":{{"city":{digits}}}}}'
    unusual = body[:-1] + ',"phones":{"x":1},"kin":5}'  # not of the policy's form, hence read another way
    for content, path in (
        (f'{{"person":{body}}}', "/people/1"), (f'{{"items":[{body},{body}]}}', "/people"),
        (f'{{"person":{unusual}}}', "/people/1"), (f'{{"items":[{unusual},{body}]}}', "/people"),
    ):  # fmt: skip
        stand.replies[path] = lambda _, content=content: answer(200, content)
        for actor in (CLERK, CHIEF):
            came = odd.get(actor, path)
            assert came.status == 200
            expected = f'"score":{digits},"city":{digits},"tier":"mass","tags":[{digits},"x"],"profile":{{"city":{digits}}}'
            assert expected in came.body.decode(), came.body[:600]


@pytest.mark.parametrize("digits", NUMBERS, ids=lambda digits: digits[:24])
def test_m15_a_masked_number_is_a_text_or_nothing_and_shows_no_digit_too_many(
    odd: Vouched, stand: Recorder, digits: str
) -> None:
    record = f'{{"id":1,"branch":"north","tier":"mass","amount":{digits},"mobile":{digits},"id_no":{digits},"name":{digits},"note":{digits},"account":{digits},"limits":{{"a":{digits}}},"phones":[{digits}]}}'
    stand.replies["/people/1"] = lambda _: answer(200, f'{{"person":{record}}}')
    left = strictly(odd.get(CLERK, "/people/1"))["person"]
    bands = ("<1000", "1000-100000", ">=100000", None)
    assert left.pop("amount", None) in bands
    assert left.pop("limits", {"a": None})["a"] in bands
    assert (left.pop("id"), left.pop("tier")) == (1, "mass")
    for value in (*left.pop("phones", []), *left.values()):
        assert value is None or isinstance(value, str)
        assert value is None or len(value) <= 8
        assert value != digits


def test_m15_numbers_as_texts_and_texts_as_numbers_keep_their_types(odd: Vouched, stand: Recorder) -> None:
    for amount, band in (
        ("999.99", "<1000"), ("1000", "1000-100000"), ('"73500.50"', "1000-100000"), ('"1e9"', "****"),
        ('"NaN"', "****"), ('" 5"', "****"), ('"１０００"', "****"),
        ("true", None), ("[1]", None), ('{"x":1}', None), ("null", None), ('"-5"', "<1000"), ("1e999", None),
        ('"0x10"', "****"), ('""', "****"),
    ):  # fmt: skip
        stand.replies["/people/1"] = lambda _, amount=amount: answer(
            200, f'{{"person":{{"id":1,"branch":"north","tier":"mass","amount":{amount}}}}}'
        )
        assert strictly(odd.get(CLERK, "/people/1"))["person"].get("amount") == band, amount
    for mobile, mask in (
        ("19900001234", "199****1234"),
        ("19900001234.0", None),
        ("1.9900001234e10", None),
        ("true", None),
        ("19900001234000000000000", "****"),
    ):
        stand.replies["/people/1"] = lambda _, mobile=mobile: answer(
            200, f'{{"person":{{"id":1,"branch":"north","tier":"mass","mobile":{mobile}}}}}'
        )
        assert strictly(odd.get(CLERK, "/people/1"))["person"].get("mobile") == mask, mobile


@pytest.mark.parametrize(
    "number", ["1.0", "1e0", "true", "null", "[1]", '{"id":1}', '""', "1" * 80, "1.5", "-0.0", "NaN"]
)
def test_m15_a_record_whose_id_cannot_be_put_on_record_does_not_leave(
    odd: Vouched, stand: Recorder, number: str
) -> None:
    stand.replies["/people/1"] = lambda _: answer(
        200, f'{{"person":{{"id":{number},"branch":"north","tier":"mass","mobile":"{MOBILE}"}}}}'
    )
    came = odd.get(CHIEF, "/people/1")
    assert came.status in (404, 502), came
    assert not leaked(came, [MOBILE])
    stand.replies["/people"] = lambda _: answer(
        200, f'{{"items":[{{"id":{number},"branch":"north","tier":"mass","mobile":"{MOBILE}"}}]}}'
    )
    came = odd.get(CHIEF, "/people")
    assert not leaked(came, [MOBILE])
