"""Answers that leave in parts: the same bytes however they come in, the same values as a whole body."""

from __future__ import annotations

import csv
import io
import json
import tracemalloc
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privguard.errors import AccessDeniedError, UnreadableResponseError
from privguard.masking import MaskTools, compile_masker
from privguard.masking.operators import Use, make_operator
from privguard.masking.parts import BLOCK, Part
from privguard.masking.stream import open_stream
from privguard.model import (
    ClassSpec,
    Decision,
    Disclosure,
    FieldSpec,
    FieldView,
    Mask,
    Outcome,
    Principal,
    ResourceShape,
    SubjectRef,
    View,
)

NAME, CONTACT, SECRET = (
    ClassSpec("name", mask=Mask("cjk_name")),
    ClassSpec("contact", mask=Mask("partial", (("first", 1),))),
    ClassSpec("secret"),
)
FIELDS = (
    FieldSpec("id"),
    FieldSpec("name", NAME, NAME.mask),
    FieldSpec("mobile", CONTACT, CONTACT.mask),
    FieldSpec("address.city"),
    FieldSpec("tags[*]"),
    FieldSpec("balance"),
    FieldSpec("cvv", SECRET),
    FieldSpec("cards[*].pan", CONTACT, CONTACT.mask),
)
ENVELOPE = tuple(
    (f"$.{place}page", "public") for place in ("", "data.", "more.", "items[*].", "data.items[*].", "client.")
)
ACTOR = Principal("rm1")
JSON, CSV, LINES = "application/json", "text/csv", "application/x-ndjson"
TOOLS = MaskTools(today=lambda: date(2026, 1, 5), token=lambda *_: "t")


class Plan:
    """Nothing of records in branch X; stars for names and contacts, no secrets."""

    def __init__(self, places: tuple[str, ...] = ("$.items[*]",), export: Any = None) -> None:
        envelope = tuple(
            (path, kind)
            for path, kind in ENVELOPE
            if not any(path.startswith(f"{place}.") for place in places)
        )
        self.shape = ResourceShape(
            "client", "client", places, FIELDS, envelope=envelope, columns=(("tags", ";"),)
        )
        self.reads = ("branch",)
        self.rules = ("all",)
        self.purpose = "service"
        self.sees_all = False
        self.export = (("csv", None), ("ndjson", None)) if export is None else export
        self._permitted = Decision(Outcome.PERMITTED, self.strongest())
        self._denied = Decision(Outcome.DENIED)

    def judge(self, actor: Principal, values: Sequence[object]) -> Decision:
        return self._denied if values == ("X",) or values == ["X"] else self._permitted

    def strongest(self) -> tuple[FieldView, ...]:
        views = {"name": View.MASKED, "contact": View.MASKED, "secret": View.WITHHELD}
        return tuple(
            FieldView(spec, view, spec.mask if view is View.MASKED else Mask(view.label))
            for spec in FIELDS
            for view in (views.get(spec.cls.name, View.CLEAR),)
        )

    weakest = strongest

    def unread(self) -> Decision:
        return self._denied


def parse(raw: bytes) -> Any:
    return json.loads(raw, parse_float=Decimal)


def parts(media: str, chunks: Iterable[bytes], plan: Any = None) -> list[Part]:
    plan = plan or Plan()
    stream = open_stream(media, compile_masker(plan, TOOLS), plan, ACTOR, {})
    out = [part for chunk in chunks for part in stream.feed(chunk)]
    return [*out, *stream.close()]


def body(media: str, raw: bytes, plan: Any = None) -> bytes:
    return b"".join(part.body for part in parts(media, [raw], plan))


def cut(raw: bytes, sizes: Iterable[int]) -> Iterator[bytes]:
    for size in sizes:
        yield raw[:size]
        raw = raw[size:]
    yield raw


# -- JSON ---------------------------------------------------------------------------------------------------

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
SCALAR = st.none() | st.booleans() | st.integers() | TEXT | st.decimals(allow_nan=False, allow_infinity=False)
ANYTHING = st.recursive(
    SCALAR, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3), max_leaves=6
)
RECORD = st.fixed_dictionaries(
    {"id": st.integers(0, 99)},
    optional={
        "name": TEXT,
        "mobile": TEXT,
        "tags": st.lists(TEXT, max_size=2),
        "cvv": TEXT,
        "branch": st.sampled_from("XY"),
        "balance": SCALAR,
        "more": ANYTHING,
    },
)
ITEMS = st.lists(RECORD | ANYTHING, max_size=6)
PLACES = [
    ("$.items[*]",),
    ("$[*]",),
    ("$.items[*]", "$.client", "$.recent[*]"),
    ("$.data.items[*]", "$.data.client", "$.more.items[*]"),
    ("$.items[*].client",),
    ("$",),
]


def document(places: tuple[str, ...]) -> st.SearchStrategy[Any]:
    if places == ("$[*]",):
        return ITEMS | ANYTHING
    if places == ("$",):
        return RECORD | ANYTHING
    plain = {"page": ANYTHING, "total": ANYTHING, "other": ANYTHING, "client": RECORD}
    nested = {"items": ITEMS | SCALAR, "recent": ITEMS, **plain}
    outer = {**nested, "data": st.fixed_dictionaries({}, optional=nested), "more": st.just({"items": []})}
    if places == ("$.items[*].client",):
        outer["items"] = st.lists(st.fixed_dictionaries({}, optional={"client": RECORD, "page": SCALAR}))
    return st.fixed_dictionaries({}, optional=outer)


@pytest.mark.parametrize("places", PLACES)
@settings(deadline=None)
@given(data=st.data())
def test_a_json_stream_is_the_same_bytes_however_it_is_cut_and_the_value_of_the_whole(
    places: tuple[str, ...], data: st.DataObject
) -> None:
    value = data.draw(document(places))
    indent = data.draw(st.sampled_from([None, 1]))
    raw = json.dumps(value, indent=indent, default=float, ensure_ascii=data.draw(st.booleans())).encode()
    sizes = data.draw(st.lists(st.integers(1, 30), max_size=8))
    plan = Plan(places)
    in_one = outcome([raw], plan)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("privguard.masking.stream.BLOCK", data.draw(st.integers(1, 64)))
        in_blocks = outcome(cut(raw, sizes), plan)
        assert in_blocks == outcome([raw], plan)
    assert value_of(in_blocks) == value_of(in_one) == value_of(whole(raw, plan))


def outcome(chunks: Iterable[bytes], plan: Plan) -> bytes | type:
    try:
        return b"".join(part.body for part in parts(JSON, chunks, plan))
    except (UnreadableResponseError, AccessDeniedError) as error:
        return type(error)


def whole(raw: bytes, plan: Plan) -> bytes | type:
    try:
        masked = compile_masker(plan, TOOLS).json(raw, ACTOR, {})
    except UnreadableResponseError as error:
        return type(error)
    return AccessDeniedError if masked.refused is not None else masked.body


def value_of(out: bytes | type) -> Any:
    return parse(out) if isinstance(out, bytes) else out


def test_numbers_keep_their_digits() -> None:
    for number in (b"100.00", b"36893488147419103232", b"1E+400", b"-0.10"):
        assert body(JSON, b'{"items":[{"id":1,"balance":%b}]}' % number).endswith(b":%b}]}" % number)


def test_disclosures_come_with_the_bytes_they_are_about() -> None:
    items = ",".join(f'{{"id":"c{n}","name":"n{n}"}}' for n in range(700))
    found = parts(JSON, [f'{{"items":[{items}],"page":1}}'.encode()])
    assert [part.clients for part in found] == [256, 256, 188, 0]
    for part in found[:3]:
        subjects = [subject.id for each in part.disclosures for subject in each.subjects]
        assert [f'"id":"{one}"'.encode() in part.body for one in subjects] == [True] * len(subjects)
        assert part.body.count(b'"id"') == len(subjects)
    assert found[3].body == b'],"page":1}'


MALFORMED = [
    b"", b" ", b"{", b'{"items":', b'{"items":[', b'{"items":[{"id":1}', b'{"items":[{"id":1},',
    b'{"items":[{"id":1}]', b'{"items":[{"id":1},]}', b'{"items":[,{"id":1}]}', b'{"items":[{"id":1} {}]}',
    b'{"items":[{"id":1}],}', b'{"items":[{"id":1}]}x', b'{"items":[{"id":1}]}{"items":[]}', b'["items"}',
    b'{"items":[{"id":1}]]', b'{"items":[{"id":1}],"items":[]}', b'{"page":1,"page":2}', b'{"items":[nul]}',
    b'{"page":1,"pa\\u0067e":2}', b'{"items":[{"id":1]}]}', b'{"page":NaN}',
    b'{"items":[{"id":01}]}', b"{items:[]}", b'{"items" []}', b'{"items":[]"page":1}', b'{"page":tru}',
    b"\xef\xbb\xbf{}", '{"items":[]}'.encode("utf-16"), '{"items":[]}'.encode("utf-16-le"), b'{"\xff":1}',
    b'{"items":[{"id":"\xff"}]}', b'{"page":"\x01"}', b"\x00", b"<html></html>", b'{"items":[{"id":1}]}\x00',
    b'{"items":[' + b"[" * 70 + b"]" * 70 + b"]}",
]  # fmt: skip


@pytest.mark.parametrize("raw", MALFORMED)
def test_m09_what_is_no_json_is_unreadable(raw: bytes) -> None:
    with pytest.raises(UnreadableResponseError):
        body(JSON, raw)
    with pytest.raises(UnreadableResponseError), pytest.MonkeyPatch.context() as patch:
        patch.setattr("privguard.masking.stream.BLOCK", 1)
        body(JSON, raw)


@pytest.mark.parametrize(
    "raw", [b'{"items":[]}', b"[]", b"3", b"null", b' {"items" : [ ] } \n', b"{}", b'""']
)
def test_small_documents_are_read_or_not_as_a_whole_is(raw: bytes) -> None:
    assert value_of(outcome([raw], Plan())) == value_of(whole(raw, Plan()))


@pytest.mark.parametrize(
    "raw",
    [
        b'{"items":[{"id":1,"name":"%b"}]}' % (b"x" * (1 << 20)),
        b'{"items":[{"id":1,"name":"%b' % (b"x" * (1 << 21)),
        b'{"page":"%b"}' % (b"x" * (1 << 20)),
        b"{%b}" % b",".join(b'"page%d":"%b"' % (n, b"x" * 9000) for n in range(130)),
        b'{"%b' % (b"x" * (1 << 21)),
        b'{"items":[' + b"[" * (1 << 21),
        b"[1" + b"1" * (1 << 21),
    ],
    ids=["record", "endless", "envelope", "many", "key", "depth", "number"],
)
def test_a_record_or_envelope_beyond_a_megabyte_is_unreadable(raw: bytes) -> None:
    with pytest.raises(UnreadableResponseError):
        body(JSON, raw)


def test_memory_stays_flat() -> None:
    item = json.dumps({"id": 1, "name": "n" * 500, "more": {"a": [1, 2, {"b": "]}"}]}}).encode()
    stream = open_stream(JSON, compile_masker(Plan(), TOOLS), Plan(), ACTOR, {})
    given = 0
    tracemalloc.start()
    try:
        given += sum(len(part.body) for part in stream.feed(b'{"items":[' + item))
        for _ in range(200):
            given += sum(len(part.body) for part in stream.feed((b"," + item) * 100))
        given += sum(len(part.body) for part in stream.feed(b"]" + b" " * 1_000_000 + b"}"))
        given += sum(len(part.body) for part in stream.close())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert given == len(b'{"items":[]}') + 20_001 * len(b'{"id":1,"name":"****"},') - 1
    assert peak < 12_000_000


# -- JSON lines ---------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(
    records=st.lists(RECORD | ANYTHING, max_size=8),
    sizes=st.lists(st.integers(1, 30), max_size=8),
    ending=st.sampled_from(["\n", "\r\n", "\n\n", "\n \n"]),
    last=st.booleans(),
    block=st.integers(1, 64),
)
def test_json_lines_are_masked_one_by_one(
    records: list[Any], sizes: list[int], ending: str, last: bool, block: int
) -> None:
    text = ending.join(json.dumps(record, default=float) for record in records)
    raw = (text + ending * last).encode()
    masked, _ = compile_masker(Plan(), TOOLS).records(
        [json.dumps(record, default=float).encode() for record in records], ACTOR, {}
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("privguard.masking.stream.BLOCK", block)
        out = b"".join(part.body for part in parts(LINES, cut(raw, sizes)))
    assert out == b"".join(line + b"\n" for line in masked if line is not None)


@pytest.mark.parametrize(
    "raw", [b'{"id":1}\n{"id":', b'{"id":1} {"id":2}\n', b'"' + b"x" * (1 << 21), b"{}\x00\n"]
)
def test_lines_that_are_no_records_are_unreadable(raw: bytes) -> None:
    with pytest.raises(UnreadableResponseError):
        body(LINES, raw)


# -- CSV ----------------------------------------------------------------------------------------------------

CELL = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)


def csv_text(rows: Iterable[Sequence[str]], delimiter: str = ",", ending: str = "\r\n") -> str:
    out = io.StringIO(newline="")
    quoting = csv.QUOTE_ALL if ending == "\n" else csv.QUOTE_MINIMAL  # which leaves a CR bare there
    csv.writer(out, delimiter=delimiter, lineterminator=ending, quoting=quoting).writerows(rows)
    return out.getvalue()


def csv_rows(raw: bytes, delimiter: str = ",", charset: str = "utf-8") -> list[list[str]]:
    return list(csv.reader(io.StringIO(raw.decode(charset), newline=""), delimiter=delimiter, strict=True))


@settings(deadline=None)
@given(
    rows=st.lists(st.tuples(CELL, CELL, st.sampled_from("XY"), CELL, CELL, CELL, CELL), max_size=8),
    sizes=st.lists(st.integers(1, 30), max_size=8),
    delimiter=st.sampled_from(",;\t"),
    ending=st.sampled_from(["\n", "\r\n"]),
    mark=st.booleans(),
    block=st.integers(1, 64),
)
def test_csv_is_the_same_bytes_however_it_is_cut(
    rows: list[tuple[str, ...]], sizes: list[int], delimiter: str, ending: str, mark: bool, block: int
) -> None:
    header = ("mobile", "id", "branch", "address.city", "cvv", "note", "name")
    raw = ("\ufeff" * mark + csv_text([header, *rows], delimiter, ending)).encode()
    out = body(CSV, raw)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("privguard.masking.stream.BLOCK", 128 + block)  # the header is in the first block
        assert b"".join(part.body for part in parts(CSV, cut(raw, sizes))) == out
    assert out.startswith(b"\xef\xbb\xbf") == mark
    shown = [
        [row[1], masked(NAME.mask, row[6]), masked(CONTACT.mask, row[0]), row[3]]
        for row in rows
        if row[1] and row[2] != "X"
    ]
    assert csv_rows(out[3 * mark :], delimiter) == [["id", "name", "mobile", "address.city"], *shown]
    assert out.endswith(ending.encode())


def masked(mask: Mask, cell: str) -> str:
    text = make_operator(mask, Use("", "", TOOLS)).of(cell) if cell else ""
    return "'" + text if text[:1] in {"=", "+", "-", "@", "\t", "\r"} and text != cell else text


def test_a_list_within_a_cell_reaches_the_masker_as_a_list() -> None:
    seen: list[bytes] = []
    masker = compile_masker(Plan(), TOOLS)

    class Spy:
        def records(self, raws: Any, actor: Any, params: Any) -> Any:
            seen.extend(raws)
            return masker.records(raws, actor, params)

    stream = open_stream(CSV, Spy(), Plan(), ACTOR, {})  # type: ignore[arg-type]
    list(stream.feed(b"id,tags,balance\n1,a;b,100.00\n2,,\n"))
    out = b"".join(part.body for part in stream.close())
    assert [parse(raw) for raw in seen] == [
        {"id": "1", "tags": ["a", "b"], "balance": "100.00"},
        {"id": "2", "tags": [], "balance": None},
    ]
    assert out == b"id,tags,balance\n1,a;b,100.00\n2,,\n"


def test_the_header_depends_on_the_plan_and_not_on_the_rows() -> None:
    header = b"cvv,unknown,mobile,branch,id\n"
    for rows in (b"", b"1,2,3,X,4\n", b"1,2,3,Y,4\n"):
        assert body(CSV, header + rows).splitlines()[0] == b"id,mobile"


@pytest.mark.parametrize(
    ("charset", "codec"), [("gbk", "gbk"), ("GB2312", "gbk"), ('"gb18030"', "gb18030"), ("UTF-8", "utf-8")]
)
def test_chinese_charsets_are_read_and_kept(charset: str, codec: str) -> None:
    raw = "id,name,address.city\r\n1,王晓明,北京市\r\n".encode(codec)
    for size in (1, 100):
        chunks = [raw[at : at + size] for at in range(0, len(raw), size)]
        out = b"".join(part.body for part in parts(f"text/csv; charset={charset}", chunks))
        assert out.decode(codec) == "id,name,address.city\r\n1,王**,北京市\r\n"


@pytest.mark.parametrize(
    "raw",
    [
        b"id,id\n1,2\n", b"id,mobile,mobile\n1,2,3\n", b"id,name\n1\n", b"id,name\n1,2,3\n", b'"id\n',
        b'id,name\n1,a"b\n', b'id,name\n1,"a"b\n', b'id,name\n1,"a\n', b'id,name\n1,"a""\n', b"id\n1\x00\n",
        b"name\n1\n", b"unknown\n1\n", b"\xff\xfei\x00d\x00", b"id,name\n1,\xff\n", b"id;name\n1,2\n",
        b'id,name\n1,"' + b"x" * (1 << 21), b"id,name\n1," + b"x" * 200_000 + b"\n", b"\n\n", b"id,name\r1\r",
        "id，name\n".encode(), b"Id,name\n1,2\n", b"id,address.city,address.city\n",
    ],
)  # fmt: skip
def test_m09_what_is_no_plain_csv_is_unreadable(raw: bytes) -> None:
    with pytest.raises(UnreadableResponseError):
        body(CSV, raw)


def test_an_empty_file_and_empty_lines_are_nothing() -> None:
    assert body(CSV, b"") == b""
    assert body(CSV, b"id,name\n\n1,ab\n\n") == b"id,name\n1,a**\n"
    assert body(CSV, b"id,name") == b"id,name\n"
    assert body(CSV, b"id\n1\n2") == b"id\n1\n2\n"


def test_columns_must_say_whose_the_rows_are_and_show_something() -> None:
    plan = Plan()
    plan.reads = ("address",)
    with pytest.raises(UnreadableResponseError, match="within another"):
        body(CSV, b"id,address,address.city\n1,a,b\n", plan)
    with pytest.raises(UnreadableResponseError, match="no column id"):
        body(CSV, b"name\nab\n")
    by_route = Plan()
    by_route.shape = msgspec.structs.replace(by_route.shape, id="{id}")
    stream = open_stream(CSV, compile_masker(by_route, TOOLS), by_route, ACTOR, {"id": "7"})
    found = [*stream.feed(b"name\nab\n"), *stream.close()]
    assert [subject.id for part in found for each in part.disclosures for subject in each.subjects] == ["7"]
    stream = open_stream(CSV, compile_masker(by_route, TOOLS), by_route, ACTOR, {"id": "7"})
    with pytest.raises(UnreadableResponseError, match="may see"):
        _ = [*stream.feed(b"cvv\n1\n"), *stream.close()]


@pytest.mark.parametrize("charset", ["utf-16", "latin1", "shift_jis", "x"])
def test_other_charsets_are_unreadable(charset: str) -> None:
    with pytest.raises(UnreadableResponseError):
        body(f"text/csv;charset={charset}", b"id\n1\n")


# -- exports ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("media", [CSV, LINES, "text/CSV; header=present", "application/jsonl"])
def test_an_export_needs_a_plan_that_permits_its_format(media: str) -> None:
    plan = Plan(export=())
    with pytest.raises(AccessDeniedError):
        body(media, b"id\n1\n", plan)


@pytest.mark.parametrize(
    ("media", "line"), [(CSV, "{},ab\n"), (LINES, '{{"id":"{}","name":"ab"}}\n')], ids=["csv", "ndjson"]
)
def test_an_export_stops_at_its_number_of_clients(media: str, line: str) -> None:
    plan = Plan(export=(("csv", 3), ("ndjson", 3)))
    header = "id,name\n" * (media == CSV)
    rows = [line.format(n % 3) for n in range(1000)]
    parts(media, [(header + "".join(rows)).encode()], plan)
    with pytest.raises(AccessDeniedError):
        parts(media, [(header + "".join([*rows, line.format(7)])).encode()], plan)


def test_only_clients_that_are_shown_count() -> None:
    class Refuser:
        def records(self, raws: Any, *_: Any) -> Any:
            subjects = tuple(SubjectRef("client", str(n)) for n in range(len(raws)))
            return [None] * len(raws), (Disclosure("client", (), subjects, outcome=Outcome.DENIED),)

    plan = Plan(export=(("csv", 1),))
    stream = open_stream(CSV, Refuser(), plan, ACTOR, {})  # type: ignore[arg-type]
    found = [*stream.feed(b"id\n1\n2\n3\n"), *stream.close()]
    assert [part.clients for part in found] == [0, 0]


@pytest.mark.parametrize("media", ["text/html", "text/tab-separated-values", "", "application/jsonp"])
def test_m14_another_media_type_has_no_parts(media: str) -> None:
    with pytest.raises(UnreadableResponseError):
        open_stream(media, compile_masker(Plan(), TOOLS), Plan(), ACTOR, {})


def test_a_part_is_about_one_block() -> None:
    raw = b"id,name\n" + b"".join(b"%d,%s\n" % (n, b"x" * 2000) for n in range(1000))
    found = parts(CSV, [raw])
    assert len(found) == len(raw) // BLOCK + 2
