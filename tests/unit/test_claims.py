"""The statements that claim: one is another with a bound."""

from __future__ import annotations

from signalstack.store.query import read

BOUND = "            AND j.id >= $9::uuid\n"
# The lane as a range of the ready index, in its order, and as two equal columns.
RANGE = """\
            AND (j.queue, j.user_id) >= (lane.queue, lane.user_id)
            AND (j.queue, j.user_id) <= (lane.queue, lane.user_id)
"""
EQUAL = """\
            AND j.queue = lane.queue
            AND j.user_id = lane.user_id
"""


def _body(name: str) -> str:
    text = read(name)
    return text[text.index("WITH RECURSIVE") :]


def test_a_claim_of_what_is_new_is_a_plain_one_with_a_bound_wherever_it_reads_jobs() -> None:
    new, plain = _body("dispatch/claim_new"), _body("dispatch/claim_plain")

    unbound = new.replace(BOUND, "").replace(RANGE, EQUAL)
    assert (
        unbound.replace("ORDER BY j.queue, j.user_id, j.priority", "ORDER BY j.priority") == plain
    )
    assert new.count(BOUND) == plain.count("FROM signalstack.jobs AS j") == 3
