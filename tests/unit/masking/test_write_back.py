"""What may be written, and by whom (M07)."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privguard.errors import (
    AccessDeniedError,
    MalformedRequestError,
    MaskedValueInWriteError,
    UnreadableResponseError,
)
from privguard.masking.write_back import check_write
from privguard.model import (
    PUBLIC,
    ClassSpec,
    Decision,
    FieldSpec,
    FieldView,
    Mask,
    Outcome,
    ResourceShape,
    View,
)

MOBILE = ClassSpec("contact", mask=Mask("cn_mobile_3_4"))
OPEN = ClassSpec("contact_any", mask=Mask("cn_mobile_3_4"), write="any")
NAME = ClassSpec("name", mask=Mask("cjk_name"), write="any")
BIRTH = ClassSpec("birth", mask=Mask("year"))
TOKEN = ClassSpec("token", mask=Mask("hash_token"), write="any")
NEVER = ClassSpec("score", mask=Mask("clear"), write="never")
TEXT = ClassSpec("text", mask=Mask("clear"), write="any")
SECRET = ClassSpec("secret", write="any")
PLAIN = ClassSpec("plain", mask=Mask("clear"))


def field(path: str, cls: ClassSpec = PUBLIC, nested: str | None = None) -> FieldSpec:
    return FieldSpec(path, cls, cls.mask, nested)


FIELDS = (
    field("id"),
    field("mobile", MOBILE),
    field("second_mobile", OPEN),
    field("name", NAME),
    field("dob", BIRTH),
    field("ref", TOKEN),
    field("score", NEVER),
    field("notes", TEXT),
    field("status", PLAIN),
    field("secret", SECRET),
    field("address.line1", TEXT),
    field("address.line2", MOBILE),
    field("tags[*]", TEXT),
    field("cards[*].label", TEXT),
    field("cards[*].pan", MOBILE),
    field("limits.*", TEXT),
    field("by_phone.<contact>.sum", TEXT),
    field("payload{json}.memo", TEXT),
    field("payload{json}.phone", MOBILE),
    field("relatives[*]", nested="person"),
    field("spouse", nested="person"),
)
VIEWS = {
    "mobile": View.MASKED, "second_mobile": View.MASKED, "name": View.MASKED, "dob": View.MASKED,
    "ref": View.TOKEN, "secret": View.WITHHELD, "address.line2": View.MASKED, "cards[*].pan": View.MASKED,
    "payload{json}.phone": View.WITHHELD,
}  # fmt: skip
CURRENT = {
    "id": 42,
    "mobile": "13800138000",
    "second_mobile": "13900139000",
    "name": "王晓明",
    "dob": "1980-02-29",
    "ref": "R-1",
    "score": 7,
    "notes": "hello",
    "status": "active",
    "secret": "s",
    "address": {"line1": "Road 1", "line2": "13700137000"},
    "tags": ["a", "b"],
    "cards": [{"label": "gold", "pan": "13600136000"}],
    "limits": {"day": 100},
    "by_phone": {"13800138000": {"sum": 1}},
    "payload": '{"memo":"m","phone":"13500135000"}',
    "relatives": [{"id": 1}],
    "spouse": None,
    "unclassified": 1,
}


class Plan:
    """Only what the write guard reads."""

    def __init__(self, records: tuple[str, ...] = ("$.items[*]", "$.data.client"), inner: Any = None) -> None:
        self.shape = ResourceShape("client", "client", records, FIELDS)
        self._inner = inner or Inner(sees_all=False, view=View.CLEAR)

    def nested(self, resource: str) -> Any:
        assert resource == "person"
        return self._inner


class Inner:
    def __init__(self, *, sees_all: bool, view: View) -> None:
        self.sees_all = sees_all
        self._view = view

    def weakest(self) -> tuple[FieldView, ...]:
        return (FieldView(FieldSpec("id"), self._view, Mask("clear")),)


def ruling(**views: View) -> Decision:
    chosen = {**VIEWS, **views}
    return Decision(
        Outcome.PERMITTED,
        tuple(FieldView(spec, chosen.get(spec.path, View.CLEAR), spec.mask) for spec in FIELDS),
    )


ALL_CLEAR = ruling(**dict.fromkeys(VIEWS, View.CLEAR))


def write(
    body: Any,
    media: str = "application/json",
    current: Any = CURRENT,
    said: Decision | None = None,
    **options: Any,
) -> None:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    record = None if current is None else json.dumps(current).encode()
    id_text = options.pop("id_text", "42")
    check_write(Plan(**options), said or ruling(), media, raw, record, id_text)


def refused(body: Any, media: str = "application/json", **options: Any) -> tuple[str, ...]:
    with pytest.raises(MaskedValueInWriteError) as caught:
        write(body, media, **options)
    return caught.value.paths


def form(fields: Any) -> tuple[bytes, str]:
    return urlencode(fields).encode(), "application/x-www-form-urlencoded"


def patch(*operations: Any) -> tuple[list[Any], str]:
    return list(operations), "application/json-patch+json"


def op(name: str, path: str, **members: Any) -> dict[str, Any]:
    return {"op": name, "path": path, **members}


# -- who may write what -------------------------------------------------------------------------------------


def test_what_is_seen_in_clear_may_be_written() -> None:
    write({"notes": "called back", "status": "closed", "address": {"line1": "Road 2"}, "limits": {"week": 5}})
    write({"mobile": "13800138001"}, said=ALL_CLEAR)
    write({"notes": None})


@pytest.mark.parametrize(
    ("body", "paths"),
    [
        ({"mobile": "13800138001"}, ("mobile",)),
        ({"mobile": None}, ("mobile",)),
        ({"mobile": ""}, ("mobile",)),
        ({"secret": "x"}, ("secret",)),
        ({"score": 8}, ("score",)),
        ({"role": "admin"}, ("role",)),
        ({"unclassified": 1}, ("unclassified",)),
        ({"Mobile": "x"}, ("Mobile",)),
        ({"mobile ": "x"}, ("?",)),
        ({"13800138000": "x"}, ("?",)),
        ({"address": {"line2": "x", "line3": 1}}, ("address.line2", "address.line3")),
        ({"address": {"line1": {"x": 1}}}, ("address.line1",)),
        ({"address": "Road 2"}, ("address",)),
        ({"address": None}, ("address",)),
        ({"notes": ["x"]}, ("notes",)),
        ({"notes": {"x": 1}}, ("notes",)),
        ({"tags": "x"}, ("tags",)),
        ({"tags": [["x"]]}, ("tags[*]",)),
        ({"by_phone": {"13800138001": {"sum": 2}}}, ("by_phone.?",)),
        ({"relatives": [{"id": 1}]}, ("relatives",)),
        ({"spouse": {"id": 1}}, ("spouse",)),
        ({"notes": "ok", "mobile": "x", "score": 1}, ("mobile", "score")),
    ],
)
def test_m07_what_may_not_be_written_is_named(body: Any, paths: tuple[str, ...]) -> None:
    assert refused(body) == paths


def test_write_any_takes_a_value_from_who_sees_only_the_mask() -> None:
    write({"second_mobile": "13800138001", "name": "李四", "ref": "R-2"})


def test_an_unchanged_clear_value_is_no_write() -> None:
    write({"score": 7, "notes": "hello", "tags": ["a", "b"], "limits": {"day": 100}})
    assert refused({"score": 7.0}) == ("score",)
    assert refused({"score": "7"}) == ("score",)
    assert refused({"score": True}, current={**CURRENT, "score": 1}) == ("score",)
    assert refused({"mobile": "13800138000"}) == ("mobile",)  # unchanged, but the actor cannot know: a guess


def test_the_whole_record_may_be_put_back_by_who_sees_all_of_it() -> None:
    known = {key: value for key, value in CURRENT.items() if key not in ("unclassified", "by_phone", "score")}
    write({**known, "score": 7}, said=ALL_CLEAR, inner=Inner(sees_all=True, view=View.CLEAR))
    for inner in (Inner(sees_all=False, view=View.CLEAR), Inner(sees_all=True, view=View.MASKED)):
        assert refused(known, said=ALL_CLEAR, inner=inner) == ("relatives", "spouse")


@pytest.mark.parametrize("value", [42, "42"])
def test_the_id_may_stand_there_if_it_is_the_records(value: Any) -> None:
    write({"id": value, "notes": "x"})


@pytest.mark.parametrize("value", [43, "042", None, "", [42], {"x": 1}, 42.0, True])
def test_another_id_is_refused(value: Any) -> None:
    assert refused({"id": value}) == ("id",)


def test_without_an_id_in_the_route_the_records_own_stands() -> None:
    write({"id": 42}, id_text=None)
    assert refused({"id": 43}, id_text=None) == ("id",)
    assert refused({"id": 42}, id_text=None, current=None) == ("id",)


def test_creating_needs_what_the_ruling_without_a_record_gives() -> None:
    write({"notes": "x", "second_mobile": "13800138000"}, current=None)
    assert refused({"mobile": "13800138000"}, current=None) == ("mobile",)
    assert refused({"notes": "x"}, current=None, said=Decision(Outcome.DENIED)) == ("notes",)


def test_a_masked_view_with_a_clear_mask_is_clear_and_with_a_withheld_one_nothing() -> None:
    said = Decision(
        Outcome.PERMITTED,
        tuple(
            FieldView(spec, View.MASKED, Mask("withhold" if spec.path == "secret" else "clear"))
            for spec in FIELDS
        ),
    )
    write({"mobile": "13800138001"}, said=said)
    assert refused({"secret": "x"}, said=said) == ("secret",)


# -- masks that come back -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "paths"),
    [
        ({"second_mobile": "139****9000"}, ("second_mobile",)),  # the mask of the current value
        ({"second_mobile": "188****0000"}, ("second_mobile",)),  # any other mask of its kind
        ({"second_mobile": "****"}, ("second_mobile",)),
        ({"name": "王**"}, ("name",)),
        ({"ref": "tok_abc"}, ("ref",)),
        ({"notes": "138****8000"}, ("notes",)),  # copied into another field
        ({"notes": "王**"}, ("notes",)),
        ({"notes": "tok_x"}, ("notes",)),
        ({"notes": "1980"}, ("notes",)),  # the year of birth, as it stands
        ({"address": {"line1": "****"}}, ("address.line1",)),
        ({"tags": ["a", "138****8000"]}, ("tags[*]",)),
        ({"limits": {"138****8000": "138****8000"}}, ("limits.*",)),
        ({"status": "136****6000"}, ("status",)),
    ],
)
def test_m07_a_masked_value_is_refused_wherever_it_stands(body: Any, paths: tuple[str, ...]) -> None:
    assert refused(body) == paths


def test_a_stale_mask_is_refused_from_who_now_sees_the_field_in_clear() -> None:
    assert refused({"mobile": "138****8000"}, said=ALL_CLEAR) == ("mobile",)
    assert refused({"dob": "1980"}, said=ALL_CLEAR) == ("dob",)


def test_an_age_band_is_known_by_its_looks() -> None:
    aged = ClassSpec("birth", mask=Mask("age_band"), write="any")
    fields = tuple(
        FieldView(field("dob", aged), View.MASKED, aged.mask) if each.spec.path == "dob" else each
        for each in ruling().fields
    )
    said = Decision(Outcome.PERMITTED, fields)
    assert refused({"dob": "40-49"}, said=said) == ("dob",)
    write({"dob": "1981-01-01", "notes": "40-49"}, said=said)


def test_a_value_that_only_looks_like_a_year_is_a_value() -> None:
    write({"notes": "1981"})


@settings(deadline=None)
@given(st.text("0123456789*", min_size=1, max_size=12))
def test_a_refusal_does_not_tell_the_hidden_value(guess: str) -> None:
    def outcome(mobile: str) -> tuple[str, ...]:
        try:
            write({"mobile": guess, "notes": guess}, current={**CURRENT, "mobile": mobile, "secret": mobile})
        except MaskedValueInWriteError as error:
            return error.paths
        return ()

    assert outcome("13811118000") == outcome("13822228000")


def test_l12_a_refusal_names_no_value() -> None:
    with pytest.raises(MaskedValueInWriteError) as caught:
        write({"mobile": "13812341234", "王晓明": 1, "limits": {"138****8000": "****"}})
    assert caught.value.paths == ("?", "limits.*", "mobile")
    assert not {"1381", "王", "138*"} & {str(caught.value)[i : i + 4] for i in range(len(str(caught.value)))}
    assert "王" not in str(caught.value)


# -- arrays, maps, JSON in text -----------------------------------------------------------------------------


def test_an_array_is_replaced_only_by_who_may_write_all_of_it() -> None:
    write({"tags": ["c"]})
    write({"tags": []})
    write({"tags": None})
    assert refused({"cards": []}) == ("cards",)
    assert refused({"cards": [{"label": "x"}]}) == ("cards",)
    assert refused({"cards": None}) == ("cards",)
    write({"cards": [{"label": "x", "pan": "13600136001"}]}, said=ALL_CLEAR)
    assert refused({"cards": [{"cvv": "1"}]}, said=ALL_CLEAR) == ("cards[*].cvv",)


def test_json_within_a_text_is_judged_within() -> None:
    assert refused({"payload": '{"memo":"new"}'}) == ("payload",)
    write({"payload": '{"memo":"new"}'}, said=ALL_CLEAR)
    assert refused({"payload": '{"role":1}'}, said=ALL_CLEAR) == ("payload.role",)
    for text in ("{", '{"memo":1,"memo":2}', "[1]", '"x"', 7):
        assert refused({"payload": text}, said=ALL_CLEAR) == ("payload",)


def test_a_body_may_wrap_the_record_like_an_answer() -> None:
    write({"data": {"client": {"notes": "x"}}})
    assert refused({"data": {"client": {"mobile": "x"}}}) == ("mobile",)
    assert refused({"data": {"client": {"notes": "x"}, "more": 1}}) == ("data",)
    assert refused({"data": {"notes": "x"}}) == ("data",)


# -- JSON Patch ---------------------------------------------------------------------------------------------


def test_a_patch_of_clear_fields_passes() -> None:
    write(
        *patch(
            op("replace", "/notes", value="x"),
            op("add", "/address/line1", value="Road 3"),
            op("add", "/tags/-", value="c"),
            op("add", "/tags/0", value="c"),
            op("remove", "/tags/1"),
            op("remove", "/status"),
            op("test", "/score", value=7),
            op("add", "/limits/a~1b", value=1),
            op("replace", "/cards/0/label", value="x"),
            op("replace", "", value={"notes": "y"}),
        )
    )


@pytest.mark.parametrize(
    ("operation", "paths"),
    [
        (op("replace", "/mobile", value="13800138000"), ("mobile",)),
        (op("add", "/mobile", value="x"), ("mobile",)),
        (op("remove", "/mobile"), ("mobile",)),
        (op("test", "/mobile", value="13800138000"), ("mobile",)),
        (op("test", "/address", value={}), ("address",)),
        (op("test", "", value={}), ("$",)),
        (op("test", "/relatives/0/id", value=1), ("relatives[*].id",)),
        (op("remove", ""), ("$",)),
        (op("remove", "/id"), ("id",)),
        (op("remove", "/address"), ("address",)),
        (op("remove", "/cards/0"), ("cards[*]",)),
        (op("add", "/cards/-", value={"label": "x"}), ("cards[*]",)),
        (op("replace", "/cards/0", value={"label": "gold"}), ("cards[*]",)),
        (op("replace", "/cards/0/pan", value="13600136000"), ("cards[*].pan",)),
        (op("copy", "/notes", **{"from": "/mobile"}), ("notes",)),
        (op("move", "/notes", **{"from": "/mobile"}), ("notes",)),
        (op("copy", "/notes", **{"from": "/status"}), ("notes",)),
        (op("replace", "/notes", value="138****8000"), ("notes",)),
        (op("replace", "/notes/0", value="x"), ("notes.?",)),
        (op("add", "/role", value="admin"), ("role",)),
        (op("add", "/~01", value="x"), ("?",)),
        (op("add", "/tags/01", value="x"), ("tags.?",)),
        (op("add", "/by_phone/13800138000/sum", value=1), ("by_phone.?",)),
        (op("replace", "", value={"mobile": "x"}), ("mobile",)),
        (op("replace", "/score", value=8), ("score",)),
    ],
)
def test_m07_a_patch_reaches_nothing_more(operation: Any, paths: tuple[str, ...]) -> None:
    assert refused(*patch(operation)) == paths


def test_a_map_keyed_by_client_data_is_neither_written_nor_asked_for() -> None:
    for operation in (op("remove", "/by_phone"), op("test", "/by_phone", value={})):
        assert refused(*patch(operation)) == ("by_phone",)
    assert refused({"by_phone": None}) == ("by_phone",)
    write(*patch(op("remove", "/limits"), op("test", "/limits", value={})))
    write({"limits": None})


def test_a_nested_resource_that_no_rule_opens_is_not_clear() -> None:
    class Closed(Plan):
        def nested(self, resource: str) -> Any:
            raise AccessDeniedError

    with pytest.raises(MaskedValueInWriteError):
        check_write(Closed(), ALL_CLEAR, "application/json", b'{"spouse":null}', b'{"spouse":null}', "42")  # type: ignore[arg-type]


def test_inserting_what_stands_there_is_a_write() -> None:
    said = ruling(**{"tags[*]": View.CLEAR})
    never = ClassSpec("never", write="never", mask=Mask("clear"))
    fields = tuple(
        FieldView(field("tags[*]", never), View.CLEAR, never.mask) if each.spec.path == "tags[*]" else each
        for each in said.fields
    )
    frozen = Decision(Outcome.PERMITTED, fields)
    write(*patch(op("replace", "/tags/0", value="a")), said=frozen)
    assert refused(*patch(op("add", "/tags/0", value="a")), said=frozen) == ("tags[*]",)


@pytest.mark.parametrize(
    "body",
    [
        {}, [1], [{}], [op("replace", "/notes")], [op("remove", "/notes", value=1)], [op("Add", "/notes")],
        [op("add", "notes", value=1)], [op("add", "/notes~2", value=1)], [op("add", 1, value=1)],
        [op("copy", "/notes")], [op("add", "/notes", value=1, more=1)],
        [{"op": ["add"], "path": "", "value": 1}],
    ],
)  # fmt: skip
def test_a_patch_that_is_none_is_malformed(body: Any) -> None:
    with pytest.raises(MalformedRequestError):
        write(body, "application/json-patch+json")


# -- forms --------------------------------------------------------------------------------------------------


def test_a_form_of_clear_fields_passes() -> None:
    write(
        *form(
            [
                ("notes", "a;b=c&d"),
                ("address[line1]", "Road 3"),
                ("tags[]", "a"),
                ("tags[]", "c"),
                ("id", "42"),
            ]
        )
    )
    write(
        *form([("score", "7"), ("notes", ""), ("address.line1", "x"), ("limits[day]", "3"), ("tags[0]", "a")])
    )


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("mobile", "mobile"), ("address[line2]", "address.line2"), ("address.line2", "address.line2"),
        ("address[]", "address"), ("cards[0][pan]", "cards"), ("_method", "_method"), ("role", "role"),
        ("mobile[]", "mobile"), ("relatives[0][id]", "relatives"), ("score", "score"),
        ("id[x]", "id"), (" notes", "?"), ("notes\0", "?"), ("by_phone[13800138000][sum]", "by_phone.?"),
    ],
)  # fmt: skip
def test_m07_a_form_reaches_nothing_more(name: str, path: str) -> None:
    assert refused(*form([(name, "8")])) == (path,)


def test_what_a_form_leaves_unchanged_is_no_write() -> None:
    current = {**CURRENT, "score": True, "tags": ["1", 2, None, False], "limits": {"day": 100}}
    tags = [("tags[]", "1"), ("tags[]", "2"), ("tags[]", ""), ("tags[]", "false")]
    write(*form([("score", "true"), *tags, ("limits[day]", "100")]), current=current)
    assert refused(*form([("score", "True")]), current=current) == ("score",)
    assert refused({"tags": {"0": "a"}}) == ("tags",)
    spouse = {**CURRENT, "spouse": {"id": 1}}
    seen = Inner(sees_all=True, view=View.CLEAR)
    write(*form([("spouse[id]", "1")]), current=spouse, inner=seen, said=ALL_CLEAR)
    assert refused(*form([("spouse[id]", "2")]), current=spouse, inner=seen, said=ALL_CLEAR) == ("spouse",)


def test_m07_a_mask_in_a_form_is_refused() -> None:
    assert refused(*form({"notes": "138****8000", "address[line1]": "****"})) == ("address.line1", "notes")


@pytest.mark.parametrize(
    "body",
    [
        b"notes=a&notes=b", b"notes=a;mobile=b", b"notes", b"notes=%zz", b"notes=%ff", b"notes=\xe7\x8e\x8b",
        b"address[line1]=a&address.line1=b", b"address[line1]=a&address=b", b"address=b&address[line1]=a",
        b"tags[]=a&tags=b", b"tags=a&tags[]=b", b"tags[]=a&tags[0]=b", b"address[line1=a", b"[notes]=a",
        b"cards[][pan]=1", b".notes=a", b"address..line1=a",
        b"notes[=a", b"=a", b"a[]b=c", b"a[][]=c", b"notes=a b", b"notes=\x00",
        b"&".join(b"limits[%d]=1" % n for n in range(1001)),
    ],
)  # fmt: skip
def test_m09_a_form_that_reads_in_two_ways_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedRequestError):
        write(body, "application/x-www-form-urlencoded")


# -- bodies that cannot be read -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "media", ["application/json", "application/merge-patch+json", "application/vnd.api+json; charset=UTF-8"]
)
@pytest.mark.parametrize(
    "body",
    [
        b'{"notes":"a","notes":"b"}', b'{"address":{"line1":1,"line1":2}}', b'{"notes":NaN}', b"{}{}", b"[]",
        '{"notes":1}'.encode("utf-16"), '{"notes":1}'.encode("utf-16-le"), b'{"notes":"\\ud800"}', b"null",
        b"{",
        b'{"notes":' + b"[" * 100_000 + b"]" * 100_000 + b"}", b'"x"', b"1", b" ", b'{"notes":01}',
        b"{'a':1}",
        b'{"notes":Infinity}', b'{"notes":"\x01"}', b'{"notes":1,}', b'{"notes":"\xff"}', b"\xef\xbb\xbf{}",
        b'{"notes":"a","no\\u0074es":"b"}', b'[{"notes":"a"}]', b'{"notes":%b}' % (b"1" * 5000),
    ],
)  # fmt: skip
def test_m09_json_that_reads_in_two_ways_is_malformed(body: bytes, media: str) -> None:
    with pytest.raises(MalformedRequestError):
        write(body, media)


@pytest.mark.parametrize(
    "media",
    [
        "", "text/plain", "multipart/form-data; boundary=x", "application/xml", "text/json", "image/svg+json",
        "application/json; charset=utf-16", 'application/json; charset="gbk"', "application/octet-stream",
        "application/x-www-form-urlencoded; charset=gbk",
    ],
)  # fmt: skip
def test_m07_a_body_that_cannot_be_read_is_refused(media: str) -> None:
    with pytest.raises(MalformedRequestError):
        write(b"{}", media)


def test_an_empty_body_writes_nothing() -> None:
    write(b"", "")
    write({})


def test_a_current_record_that_cannot_be_read_stops_the_write() -> None:
    with pytest.raises(UnreadableResponseError):
        check_write(Plan(), ruling(), "application/json", b"{}", b"{", "42")  # type: ignore[arg-type]
