"""A watch judges an answer by its clients, knows decoys, work and the team's looks; a replay is the same."""

from __future__ import annotations

import random
from collections.abc import Iterable

import msgspec
import pytest

from privguard.anomaly import Cause, Evidence, Level, Relation, Rules, Scorer, Sight, Watch
from privguard.anomaly.access import Access
from privguard.anomaly.evidence import Risk
from privguard.anomaly.watch import REACH_S, Seen, assessment, sight_of

T0 = 1_790_000_000
RELATIONS = {"assigned": int(Relation.PORTFOLIO)}


class Recording(Scorer):
    """Remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Access] = []

    def score(self, access: Access) -> Risk:
        self.asked.append(access)
        return super().score(access)


def sight(actor: str = "a", at_s: int = T0, *, many: bool = False) -> Sight:
    return Sight(at_s, actor, "rm", "north", many=many, relations=RELATIONS)


def awake() -> tuple[Watch, Recording]:
    scorer = Recording()
    watch = Watch(scorer)
    watch.awake = True
    return watch, scorer


def look(watch: Watch, entry: str, seen: Sight, clients: Iterable[Seen], honey: Iterable[str] = ()) -> Risk:
    return watch.look(entry, seen, clients, frozenset(honey))


def test_nothing_is_known_before_the_log_was_read() -> None:
    watch = Watch()
    assert look(watch, "1", sight(), [("c", ())]).level is Level.UNKNOWN
    assert look(watch, "2", sight(), [("c", ())], ["c"]).level is Level.RULE
    assert watch.replay("1", sight(), [("c", ())]) is not None


def test_a_decoy_is_a_rule_wherever_it_stands() -> None:
    watch, _ = awake()
    assert look(watch, "1", sight(), [("c", ()), ("d", ())], ["d"]).level is Level.RULE
    assert look(watch, "2", sight(), [("c", ())], ["d"]).level is Level.LOW


def test_the_team_s_last_look_counts_and_one_s_own_does_not() -> None:
    watch, scorer = awake()
    look(watch, "1", sight("a", T0), [("c", ())])
    look(watch, "2", sight("a", T0 + 60), [("c", ())])
    look(watch, "3", sight("b", T0 + 100), [("c", ())])
    look(watch, "4", sight("a", T0 + 160), [("c", ())])
    assert [each.idle_s for each in scorer.asked] == [-1, -1, 40, 60]


def test_a_client_of_public_interest_is_scored_as_one() -> None:
    watch, scorer = awake()
    seen = msgspec.structs.replace(sight(), relations={"private.sensitive": int(Relation.SENSITIVE)})
    look(watch, "1", seen, [("c", ("private.sensitive",)), ("d", ())])
    assert [each.sensitive for each in scorer.asked] == [True, False]


@pytest.mark.parametrize("what", REACH_S)
def test_work_is_a_reason_for_whose_it_is_as_long_as_it_reaches(what: str) -> None:
    watch, scorer = awake()
    watch.work(T0, "c", "a", what)
    watch.work(T0, "d", "", what)
    for at_s, actor, client in (
        (T0 + 10, "b", "c"),
        (T0 + 10, "b", "d"),
        (T0 + REACH_S[what], "a", "c"),
        (T0 + REACH_S[what] + 1, "a", "c"),
    ):
        look(watch, f"{at_s}{actor}{client}", sight(actor, at_s), [(client, ())])
    bit = int(Relation[what.upper()])
    assert [each.relations for each in scorer.asked] == [0, bit, bit, 0]
    assert scorer.asked[0].idle_s == 10  # somebody else's work with the client makes a look less odd


def test_lists_are_held_against_lists() -> None:
    watch, scorer = awake()
    look(watch, "1", sight(), [("c", ("assigned",))])
    look(watch, "2", sight(many=True), [("c", ()), ("d", ())])
    assert len({each.actor for each in scorer.asked}) == len({each.role for each in scorer.asked}) == 2


def test_a_list_is_no_look_that_would_explain_another_s() -> None:
    """Or one export would explain every look at whoever stands in it; and it would be remembered whole."""
    watch, scorer = awake()
    look(watch, "1", sight("b", many=True), [(f"c{at}", ()) for at in range(100)])
    look(watch, "2", sight("a", T0 + 60), [("c1", ())])
    look(watch, "3", sight("b", T0 + 120), [("c1", ())])
    assert [each.idle_s for each in scorer.asked[-2:]] == [-1, 60]
    assert len(watch._touched) == 1


def test_an_error_is_a_risk_that_nobody_knows() -> None:
    class Failing(Scorer):
        def _score(self, access: Access) -> Risk:
            raise ZeroDivisionError

    watch = Watch(Failing())
    watch.awake = True
    assert look(watch, "1", sight(), [("c", ())]).level is Level.UNKNOWN
    other, _ = awake()
    other.work(T0, "c", "a", "of another version")
    assert look(other, "2", sight(), [("c", ())]).level is Level.UNKNOWN


def test_a_replay_of_what_is_on_record_gives_the_same_to_the_bit() -> None:
    chance, first, again = random.Random(7), awake()[0], Watch()
    for number in range(3_000):
        at_s = T0 + number * 400 + chance.randrange(300)
        actor = f"default:{chance.choice('abcde')}"
        seen = Sight(at_s, actor, "rm+teller", "north", relations=RELATIONS)
        clients: list[Seen] = [
            (str(chance.randrange(400)), chance.choice(((), ("assigned",))))
            for _ in range(chance.choice((1, 1, 5)))
        ]
        risk = look(first, str(number), seen, clients)
        said = assessment(seen, risk)
        assert first.replay(str(number), seen, clients) is None
        replayed = again.replay(str(number), sight_of(actor, ("teller", "rm"), said), clients)
        assert replayed is not None
        assert (said.level, said.p) == (replayed.level.value, replayed.p)


def test_what_two_people_expect_is_no_evidence_until_it_ends_and_rules_stay() -> None:
    watch, scorer = awake()
    scorer.rules = Rules(caps={"rm": 0})
    end = T0 + 1_000
    watch.excuse("a", Cause.CAP, end)
    assert look(watch, "1", sight("a", T0), [("c", ())]).level is Level.RULE
    access = Access(T0, "a", "c", "rm")
    weak = Evidence(Cause.NEW, 1e-9)
    scorer.rules = Rules()
    watch.excuse("a", Cause.NEW, end)
    for at_s, level in ((T0, Level.LOW), (end, Level.SEVERE)):
        actor = scorer.actors["a"]
        risk = scorer._risk(actor, msgspec.structs.replace(access, at_s=at_s), [weak])
        assert risk.level is level
