"""What comes back from a create (M07)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privguard.errors import UnreadableResponseError
from privguard.masking.echo import echoed
from privguard.masking.write_body import read_write
from privguard.model import ResourceShape
from tests.unit.masking.plans import spec

FIELDS = (
    spec("id"), spec("name", "cjk_name"), spec("balance", "band"), spec("tags[*]", "withhold"),
    spec("cards[*].pan", "pan_last4"), spec("cards[*].type"), spec("home.city", "withhold"),
    spec("by.*", "withhold"), spec("more{json}.x", "withhold"), spec("kin[*]", nested="client"),
)  # fmt: skip


def left(answer: object, sent: object, *places: str, media: str = "application/json") -> Any:
    shape = ResourceShape("client", "client", places or ("$.client", "$.items[*]"), FIELDS)
    body = sent if isinstance(sent, bytes) else json.dumps(sent).encode()
    said = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    return json.loads(echoed(said, read_write(media, body), shape))


def test_what_was_sent_comes_back_and_what_is_public_and_nothing_else() -> None:
    sent = {
        "name": "张伟",
        "balance": 5.5,
        "tags": ["a"],
        "cards": [{"pan": "1"}],
        "home": {"city": "x"},
        "by": {"k": 1},
    }
    whole = {**sent, "id": 7, "more": '{"x":1}', "kin": [{"id": 1}], "unknown": 1}
    assert left({"client": whole, "note": "kept"}, sent) == {
        "client": {**sent, "id": 7, "kin": []},
        "note": "kept",
    }
    found = {
        **whole,
        "name": "李娜",
        "balance": 9,
        "tags": ["b"],
        "home": {"city": "y"},
        "by": {"k": 2, "z": 1},
    }
    found["cards"] = [{"pan": "2", "type": "debit"}]
    assert left({"client": found}, sent) == {
        "client": {"id": 7, "tags": [], "home": {}, "by": {}, "cards": [{"type": "debit"}], "kin": []}
    }


def test_several_records_are_held_against_as_many_that_were_sent() -> None:
    answer = {"items": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]}
    assert left(answer, [{"name": "a"}, {"name": "x"}]) == {"items": [{"id": 1, "name": "a"}, {"id": 2}]}
    assert left(answer, [{"name": "a"}]) == {"items": [{"id": 1}, {"id": 2}]}


def test_what_conditions_read_stays_so_that_the_record_can_be_judged() -> None:
    shape = ResourceShape("client", "client", ("$.client",), FIELDS)
    answer = {"client": {"id": 1, "name": "x", "balance": 7, "flag": True, "home": {"city": "y", "no": 3}}}
    reads = ("balance", "flag", "home.no", "gone", "home.city.deeper")
    left_ = json.loads(echoed(json.dumps(answer).encode(), (), shape, reads))
    assert left_ == {"client": {"id": 1, "balance": 7, "flag": True, "home": {"no": 3}}}


def test_a_form_is_text_and_true_is_not_one() -> None:
    form = "application/x-www-form-urlencoded"
    assert left({"client": {"balance": 5}}, b"balance=5", media=form) == {"client": {"balance": 5}}
    assert left({"client": {"balance": 1}}, {"balance": True}) == {"client": {}}
    assert left({"client": {"balance": 5.0}}, {"balance": 5}) == {"client": {"balance": 5.0}}


@pytest.mark.parametrize(
    "answer", [{"client": 5}, {"client": ["x"]}, {"client": None}, [], 5, {"items": {"a": 1}}]
)
def test_what_is_no_record_leaves_no_value(answer: object) -> None:
    assert left(answer, {"name": "a"}) in (
        {},
        {"client": []},
        [],
        answer if answer == {"items": {"a": 1}} else {},
    )


def test_an_answer_that_is_not_json_is_withheld() -> None:
    for wrong in (b"", b"{", b"\xff", b'{"client":{"name":"\xff"}}', b"[" * 100_000):
        with pytest.raises(UnreadableResponseError):
            left(wrong, {"name": "a"})


_scalars = st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["a", "b", "1"])
_records = st.dictionaries(st.sampled_from(["name", "balance", "x"]), _scalars)


@given(_records, _records, _records)
def test_what_a_found_record_holds_shows_only_where_it_is_what_was_sent(
    one: Any, other: Any, sent: Any
) -> None:
    for found in (one, other):
        seen = left({"client": {"id": 1, **found}}, sent)["client"]
        assert seen.pop("id") == 1
        assert all(field in ("name", "balance") and value == sent[field] for field, value in seen.items())
    unsent = [{field: value for field, value in each.items() if field not in sent} for each in (one, other)]
    assert left({"client": unsent[0]}, sent) == left({"client": unsent[1]}, sent)
