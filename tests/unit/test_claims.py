"""The statements that claim and settle: some are others, but for a few words."""

from __future__ import annotations

from textwrap import dedent

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


def test_a_claim_that_follows_chooses_what_one_of_what_is_new_does() -> None:
    follows, new = _body("dispatch/claim_next"), _body("dispatch/claim_new")

    chosen, _, rest = new.partition(",\n\nclaimed AS (\n")
    sets = rest[rest.index("    UPDATE") : rest.index("    RETURNING")]
    assert follows.startswith(chosen + "\n\n" + dedent(sets) + "RETURNING\n")


def test_a_run_is_recorded_alike_wherever_its_row_was_found() -> None:
    by_id, by_place = read("dispatch/finish"), read("dispatch/finish_at")

    assert by_place.partition("    -- What most")[1:] == by_id.partition("    -- What most")[1:]
