"""The statements that claim: one is another with a bound."""

from __future__ import annotations

from signalstack.store.query import read

BOUND = "            AND j.id >= $9::uuid\n"
# What the plain one says, and what this one says in its place: a lane as one range of the index,
# which the planner takes no other index for, and as columns, each of which it may skip through.
OTHERWISE = (
    (
        "(j.queue, j.user_id) > (q.queue, $2::uuid)",
        "j.queue = q.queue\n            AND j.user_id > $2::uuid",
    ),
    (
        "(j.queue, j.user_id) > (walk.queue, walk.user_id)",
        "j.queue = walk.queue\n            AND j.user_id > walk.user_id",
    ),
    ("ORDER BY j.queue, j.user_id\n", "ORDER BY j.queue, j.user_id, j.priority DESC, j.id\n"),
    ("WHERE\n        head.queue = q.queue\n        AND EXISTS", "WHERE EXISTS"),
    ("AS next\n    WHERE next.queue = walk.queue\n", "AS next\n"),
)


def _body(name: str) -> str:
    text = read(name)
    return text[text.index("WITH RECURSIVE") :]


def test_a_claim_of_what_is_new_is_a_plain_one_with_a_bound_wherever_it_reads_jobs() -> None:
    new, plain = _body("dispatch/claim_new"), _body("dispatch/claim_plain")

    expected = plain
    for words, others in OTHERWISE:
        assert words in expected
        expected = expected.replace(words, others)
    assert new.replace(BOUND, "") == expected
    assert new.count(BOUND) == plain.count("FROM signalstack.jobs AS j") == 3
