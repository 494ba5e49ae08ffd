"""Links to further pages (M02, M05)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privguard.masking import PagingRewrite
from privguard.masking.paging import rewrite
from privguard.model import ResourceShape

SHAPE = ResourceShape(
    "client", "client", ("$.items[*]",), (),
    params=(("page", ("paging",)), ("size", ("paging",)), ("q", ("name",)), ("sort", ("sort-keys",)),
            ("f[*]", ("name",))),
)  # fmt: skip
PAGING = PagingRewrite(
    "https", "gate.example:8443", "/clients", (("q", "张"), ("page", "cur0r"), ("debug", "1"), ("f[x]", "1"))
)


@pytest.mark.parametrize(
    ("url", "link"),
    [
        ("http://crm.internal/clients?page=2", "https://gate.example:8443/clients?page=2"),
        ("/clients?page=2&size=50", "/clients?page=2&size=50"),
        ("?page=3", "?page=3"),
        ("//crm.internal/clients?page=2", "https://gate.example:8443/clients?page=2"),
        (
            "http://crm.internal/clients?page=2&q=%E5%BC%A0",
            "https://gate.example:8443/clients?page=2&q=%E5%BC%A0",
        ),
        ("http://crm.internal/clients?page=2&q=%E6%9D%8E", "https://gate.example:8443/clients?page=2"),
        ("http://crm.internal/clients?page=2&token=13800138000", "https://gate.example:8443/clients?page=2"),
        ("http://crm.internal/clients?page=2&debug=1", "https://gate.example:8443/clients?page=2"),
        ("http://crm.internal/clients?page=cur0r", "https://gate.example:8443/clients?page=cur0r"),
        ("http://crm.internal/clients?page=2#13800138000", "https://gate.example:8443/clients?page=2"),
        ("http://crm.internal/clients", "https://gate.example:8443/clients"),
        ("/clients?f%5Bx%5D=1&f%5By%5D=1", "/clients?f%5Bx%5D=1"),
    ],
)
def test_links_lead_through_the_gateway(url: str, link: str) -> None:
    assert rewrite(url, PAGING, SHAPE) == link


@pytest.mark.parametrize(
    "url",
    [
        "http://crm.internal/clients?page=eyJtb2JpbGUiOiIxMzgwMDEzODAwMCJ9",
        "http://crm.internal/clients?page=13800138000",
        "http://crm.internal/clients/13800138000?page=2",
        "http://crm.internal/Clients?page=2",
        "http://crm.internal?page=2",
        "javascript:alert(1)",
        "http:clients",
        "http://crm.internal/a/../b",
        "http://crm.internal/a//b",
        "http://crm.internal/a%2fb",
        "http://crm.internal/a\\b",
        "http://[::1/clients",
        "http://crm.internal/客户?page=2",
        "/a b",
        "/a\r\nb",
        "",
        "x" * 3000,
    ],
)
def test_other_links_are_withheld(url: str) -> None:
    assert rewrite(url, PAGING, SHAPE) is None


@settings(deadline=None)
@given(st.text(max_size=60))
def test_no_text_makes_it_fail(url: str) -> None:
    assert rewrite(url, PAGING, SHAPE) is None or isinstance(rewrite(url, PAGING, SHAPE), str)
