"""A gateway that several modules change the state of, each knowing what it changes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.door import Gateway, make_gateway
from tests.recorder import DEMO, POLICY, crm, recording

ASSIGNED = POLICY.replace(
    "same_branch: subject.branch == record.branch", "assigned: record.id in subject.clients"
).replace("relation: same_branch", "relation: assigned")


@pytest.fixture(scope="session")
def staffed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Two workers that ask the staff directory; modules that use it are one xdist group."""
    with recording() as recorder:
        recorder.default = crm
        extra = '[directory]\nrequired = true\n[stepup]\nreset_role = "compliance"\n'
        folder = tmp_path_factory.mktemp("staffed")
        made = make_gateway(folder, recorder.port, policy=ASSIGNED, identity=DEMO, extra=extra)
        made.workers = 2
        yield made.start()
        made.stop()
        made.verify()
        assert "Traceback" not in made.output
