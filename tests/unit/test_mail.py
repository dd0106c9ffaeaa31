"""Addresses and SMTP URLs: what is read, and what is refused without being quoted."""

from __future__ import annotations

import pytest

from signalstack.core.mail import Mailbox, MailServer, Tls, read_mailbox, read_server


@pytest.mark.parametrize(
    ("text", "mailbox"),
    [
        ("ada@example.com", Mailbox("", "ada@example.com")),
        ("Ada <ada@example.com>", Mailbox("Ada", "ada@example.com")),
        ('"Lovelace, Ada" <ada@example.com>', Mailbox("Lovelace, Ada", "ada@example.com")),
        ("<a+b@x.example>", Mailbox("", "a+b@x.example")),
        ("Zoë <z@localhost>", Mailbox("Zoë", "z@localhost")),
    ],
)
def test_mailbox_is_read(text: str, mailbox: Mailbox) -> None:
    assert read_mailbox(text) == mailbox


@pytest.mark.parametrize(
    "text",
    ["", "ada", "@x", "a@", "a@b@c", "a@-b.c", "a..b@c", "a@b\n", "x <a@b> y", "a@[127.0.0.1]"],
)
def test_what_is_no_mailbox_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be like"):
        read_mailbox(text)


@pytest.mark.parametrize(
    ("text", "server"),
    [
        ("smtp://mail", MailServer(host="mail", port=25, tls=Tls.OFFERED)),
        ("smtp://mail:2525/", MailServer(host="mail", port=2525, tls=Tls.OFFERED)),
        ("smtp://mail?starttls=never", MailServer(host="mail", port=25, tls=Tls.NEVER)),
        ("smtp://mail?starttls=required", MailServer(host="mail", port=587, tls=Tls.REQUIRED)),
        ("smtps://mail", MailServer(host="mail", port=465, tls=Tls.IMPLICIT)),
        ("smtp+starttls://[::1]", MailServer(host="::1", port=587, tls=Tls.REQUIRED)),
        (
            "smtp://me%40x:p%2Fw@mail",
            MailServer(host="mail", port=587, tls=Tls.REQUIRED, user="me@x", password="p/w"),
        ),
    ],
)
def test_server_is_read(text: str, server: MailServer) -> None:
    assert read_server(text) == server


@pytest.mark.parametrize(
    "text",
    [
        "mail",
        "http://mail",
        "smtp://",
        "smtp://me:s3cret@mail:x",
        "smtp://me:s3cret@mail/path",
        "smtp://me:s3cret@mail?tls=1",
        "smtp://me:s3cret@mail?starttls=maybe",
    ],
)
def test_what_is_no_server_is_refused_without_its_password(text: str) -> None:
    with pytest.raises(ValueError, match="must be like smtp://") as caught:
        read_server(text)

    assert "s3cret" not in str(caught.value)


def test_server_is_shown_without_its_password() -> None:
    assert "s3cret" not in repr(read_server("smtp://me:s3cret@mail"))
