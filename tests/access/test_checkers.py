"""Ways of telling who somebody is: own tokens, users, JWTs, key sets, callbacks; each has its own clock."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from wtgateway.access.callback import grant_of_answer
from wtgateway.access.checker import UnavailableError
from wtgateway.access.credentials import Credentials
from wtgateway.access.jwks import REFRESH_S, UNKNOWN_EVERY_S, KeySet
from wtgateway.access.jwts import Expected, JwtChecker, unverified_header, verified_claims
from wtgateway.access.keys import VerifyingKey, key_of_file, keys_of_set, verifying_key
from wtgateway.access.own_tokens import OwnTokens, create_token, load_key, own_key
from wtgateway.access.permissions import Action, Grant, parse_permissions
from wtgateway.access.revocation_file import parse_revocations
from wtgateway.access.secrets import hash_password, hash_token
from wtgateway.access.static import LOOK_EVERY_S, StaticUsers, read_users
from wtgateway.cluster import ClusterSecret
from wtgateway.errors import ConfigError

NOW_US = 1_790_000_000_000_000
SECRET = b"0123456789abcdef0123456789abcdef"
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()


def shown(token: str, user: str = "") -> Credentials:
    return Credentials(token=token, user=user, broadcast="cam1")


def public_pem(key: Any) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[no-any-return]


# --- JWTs --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("private", "key", "algorithm"),
    [
        (SECRET, key_of_file(SECRET + b"\n"), "HS256"),
        (SECRET * 2, key_of_file(SECRET * 2), "HS512"),
        (RSA, key_of_file(public_pem(RSA)), "RS256"),
        (RSA, key_of_file(public_pem(RSA)), "PS384"),
        (EC, key_of_file(public_pem(EC)), "ES256"),
        (ED, key_of_file(public_pem(ED)), "EdDSA"),
    ],
)
def test_tokens_of_every_algorithm_are_verified(private: Any, key: VerifyingKey, algorithm: str) -> None:
    token = jwt.encode({"sub": "anna"}, private, algorithm=algorithm)
    assert verified_claims(token, [key], Expected()) == {"sub": "anna"}
    head, body, signature = token.split(".")
    forged = base64.urlsafe_b64encode(b'{"sub":"root"}').rstrip(b"=").decode()
    assert verified_claims(f"{head}.{forged}.{signature}", [key], Expected()) is None
    assert verified_claims(f"{head}.{body}.", [key], Expected()) is None


def test_the_key_decides_about_the_algorithm_and_never_the_token() -> None:
    rsa_key = key_of_file(public_pem(RSA))
    assert verified_claims(jwt.encode({"sub": "root"}, "", algorithm="none"), [rsa_key], Expected()) is None
    # A public key taken for a secret: the classic confusion.
    parts = [
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=")
        for part in ({"alg": "HS256", "typ": "JWT"}, {"sub": "root"})
    ]
    mac = hmac.digest(public_pem(RSA), b".".join(parts), hashlib.sha256)
    forged = b".".join([*parts, base64.urlsafe_b64encode(mac).rstrip(b"=")]).decode()
    assert verified_claims(forged, [rsa_key], Expected()) is None
    only_384 = key_of_file(SECRET * 2, only=("HS384",))
    assert verified_claims(jwt.encode({}, SECRET * 2, algorithm="HS256"), [only_384], Expected()) is None
    with pytest.raises(ValueError):
        key_of_file(SECRET, only=("HS512",))


@pytest.mark.parametrize("claims", [{}, {"iss": "b", "aud": "v"}, {"iss": "a"}, {"iss": "a", "aud": "w"}])
def test_issuer_and_audience_have_to_be_as_expected(claims: dict[str, str]) -> None:
    key, expected = key_of_file(SECRET), Expected(issuer="a", audience="v")
    assert verified_claims(jwt.encode(claims, SECRET), [key], expected) is None
    good = {"iss": "a", "aud": ["u", "v"]}
    assert verified_claims(jwt.encode(good, SECRET), [key], expected) == good


def test_weak_keys_are_refused() -> None:
    weak = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    for data in (b"short", public_pem(weak), b"-----BEGIN PUBLIC KEY-----\nx\n"):
        with pytest.raises(ValueError):
            key_of_file(data)


@given(st.text(max_size=60) | st.from_regex(r"[\w-]{0,20}\.[\w-]{0,20}\.[\w-]{0,20}", fullmatch=True))
def test_any_text_is_no_token(text: str) -> None:
    assert verified_claims(text, [key_of_file(SECRET)], Expected()) is None


@given(st.binary(max_size=80))
def test_any_bytes_in_the_place_of_header_and_claims(data: bytes) -> None:
    part = base64.urlsafe_b64encode(data).rstrip(b"=").decode()
    unverified_header(f"{part}.{part}.x")
    head = base64.urlsafe_b64encode(b'{"alg":"HS256"}').rstrip(b"=")
    signed = head + b"." + part.encode()
    mac = base64.urlsafe_b64encode(hmac.digest(SECRET, signed, hashlib.sha256)).rstrip(b"=")
    claims = verified_claims((signed + b"." + mac).decode(), [key_of_file(SECRET)], Expected())
    assert claims is None or isinstance(claims, dict)


# --- key sets ----------------------------------------------------------------------------------------


def as_jwk(key: Any, **more: Any) -> dict[str, Any]:
    algorithm = jwt.algorithms.ECAlgorithm if key is EC else jwt.algorithms.RSAAlgorithm
    return {**json.loads(algorithm.to_jwk(key.public_key())), **more}


def test_a_set_has_the_keys_that_can_verify() -> None:
    secret = {"kty": "oct", "k": base64.urlsafe_b64encode(SECRET).decode().rstrip("="), "kid": "s"}
    found = keys_of_set(
        {
            "keys": [
                as_jwk(EC, kid="e"),
                as_jwk(RSA, kid="r", alg="RS256"),
                as_jwk(RSA, kid="encrypts", use="enc"),
                as_jwk(RSA, kid="odd", alg="RSA-OAEP"),
                secret,
                {"kty": "new"},
                7,
            ]
        },
        secrets=False,
    )
    assert [(key.kid, key.algorithms[0], len(key.algorithms)) for key in found] == [
        ("e", "ES256", 1),
        ("r", "RS256", 1),
    ]
    (key,) = keys_of_set({"keys": [secret]}, secrets=True)
    assert verified_claims(jwt.encode({"a": 1}, SECRET), [key], Expected()) == {"a": 1}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["keys", "kty", "k", "n", "e", "x", "y", "crv", "kid", "alg", "use"]), inner
        )
    ),
    max_leaves=20,
)
jwk = st.dictionaries(
    st.sampled_from(["kty", "k", "n", "e", "x", "y", "crv", "kid", "alg", "use", "d"]),
    st.sampled_from(["oct", "RSA", "EC", "OKP", "P-256", "Ed25519", "AQAB", "AA", "", "ES256"]) | json_values,
)


@examples(max_examples=40)
@given(json_values | st.lists(jwk, max_size=3).map(lambda keys: {"keys": keys}))
def test_any_set_is_read_or_refused(document: Any) -> None:
    try:
        keys_of_set(document, secrets=True)
    except ValueError:
        assert not isinstance(document, dict) or not isinstance(document.get("keys"), list)


class Provider:
    """A key set's origin, and the time."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.keys: list[dict[str, Any]] = []
        self.away = False

    async def fetch(self) -> bytes:
        await asyncio.sleep(0)
        if self.away:
            raise OSError("no route")
        return json.dumps({"keys": self.keys}).encode()

    def key_set(self) -> KeySet:
        return KeySet(self.fetch, name="test", now=lambda: self.now)


async def test_an_unknown_key_has_the_set_fetched_but_not_often() -> None:
    provider = Provider()
    provider.keys = [as_jwk(EC, kid="a")]
    keys = provider.key_set()
    await keys.start()
    try:
        assert [key.kid for key in await keys.fitting("a")] == ["a"]
        provider.keys = [as_jwk(EC, kid="b")]
        assert await keys.fitting("b") == []  # it was fetched just now
        assert keys.fetches == 1
        provider.now += UNKNOWN_EVERY_S
        found = await asyncio.gather(*(keys.fitting("b") for _ in range(50)))
        assert all([key.kid for key in each] == ["b"] for each in found)
        assert keys.fetches == 2
        for _ in range(50):
            assert await keys.fitting("forged") == []
        assert keys.fetches == 2
        assert REFRESH_S > UNKNOWN_EVERY_S
    finally:
        await keys.close()


async def test_a_provider_that_is_away_leaves_the_keys_of_before() -> None:
    provider = Provider()
    provider.away = True
    keys = provider.key_set()
    await keys.start()
    try:
        with pytest.raises(UnavailableError):
            await keys.fitting("a")
        provider.away, provider.keys = False, [as_jwk(EC, kid="a")]
        provider.now += UNKNOWN_EVERY_S
        assert await keys.fitting("a")
        provider.away = True
        provider.now += UNKNOWN_EVERY_S
        assert await keys.fitting("b") == []
        assert await keys.fitting("a")
        assert keys.failures == 2
    finally:
        await keys.close()


async def test_a_jwt_of_a_set_is_verified_with_the_key_it_names() -> None:
    provider = Provider()
    provider.keys = [as_jwk(EC, kid="a")]
    checker = JwtChecker(key_set=provider.key_set(), now_us=lambda: NOW_US)
    await checker.start()
    try:
        claims = {"sub": "anna", "permissions": [{"action": "read", "broadcast": "cam*"}]}
        good = jwt.encode(claims, EC, algorithm="ES256", headers={"kid": "a"})
        grant = await checker.check(shown(good))
        assert grant is not None
        assert (grant.identity, grant.allows(Action.READ, "cam7")) == ("anna", True)
        other = ec.generate_private_key(ec.SECP256R1())
        assert await checker.check(shown(jwt.encode(claims, other, "ES256", headers={"kid": "a"}))) is None
        assert await checker.check(shown(good, user="anna")) is None
        assert await checker.check(shown("wtg_static")) is None
    finally:
        await checker.close()


# --- the gateway's own tokens --------------------------------------------------------------------------


async def test_own_tokens_are_good_until_their_end(tmp_path: Path) -> None:
    path = tmp_path / "new" / "access.key"
    key = load_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    now = [NOW_US]
    tokens = OwnTokens(lambda: load_key(path), now_us=lambda: now[0])
    await tokens.start()
    wanted = parse_permissions(["read:cam*", "control:cam1"])
    token, token_id = create_token(key, wanted, now_us=NOW_US, valid_us=2_000_000, identity="anna")
    assert await tokens.check(shown(token)) == Grant("anna", wanted, NOW_US + 2_000_000, token_id)
    now[0] += 2_000_000
    assert await tokens.check(shown(token)) is None
    forever, _ = create_token(key, wanted, now_us=NOW_US, valid_us=0)
    found = await tokens.check(shown(forever))
    assert found is not None
    assert (found.identity, found.expires_us) == ("", 0)
    foreign, _ = create_token(load_key(tmp_path / "other.key"), wanted, now_us=now[0], valid_us=0)
    assert await tokens.check(shown(foreign)) is None
    # Signed with the right key, but for something else.
    assert await tokens.check(shown(jwt.encode({"sub": "x"}, key.private, algorithm="HS256"))) is None


async def test_an_ed25519_key_signs_as_well(tmp_path: Path) -> None:
    path = tmp_path / "ed.pem"
    path.write_bytes(ED.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    path.chmod(0o644)
    key = load_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    token, _ = create_token(key, parse_permissions(["read:a"]), now_us=NOW_US, valid_us=0)
    tokens = OwnTokens(lambda: key, now_us=lambda: NOW_US)
    await tokens.start()
    assert await tokens.check(shown(token)) is not None


def test_nodes_of_a_cluster_take_each_others_tokens(tmp_path: Path) -> None:
    secret = ClusterSecret(bytes(range(32)))
    token, _ = create_token(
        own_key(secret, None, tmp_path / "a"), parse_permissions(["read:a"]), now_us=NOW_US, valid_us=0
    )
    other = own_key(ClusterSecret(bytes(range(32))), None, tmp_path / "b")
    assert verified_claims(token, (other.public,), Expected(audience="wtgateway")) is not None
    stranger = own_key(ClusterSecret(bytes(32)), None, tmp_path / "b")
    assert verified_claims(token, (stranger.public,), Expected(audience="wtgateway")) is None
    assert "30313233" not in repr(other)


@pytest.mark.parametrize("data", [b"", b"00" * 31, b"zz" * 32, public_pem(ED)])
def test_a_key_file_that_is_none_is_refused_without_showing_it(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "access.key"
    path.write_bytes(data)
    with pytest.raises(ConfigError) as caught:
        load_key(path)
    assert "zz" not in str(caught.value)


# --- static users ------------------------------------------------------------------------------------


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_users_show_tokens_or_passwords_and_change_while_it_runs(tmp_path: Path) -> None:
    path, now = tmp_path / "users.yml", Clock()
    path.write_text(
        f"anna:\n  token: {hash_token('wtg_anna')}\n  password: {hash_password('geheim')}\n"
        "  permissions: [read:cam*, metrics]\n"
        f"bert: {{token: '{hash_token('wtg_bert')}', permissions: 'read:door, control:door'}}\n"
    )
    users = StaticUsers(path, now=now)
    await users.start()
    anna = await users.check(shown("wtg_anna"))
    assert anna is not None
    assert (anna.identity, anna.allows(Action.METRICS)) == ("anna", True)
    bert = await users.check(shown("wtg_bert"))
    assert bert is not None
    assert bert.allows(Action.CONTROL, "door")
    assert await users.check(shown("wtg_carl")) is None
    assert await users.check(shown("geheim", "anna")) == anna
    assert await users.check(shown("geheim", "anna")) == anna  # remembered
    assert await users.check(shown("falsch", "anna")) is None
    assert await users.check(shown("geheim", "bert")) is None  # who has no password
    assert await users.check(shown("geheim", "nobody")) is None

    path.write_text(f"bert:\n  token: {hash_token('wtg_new')}\n  permissions: [read:door]\n")
    now.now += LOOK_EVERY_S
    assert await users.check(shown("wtg_anna")) is None
    assert await users.check(shown("geheim", "anna")) is None  # what is remembered is no way around it
    assert await users.check(shown("wtg_new")) is not None
    path.write_text("bert: {token: geheim}")
    now.now += LOOK_EVERY_S
    assert await users.check(shown("wtg_new")) is not None, "an unusable file changes nothing"


@pytest.mark.parametrize(
    "text",
    [
        "anna: geheim",
        "anna: {permissions: [read:a]}",
        "anna: {token: geheim-im-klartext, permissions: [read:a]}",
        "anna: {password: 'sha256:00'}",
        f"anna: {{token: '{hash_token('x')}', permissions: [fly:a]}}",
        f"anna: {{token: '{hash_token('x')}', role: admin}}",
        f"'a:b': {{token: '{hash_token('x')}'}}",
    ],
)
def test_a_file_of_users_with_a_mistake_names_the_line_and_no_secret(tmp_path: Path, text: str) -> None:
    path = tmp_path / "users.yml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_users(path)
    assert "users.yml:1" in str(caught.value)
    assert "klartext" not in str(caught.value)


# --- callbacks ---------------------------------------------------------------------------------------

ASKED = Credentials(token="x", action=Action.READ, broadcast="cam[1]")


def test_a_yes_grants_what_was_asked_for_or_what_it_says() -> None:
    plain = grant_of_answer(b"", ASKED, NOW_US)
    assert plain is not None
    assert plain.allows(Action.READ, "cam[1]")
    assert not plain.allows(Action.READ, "cam1"), "a name is no pattern"
    said = {"identity": "anna", "permissions": ["read:*"], "expiresInS": 1.5}
    assert grant_of_answer(json.dumps(said).encode(), ASKED, NOW_US) == Grant(
        "anna", parse_permissions(["read:*"]), NOW_US + 1_500_000
    )
    assert grant_of_answer(b'{"permissions": "all"}', ASKED, NOW_US) == Grant()
    for wrong in (b'{"expiresInS": 0}', b'{"expiresInS": "1h"}', b'{"expiresInS": true}'):
        assert grant_of_answer(wrong, ASKED, NOW_US) is None


@examples(max_examples=40)
@given(st.binary(max_size=60) | json_values.map(lambda value: json.dumps(value).encode()))
def test_any_answer_is_read_without_a_fault(body: bytes) -> None:
    grant_of_answer(body, ASKED, NOW_US)


@examples(max_examples=40)
@given(st.binary(max_size=60) | json_values.map(lambda value: json.dumps(value).encode()))
def test_any_file_of_revocations_is_read_or_refused(data: bytes) -> None:
    try:
        parse_revocations(data)
    except (ValueError, TypeError):
        return


def test_a_verifying_key_does_not_show_itself() -> None:
    assert "0123" not in repr(verifying_key(SECRET))
