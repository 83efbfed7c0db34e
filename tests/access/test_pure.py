"""The parts of the access room without clock, network or files."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from wtgateway.access.claims import LEEWAY_US, grant_of_claims
from wtgateway.access.credentials import (
    MAX_TOKEN_CHARACTERS,
    Credentials,
    is_local,
    is_token,
    parse_authorization,
)
from wtgateway.access.origins import Origins, host_of_origin, parse_origin_pattern
from wtgateway.access.permissions import (
    MAX_PERMISSIONS,
    Action,
    Grant,
    Permission,
    parse_permission,
    parse_permissions,
    permissions_of_claim,
)
from wtgateway.access.revocations import Revocation, Revocations, RevocationsFullError
from wtgateway.access.secrets import (
    TOKEN_PREFIX,
    hash_password,
    hash_token,
    new_token,
    parse_password_hash,
    parse_token_hash,
)
from wtgateway.access.slowing import (
    FORGET_S,
    FREE_FAILURES,
    LONGEST_PAUSE_S,
    Slowing,
    slowing_key,
)

NOW_US = 1_790_000_000_000_000
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)

# --- permissions -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "name", "allowed"),
    [
        ("read:cam1", "cam1", True),
        ("read:cam1", "cam12", False),
        ("read:cam*", "cam1/left", True),
        ("read:*/left", "cam1/left", True),
        ("read:*/left", "left", False),
        ("read:cam?", "cam1", True),
        ("read:cam[12]", "cam2", True),
        ("read:cam[!12]", "cam2", False),
        ("read:*", "", True),
        ("read:cam*", "", False),
        ("read:CAM1", "cam1", False),
        ("control:cam1", "cam1", False),
    ],
)
def test_a_permission_is_an_action_and_a_pattern(text: str, name: str, allowed: bool) -> None:
    assert Grant(permissions=(parse_permission(text),)).allows(Action.READ, name) is allowed


@pytest.mark.parametrize(
    "text", ["", "read", "read:", "write:cam", "read:a b", "read:" + "*" * 9, "read:" + "a" * 201]
)
def test_what_is_no_permission_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_permission(text)


def test_api_and_metrics_need_no_pattern() -> None:
    assert parse_permissions(["api", "metrics"]) == (
        Permission(Action.API, "*"),
        Permission(Action.METRICS, "*"),
    )
    with pytest.raises(ValueError):
        parse_permissions(f"read:cam{number}" for number in range(MAX_PERMISSIONS + 1))


def test_claims_have_maps_or_texts_and_what_makes_no_sense_grants_nothing() -> None:
    claim = [
        {"action": "read", "broadcast": "cam*"},
        "control:cam1",
        {"action": "read"},
        {"action": "fly", "broadcast": "*"},
        {"broadcast": "*"},
        7,
        {"action": "metrics"},
    ]
    assert [str(permission) for permission in permissions_of_claim(claim)] == [
        "read:cam*",
        "control:cam1",
        "metrics:*",
    ]
    assert permissions_of_claim({"action": "read", "broadcast": "*"}) == ()
    assert len(permissions_of_claim([f"read:c{number}" for number in range(1000)])) == MAX_PERMISSIONS


@examples(max_examples=40)
@given(json_values)
def test_any_claim_is_read_without_a_fault(value: Any) -> None:
    for permission in permissions_of_claim(value):
        assert parse_permission(str(permission)) == permission


def test_grants_travel_between_processes() -> None:
    grant = Grant("anna", parse_permissions(["read:cam*", "api"]), NOW_US, "t1")
    assert Grant.from_row(json.loads(json.dumps(grant.to_row()))) == grant
    asked = Credentials(token="x", address="::1", local=True, action=Action.API, broadcast="b", origin="o")
    assert Credentials.from_row(json.loads(json.dumps(asked.to_row()))) == asked


def test_credentials_do_not_show_their_token() -> None:
    assert "geheim" not in repr(Credentials(token="geheim"))


# --- claims ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("claims", "good"),
    [
        ({}, True),
        ({"exp": NOW_US / 1e6 + 0.001}, True),
        ({"exp": NOW_US // 1_000_000}, False),
        ({"exp": -1}, False),
        ({"exp": "tomorrow"}, False),
        ({"exp": True}, False),
        ({"exp": float("nan")}, False),
        ({"exp": 1 << 80}, True),
        ({"nbf": (NOW_US + LEEWAY_US) // 1_000_000}, True),
        ({"nbf": (NOW_US + LEEWAY_US) // 1_000_000 + 1}, False),
        ({"nbf": []}, False),
    ],
)
def test_times_of_claims(claims: dict[str, Any], good: bool) -> None:
    assert (grant_of_claims(claims, NOW_US) is not None) is good


def test_the_claim_of_permissions_may_be_inside_another() -> None:
    claims = {"sub": "anna\n", "jti": "t1", "realm_access": {"video": ["read:cam1"]}}
    found = grant_of_claims(claims, NOW_US, claim="realm_access.video")
    assert found == Grant("anna", (Permission(Action.READ, "cam1"),), 0, "t1")
    dotted = grant_of_claims({"https://x.example/video": ["read:a"]}, NOW_US, claim="https://x.example/video")
    assert dotted is not None
    assert dotted.allows(Action.READ, "a")


@examples(max_examples=40)
@given(st.dictionaries(st.sampled_from(["sub", "exp", "nbf", "jti", "permissions", "x"]), json_values))
def test_any_claims_are_read_without_a_fault(claims: dict[str, Any]) -> None:
    found = grant_of_claims(claims, NOW_US)
    assert found is None or found.expires_us == 0 or found.expires_us > NOW_US


# --- headers -----------------------------------------------------------------------------------------


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("", ("", "")),
        ("Bearer abc.def-_~+/=", ("", "abc.def-_~+/=")),
        ("bearer   abc", ("", "abc")),
        ("Bearer ", ("", "!")),
        ("Bearer a b", ("", "!")),
        ("Bearer ä", ("", "!")),
        ("Bearer " + "a" * (MAX_TOKEN_CHARACTERS + 1), ("", "!")),
        ("Digest username=anna", ("", "!")),
        (basic("anna:se:cret"), ("anna", "se:cret")),
        (basic("anna"), ("", "!")),
        (basic(":x"), ("", "!")),
        ("Basic %%%", ("", "!")),
    ],
)
def test_authorization_headers(header: str, found: tuple[str, str]) -> None:
    assert parse_authorization(header) == found


@given(st.text(max_size=80) | st.binary(max_size=60).map(lambda b: "Basic " + base64.b64encode(b).decode()))
def test_any_authorization_header_is_read_without_a_fault(header: str) -> None:
    user, token = parse_authorization(header)
    assert not user or token
    assert user or token in ("", "!") or is_token(token)


@pytest.mark.parametrize(
    ("address", "headers", "local"),
    [
        ("127.0.0.1", {}, True),
        ("::1", {}, True),
        ("::ffff:127.0.0.2", {}, True),
        ("192.0.2.1", {}, False),
        ("", {}, False),
        ("127.0.0.1", {"x-forwarded-for": "127.0.0.1"}, False),
        ("127.0.0.1", {"forwarded": "for=127.0.0.1"}, False),
    ],
)
def test_local_is_who_nobody_speaks_for(address: str, headers: dict[str, str], local: bool) -> None:
    assert is_local(address, headers) is local


def test_what_comes_from_the_address_that_it_reached_is_of_this_machine() -> None:
    assert is_local("10.0.0.5", {}, "10.0.0.5")
    assert is_local("fd00::5", {}, "fd00::5")
    assert not is_local("10.0.0.6", {}, "10.0.0.5")
    assert not is_local("", {}, "")
    assert not is_local("10.0.0.5", {"x-forwarded-for": "10.0.0.5"}, "10.0.0.5"), "a proxy speaks for another"


# --- origins -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("origin", "authority", "allowed"),
    [
        ("", "gw.example:4433", True),
        ("https://gw.example:8443", "gw.example:4433", True),
        ("https://GW.example", "gw.example:4433", True),
        ("https://evil.example", "gw.example:4433", False),
        ("https://gw.example.evil.example", "gw.example:4433", False),
        ("https://gw.example@evil.example", "evil.example", False),
        ("null", "gw.example:4433", False),
        ("file://gw.example", "gw.example", False),
        ("http://localhost:8080", "127.0.0.1:4433", True),
        ("http://[::1]:8080", "localhost:4433", True),
        ("http://localhost:8080", "192.0.2.1:4433", False),
        ("https://cams.example", "media.example:443", True),  # of `hosts`
        ("https://partner.example", "gw.example", True),  # of `allowed`
        ("https://a.b.partner.example:8443", "gw.example", False),
        ("https://a.tv.example", "gw.example", True),
        ("http://a.tv.example", "gw.example", False),
        ("https://gw.example:notaport", "gw.example", False),
        ("https://" + "a" * 400, "a" * 400, False),
    ],
)
def test_pages_of_other_origins_are_refused_unless_listed(origin: str, authority: str, allowed: bool) -> None:
    listed = tuple(map(parse_origin_pattern, ("https://partner.example/", "https://*.tv.example")))
    origins = Origins(allowed=listed, hosts=("cams.example",))
    assert origins.allows(origin, authority) is allowed
    assert Origins.from_row(origins.to_row()) == origins
    assert Origins(allowed=("*",)).allows(origin, authority)


@given(st.text(max_size=60) | st.text(max_size=40).map("https://{}".format), st.text(max_size=40))
def test_any_origin_is_read_without_a_fault(origin: str, authority: str) -> None:
    Origins(hosts=("cams.example",)).allows(origin, authority)
    host_of_origin(origin)


def test_an_ipv6_address_in_a_pattern_is_itself() -> None:
    origins = Origins(allowed=(parse_origin_pattern("https://[2001:db8::1]:8443"),))
    assert origins.allows("https://[2001:db8::1]:8443", "gw.example")
    for wrong in ("ftp://x", "example.com", "https://a b"):
        with pytest.raises(ValueError):
            parse_origin_pattern(wrong)


# --- slowing -----------------------------------------------------------------------------------------


def test_bad_tokens_cost_longer_and_longer_pauses() -> None:
    slowing = Slowing()
    waits = []
    now = 0.0
    for _ in range(FREE_FAILURES + 9):
        slowing.failed("192.0.2.1", now)
        waits.append(slowing.wait_s("192.0.2.1", now))
        now += waits[-1]
    assert waits[:FREE_FAILURES] == [0.0] * FREE_FAILURES
    assert waits[FREE_FAILURES : FREE_FAILURES + 4] == [1.0, 2.0, 4.0, 8.0]
    assert waits[-1] == LONGEST_PAUSE_S
    assert slowing.wait_s("192.0.2.2", now) == 0.0
    slowing.failed("192.0.2.1", now + FORGET_S)
    assert slowing.wait_s("192.0.2.1", now + FORGET_S) == 0.0


def test_one_attacker_has_a_whole_ipv6_network() -> None:
    slowing = Slowing()
    for host in range(FREE_FAILURES + 1):
        slowing.failed(f"2001:db8:0:7::{host:x}", 0.0)
    assert slowing.wait_s("2001:db8:0:7:ffff::1", 0.0) > 0
    assert slowing.wait_s("2001:db8:0:8::1", 0.0) == 0.0
    assert slowing_key("::ffff:192.0.2.1") == slowing_key("192.0.2.1")


def test_addresses_are_bounded() -> None:
    slowing = Slowing(most=3)
    for number in range(10):
        slowing.failed(f"192.0.2.{number}", float(number))
    assert len(slowing) == 3
    assert slowing.displaced == 7


@given(st.text(max_size=50))
def test_any_address_is_counted(address: str) -> None:
    Slowing().failed(address, 0.0)


# --- revocations -------------------------------------------------------------------------------------


def test_what_was_taken_back_stays_so_until_its_time() -> None:
    revocations = Revocations()
    revocations.add(Revocation(token_id="t1", until_us=NOW_US + 10), NOW_US)
    revocations.add(Revocation(identity="anna"), NOW_US)
    assert revocations.revoked(Grant(token_id="t1"), NOW_US + 9)
    assert not revocations.revoked(Grant(token_id="t1"), NOW_US + 10)
    assert not revocations.revoked(Grant(token_id="t2"), NOW_US)
    assert revocations.revoked(Grant("anna", token_id="t2"), NOW_US + 10**15)
    assert not revocations.revoked(Grant(), NOW_US)
    assert [each.identity for each in revocations.all(NOW_US + 10)] == ["anna"]


def test_the_later_end_of_two_counts() -> None:
    revocations = Revocations()
    for until_us in (NOW_US + 50, NOW_US + 10, NOW_US + 90):
        revocations.add(Revocation(token_id="t1", until_us=until_us), NOW_US)
    assert revocations.all(NOW_US)[0].until_us == NOW_US + 90
    revocations.add(Revocation(token_id="t1"), NOW_US)
    revocations.add(Revocation(token_id="t1", until_us=NOW_US + 99), NOW_US)
    assert revocations.all(NOW_US)[0].until_us == 0


def test_what_was_taken_back_by_mistake_is_good_again() -> None:
    revocations = Revocations()
    revocations.add(Revocation(token_id="t1"), NOW_US)
    revocations.add(Revocation(identity="t1", until_us=NOW_US + 10), NOW_US)
    assert revocations.remove("t1", "", NOW_US)
    assert not revocations.remove("t1", "", NOW_US)
    assert not revocations.revoked(Grant(token_id="t1"), NOW_US)
    assert revocations.revoked(Grant("t1"), NOW_US)
    assert not revocations.remove("", "t1", NOW_US + 10)  # its time was over
    assert revocations.all(NOW_US) == []


def test_a_full_list_forgets_nothing_that_holds() -> None:
    revocations = Revocations(most=2)
    revocations.add(Revocation(token_id="t1", until_us=NOW_US + 10), NOW_US)
    revocations.add(Revocation(token_id="t2"), NOW_US)
    with pytest.raises(RevocationsFullError):
        revocations.add(Revocation(token_id="t3"), NOW_US)
    revocations.add(Revocation(token_id="t3"), NOW_US + 10)  # t1 is over
    assert len(revocations) == 2


@examples(max_examples=40)
@given(st.lists(json_values, max_size=4))
def test_rows_of_revocations_are_checked(row: list[Any]) -> None:
    try:
        found = Revocation.from_row(row)
    except (TypeError, ValueError):
        return
    assert Revocation.from_row(found.to_row()) == found


# --- secrets -----------------------------------------------------------------------------------------


def test_tokens_are_kept_as_hashes() -> None:
    token = new_token()
    assert token.startswith(TOKEN_PREFIX)
    assert is_token(token)
    kept = parse_token_hash(hash_token(token))
    assert kept.fits(token)
    assert not kept.fits(token[:-1])
    assert token not in hash_token(token)


def test_passwords_are_kept_as_scrypt_hashes() -> None:
    text = hash_password("péss:wörd")
    assert parse_password_hash(text).fits("péss:wörd")
    assert not parse_password_hash(text).fits("pess:word")
    assert str(parse_password_hash(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "scrypt:16384:8:1:00:00",
        "scrypt:1048576:64:1:" + "00" * 16 + ":" + "00" * 32,  # 8 GiB
        "scrypt:1000:8:1:" + "00" * 16 + ":" + "00" * 32,
        "scrypt:16384:8:99:" + "00" * 16 + ":" + "00" * 32,
        "sha256:" + "00" * 32,
        "geheim",
    ],
)
def test_unusable_password_hashes_are_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_password_hash(text)


@given(st.text(max_size=60) | st.from_regex(r"(sha256|scrypt)(:[0-9a-f]{0,9}){1,5}", fullmatch=True))
def test_any_text_is_a_hash_or_refused(text: str) -> None:
    for parse in (parse_token_hash, parse_password_hash):
        try:
            parse(text)
        except ValueError:
            continue
