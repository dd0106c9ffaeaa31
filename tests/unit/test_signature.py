"""Signatures: the same as the reference library's, valid during rotation, and stale in time."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook

from signalstack.core.errors import InvalidError
from signalstack.core.signature import check_secret, new_secret, sign, verify

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
STAMP = int(NOW.timestamp())
ID = "0195a3b0-0000-7000-8000-000000000000"
BODY = b'{"type":"order.created"}'


def _headers(signature: str, timestamp: int = STAMP) -> dict[str, str]:
    return {
        "webhook-id": ID,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signature,
    }


@given(st.text(min_size=1, max_size=60), st.binary(min_size=24, max_size=64))
def test_signatures_equal_those_of_the_reference_library(body: str, key: bytes) -> None:
    secret = "whsec_" + base64.b64encode(key).decode()

    assert sign([secret], id=ID, timestamp=STAMP, body=body.encode("utf-8", "replace")) == Webhook(
        secret
    ).sign(ID, NOW, body.encode("utf-8", "replace").decode())


def test_the_example_of_the_specification_is_reproduced() -> None:
    signature = sign(
        ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
        id="msg_p5jXN8AQM9LWM0D4loKWxJek",
        timestamp=1614265330,
        body=b'{"test": 2432232314}',
    )

    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_reference_library_accepts_a_message_of_ours() -> None:
    secret, now = new_secret(), datetime.now(UTC)
    signature = sign([new_secret(), secret], id=ID, timestamp=int(now.timestamp()), body=BODY)
    headers = _headers(signature, int(now.timestamp()))

    assert Webhook(secret).verify(BODY, headers) == {"type": "order.created"}


def test_either_secret_verifies_during_rotation() -> None:
    current, previous = new_secret(), new_secret()
    headers = _headers(sign([current, previous], id=ID, timestamp=STAMP, body=BODY))

    assert len(headers["webhook-signature"].split(" ")) == 2
    assert verify([current], headers, BODY, now=NOW)
    assert verify([previous], headers, BODY, now=NOW)
    assert verify([new_secret(), previous], headers, BODY, now=NOW)
    assert not verify([new_secret()], headers, BODY, now=NOW)


@pytest.mark.parametrize("secrets", [[], ["nope"], [new_secret(), "nope"]])
def test_secrets_are_judged_before_what_came(secrets: list[str]) -> None:
    with pytest.raises(ValueError, match="signing secret"):
        verify(secrets, {}, BODY, now=NOW)


def test_header_names_are_taken_in_any_case() -> None:
    secret = new_secret()
    headers = _headers(sign([secret], id=ID, timestamp=STAMP, body=BODY))

    assert verify([secret], {name.title(): text for name, text in headers.items()}, BODY, now=NOW)


@pytest.mark.parametrize(
    "changed",
    [
        {"id": "another"},
        {"id": ""},
        {"timestamp": str(STAMP + 1)},
        {"timestamp": f"0{STAMP}"},
        {"timestamp": f" {STAMP}"},
        {"timestamp": "soon"},
        {"timestamp": ""},
        {"timestamp": "9" * 500},
        {"signature": ""},
        {"signature": "v1"},
        {"signature": "v1,"},
        {"signature": "v1,é\ud800"},
        {"signature": "v2,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="},
    ],
)
def test_a_changed_header_fails(changed: dict[str, str]) -> None:
    secret = new_secret()
    headers = _headers(sign([secret], id=ID, timestamp=STAMP, body=BODY))
    headers |= {f"webhook-{name}": value for name, value in changed.items()}

    assert not verify([secret], headers, BODY, now=NOW)


def test_a_signature_of_another_version_does_not_count() -> None:
    secret = new_secret()
    signature = sign([secret], id=ID, timestamp=STAMP, body=BODY)

    assert not verify([secret], _headers(signature.replace("v1,", "v1a,")), BODY, now=NOW)
    assert verify([secret], _headers(f"v1a,AAAA {signature}"), BODY, now=NOW)


def test_a_changed_body_fails() -> None:
    secret = new_secret()
    headers = _headers(sign([secret], id=ID, timestamp=STAMP, body=BODY))

    assert not verify([secret], headers, BODY + b" ", now=NOW)


@pytest.mark.parametrize(
    ("age_s", "fresh"), [(300, True), (301, False), (-300, True), (-301, False)]
)
def test_a_message_is_fresh_within_the_tolerance_to_both_sides(age_s: int, *, fresh: bool) -> None:
    secret = new_secret()
    headers = _headers(sign([secret], id=ID, timestamp=STAMP, body=BODY))

    assert verify([secret], headers, BODY, now=NOW + timedelta(seconds=age_s)) is fresh


def test_new_secrets_are_valid_and_never_repeat() -> None:
    made = {new_secret() for _ in range(100)}

    assert len(made) == 100
    for secret in made:
        check_secret(secret)


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "whsec_",
        base64.b64encode(b"x" * 32).decode(),
        "whsec_" + base64.b64encode(b"x" * 23).decode(),
        "whsec_" + base64.b64encode(b"x" * 65).decode(),
        "whsec_" + "A" * 41,
        "whsec_" + "é" * 40,
        "whsec_ " + base64.b64encode(b"x" * 32).decode(),
    ],
)
def test_weak_and_malformed_secrets_are_invalid(secret: str) -> None:
    with pytest.raises(InvalidError) as caught:
        check_secret(secret)

    assert caught.value.faults[0].pointer == "/secret"
    assert secret not in str(caught.value) or not secret
