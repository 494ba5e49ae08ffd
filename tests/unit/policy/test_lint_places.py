"""An answer is a record, an object around records, or a list of them: a resource may have all three."""

from __future__ import annotations

import pytest

from privguard.policy import lint, load

POLICY = """
privguard: 1
defaults: {{purpose: service}}
classes: {{name: {{mask: cjk_name}}}}
resources:
  client:
    match: [GET /clients]
    records: {records}
    envelope: {envelope}
    fields: {{id: public, name: name}}
rules:
  - {{id: read, roles: [rm], show: {{clear: [name]}}}}
"""


def errors(records: str, envelope: str = "{}") -> list[str]:
    found = lint(load(POLICY.format(records=records, envelope=envelope)))
    return [finding.message for finding in found if finding.severity == "error"]


@pytest.mark.parametrize("records", ["[$, '$.items[*]']", "[$, '$[*]', '$.items[*]', $.client]"])
def test_each_form_of_an_answer_stands_for_itself(records: str) -> None:
    assert errors(records, "{page: public}") == []


@pytest.mark.parametrize(
    "records", ["['$.data', '$.data[*]']", "['$[*]', '$[*].client']", "[$.data, $.data]", "[$, $]"]
)
def test_within_a_form_one_place_has_one_meaning(records: str) -> None:
    assert len(errors(records)) == 1
