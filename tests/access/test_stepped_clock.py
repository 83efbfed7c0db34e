"""Tokens are dated by the wall clock; a gateway whose clock was stepped judges them by it all the same."""

from __future__ import annotations

import time

import pytest

from wtgateway import clock
from wtgateway.access.claims import grant_now

STARTED_US = 1_800_000_000_000_000
HOUR_US = 3_600_000_000


@pytest.mark.parametrize("stepped_us", [HOUR_US, 0, -HOUR_US])
def test_a_token_of_now_is_good_and_lasts_as_long_as_it_says(stepped_us: int) -> None:
    wall_us = STARTED_US + stepped_us
    claims = {"nbf": wall_us // 1_000_000, "exp": wall_us // 1_000_000 + 60, "permissions": ["read:a"]}
    grant = grant_now(claims, STARTED_US, stepped_us=stepped_us)
    assert grant is not None
    assert grant.expires_us == STARTED_US + 60_000_000  # in gateway time, which was not stepped
    over = {"exp": wall_us // 1_000_000 - 1, "permissions": ["read:a"]}
    assert grant_now(over, STARTED_US, stepped_us=stepped_us) is None
    endless = grant_now({"permissions": ["read:a"]}, STARTED_US, stepped_us=stepped_us)
    assert endless is not None
    assert endless.expires_us == 0


def test_a_step_is_counted_in_whole_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    assert clock.stepped_us() == 0
    wall, before = time.time_ns, clock.now_us()
    monkeypatch.setattr(time, "time_ns", lambda: wall() + 3600 * 10**9 + 300_000_000)
    assert clock.stepped_us() == HOUR_US
    assert clock.now_us() - before < HOUR_US
