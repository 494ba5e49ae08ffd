"""S11: one request is one session, whoever reads its cookies."""

from __future__ import annotations

import pytest

from tests.door import Gateway, ask
from tests.recorder import Recorder


@pytest.mark.parametrize(
    "said",
    [
        "crm_session={0}; crm_session={1}",
        "crm_session={0}; crm_session ={1}",
        "crm_session={0}; crm%5Fsession={1}",
        "crm_session={0}; crm.session={1}",
        "crm_session={0}; crm_session[0]={1}",
        'crm_session={0}; note="; crm_session={1}; end="',
        "crm session={1}",
    ],
)
def test_s11_a_cookie_that_frameworks_read_differently_is_refused(
    door: Gateway, stand: Recorder, said: str
) -> None:
    """The gateway would judge one member of staff, and the CRM serve another."""
    cookies = said.format(door.token("rm.li"), door.token("mgr.chen"))
    stand.seen.clear()
    answer = ask(door.port, "GET", "/clients/1", headers={"Cookie": cookies})
    assert (answer.status, answer.problem) == (400, "malformed-request")
    assert not stand.seen


def test_s11_other_cookies_beside_the_session_do_no_harm(door: Gateway, stand: Recorder) -> None:
    cookies = f"theme=dark; crm_session={door.token('rm.li')}; x.y=1; a[b]=2; crm_session_seen=1"
    assert ask(door.port, "GET", "/clients/1", headers={"Cookie": cookies}).status == 200
