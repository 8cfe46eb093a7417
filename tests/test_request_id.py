"""Each answer names its request."""

import re

import httpx
import pytest

from tests.running import Server


def test_a_sane_id_is_the_client_s_own(server: Server) -> None:
    """What a client sends as X-Request-ID comes back, in answers and in problems."""
    for path in ("/livez", "/nothing"):
        answer = httpx.get(server.url + path, headers={"X-Request-ID": "order-7.A_b"})
        assert answer.headers["X-Request-ID"] == "order-7.A_b"
    assert answer.json()["request_id"] == "order-7.A_b"


@pytest.mark.parametrize("id", ["", "a b", "x" * 65, 'a"b', "<script>", "a;b"])
def test_any_other_id_is_replaced(server: Server, id: str) -> None:
    """A token that could do harm in a log is not taken over."""
    answer = httpx.get(f"{server.url}/livez", headers={"X-Request-ID": id})
    assert re.fullmatch("[0-9a-f]{16}", answer.headers["X-Request-ID"])


def test_ids_are_new_each_time(server: Server) -> None:
    """Two requests have two ids."""
    with httpx.Client(base_url=server.url) as client:
        assert len({client.get("/livez").headers["X-Request-ID"] for _ in range(20)}) == 20
