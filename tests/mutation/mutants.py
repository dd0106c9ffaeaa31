"""Takes one safeguard at a time out of a copy of the code, and expects a named test to fail.

`make mutants` runs it; a mutant that survives is a promise that no test keeps.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

import msgspec

ROOT: Final = Path(__file__).resolve().parents[2]
_COPIED: Final = ("service", "sql", "tests", "pyproject.toml")
_FAILED: Final = 1  # pytest's exit code: tests ran, and some failed
_TIMEOUT_S: Final = 300


class Mutant(msgspec.Struct, frozen=True, kw_only=True):
    """A safeguard taken out: each `old` stands once in `file`; `test` must fail without it."""

    name: str
    file: str
    edits: tuple[tuple[str, str], ...]
    test: str


_DISPATCH: Final = "tests/integration/test_dispatch.py"
_CHORES: Final = "tests/integration/test_chores.py"
# As the owner of the tables, whom no row-level security stops: what is proven is the WHERE.
_LOOK_UP: Final = "tests/integration/test_usecases_look_up.py"
_FINISH: Final = "sql/queries/dispatch/finish.sql"
_FINISH_ONE: Final = "sql/queries/dispatch/finish_one.sql"
_REQUEUE: Final = "sql/queries/dispatch/requeue.sql"
_CLAIM: Final = "sql/queries/dispatch/claim.sql"
_CLAIM_PLAIN: Final = "sql/queries/dispatch/claim_plain.sql"
_RESCUE: Final = "sql/queries/maintenance/rescue.sql"
_INVITING: Final = "sql/migrations/0016_look_when_invited.up.sql"
_ENQUEUE_ONE: Final = "sql/queries/intake/enqueue_one.sql"
_ACCEPT_ONE: Final = "sql/queries/intake/accept_one.sql"
_INVITATIONS: Final = "tests/integration/test_invitations.py"
_DURABILITY: Final = "tests/integration/test_api_durability.py"
_WAL: Final = "tests/integration/test_wal.py"

_ONCE_A_ROW: Final = """
    WHERE EXISTS (SELECT FROM chosen) AND j.id IN (
        SELECT k.id
        FROM signalstack.jobs AS k
        WHERE NOT k.delayed AND k.lease_token IS NULL AND k.id >= j.id
        ORDER BY k.id
        LIMIT $3::integer
        FOR UPDATE SKIP LOCKED
    )
"""


def _of_hand_over(file: str, way: str) -> tuple[Mutant, ...]:
    """Take the conditions of a hand-over out, where such jobs are stored."""
    return (
        Mutant(
            name=f"the session that must live to be handed a job, {way}",
            file=file,
            edits=(
                ("AND NOT pg_try_advisory_xact_lock_shared(o.lock_key)", "AND o.lock_key <> 0"),
            ),
            test=f"{_INVITATIONS}::test_an_invitation_of_a_session_that_is_gone_is_not_taken[{way}]",
        ),
        Mutant(
            name=f"the queue that hands nothing over while it is held back, {way}",
            file=file,
            edits=(
                (
                    "AND (q.paused OR coalesce(q.concurrency, q.rate_limit) IS NOT NULL)",
                    "AND false",
                ),
            ),
            test=f"{_INVITATIONS}::test_a_queue_that_is_held_back_hands_nothing_over",
        ),
        Mutant(
            name=f"the job that must not be overtaken, {way}",
            file=file,
            edits=((" AND count(*) = count(few.lease_token)", ""),),
            test=f"{_INVITATIONS}::test_nobody_is_overtaken[{way}]",
        ),
        Mutant(
            name=f"the worker that must be alive to be handed a job, {way}",
            file=file,
            edits=(
                (
                    "AND EXISTS (SELECT FROM signalstack.workers AS w WHERE w.id = o.worker_id)",
                    "AND o.worker_id IS NOT NULL",
                ),
            ),
            test=f"{_INVITATIONS}"
            f"::test_an_invitation_that_outlived_its_worker_is_not_taken_and_goes[{way}]",
        ),
    )


MUTANTS: Final = (
    Mutant(
        name="the fencing token of an outcome",
        file=_FINISH,
        edits=((" AND j.lease_token = o.token", " AND o.token IS NOT NULL"),),
        test=f"{_DISPATCH}::test_outcome_of_a_lost_lease_changes_nothing",
    ),
    Mutant(
        name="the fencing token of an outcome that comes alone",
        file=_FINISH_ONE,
        edits=((" AND j.lease_token = $3::bigint", " AND $3::bigint IS NOT NULL"),),
        test=f"{_DISPATCH}::test_outcome_of_a_lost_lease_changes_nothing",
    ),
    Mutant(
        name="the empty list of outcomes none of which is ours",
        file=_FINISH,
        edits=(("coalesce(array_agg(g.id), '{}')", "array_agg(g.id)"),),
        test=f"{_DISPATCH}::test_outcome_told_twice_is_recorded_once",
    ),
    Mutant(
        name="the fencing token of a retry",
        file=_REQUEUE,
        edits=(
            (" AND o.token = j.lease_token", ""),
            ("        AND j.lease_token = o.token\n", ""),
        ),
        test=f"{_DISPATCH}::test_outcome_of_a_lost_lease_changes_nothing",
    ),
    Mutant(
        name="the MATERIALIZED claim",
        file=_CLAIM,
        # PostgreSQL inlines no CTE that locks rows, whatever the word; this is what it makes of a
        # plain subquery in a nested loop: it is run once a row.
        edits=(("    WHERE j.ctid = any(array(SELECT chosen.spot FROM chosen))\n", _ONCE_A_ROW),),
        test=f"{_DISPATCH}::test_claim_keeps_its_limit_when_statistics_lie[full]",
    ),
    Mutant(
        name="the MATERIALIZED claim, plain",
        file=_CLAIM_PLAIN,
        # PostgreSQL inlines no CTE that locks rows, whatever the word; this is what it makes of a
        # plain subquery in a nested loop: it is run once a row.
        edits=(("    WHERE j.ctid = any(array(SELECT chosen.spot FROM chosen))\n", _ONCE_A_ROW),),
        test=f"{_DISPATCH}::test_claim_keeps_its_limit_when_statistics_lie[plain]",
    ),
    Mutant(
        name="SKIP LOCKED of a claim",
        file=_CLAIM,
        edits=(
            (
                "FOR UPDATE SKIP LOCKED\n    ) AS waiting\n    WHERE NOT allowed.shared\n",
                "FOR UPDATE\n    ) AS waiting\n    WHERE NOT allowed.shared\n",
            ),
        ),
        test=f"{_DISPATCH}::test_second_worker_skips_what_the_first_is_claiming[full]",
    ),
    Mutant(
        name="SKIP LOCKED of a claim, plain",
        file=_CLAIM_PLAIN,
        edits=(
            (
                "FOR UPDATE SKIP LOCKED\n    ) AS waiting\n",
                "FOR UPDATE\n    ) AS waiting\n",
            ),
        ),
        test=f"{_DISPATCH}::test_second_worker_skips_what_the_first_is_claiming[plain]",
    ),
    Mutant(
        name="the lock order of a settlement",
        file="service/signalstack/store/dispatch.py",
        edits=(("sorted(ended, key=outcomes.lock_order)", "list(ended)"),),
        test=f"{_DISPATCH}::test_rows_are_locked_in_their_order_whatever_ended_first",
    ),
    Mutant(
        name="the news that a settlement came back",
        file="service/signalstack/worker/settler.py",
        edits=(
            ("            self._signal.set()  # for the other one", "            pass  # for the"),
        ),
        test=(
            "tests/integration/test_settler.py"
            "::test_what_comes_back_of_the_second_batch_is_settled_though_nothing_more_ends"
        ),
    ),
    Mutant(
        name="the lock order of a rescue",
        file=_RESCUE,
        edits=(("    ORDER BY j.user_id, j.id\n    FOR UPDATE OF j\n", "    FOR UPDATE OF j\n"),),
        test=f"{_CHORES}::test_rescue_locks_rows_in_their_order",
    ),
    Mutant(
        name="the tenant of a live job that is looked up",
        file="sql/queries/jobs/get.sql",
        edits=(
            (
                "FROM signalstack.jobs\nWHERE user_id = %(user_id)s::uuid AND id",
                "FROM signalstack.jobs\nWHERE %(user_id)s::uuid IS NOT NULL AND id",
            ),
        ),
        test=f"{_LOOK_UP}::test_the_query_alone_leaves_out_another_tenants_job",
    ),
    Mutant(
        name="the tenant of a finished job that is looked up",
        file="sql/queries/jobs/get.sql",
        edits=(
            (
                "FROM signalstack.finished_jobs\nWHERE user_id = %(user_id)s::uuid AND id",
                "FROM signalstack.finished_jobs\nWHERE %(user_id)s::uuid IS NOT NULL AND id",
            ),
        ),
        test=f"{_LOOK_UP}::test_the_query_alone_leaves_out_another_tenants_job",
    ),
    Mutant(
        name="the binding of a tenant's connection",
        file="service/signalstack/store/query.py",
        edits=(
            (
                "        statements.insert(0, (read(_BIND)",
                "        list.insert([], 0, (read(_BIND)",
            ),
        ),
        test="tests/integration/test_walls.py::test_a_tenants_connection_sees_that_tenant_alone",
    ),
    Mutant(
        name="the worker that must be alive to claim",
        file=_CLAIM,
        edits=(
            (
                "AND EXISTS (SELECT FROM signalstack.workers AS w WHERE w.id = $5::uuid)",
                "AND $5::uuid IS NOT NULL",
            ),
        ),
        test=f"{_DISPATCH}::test_worker_that_was_given_up_claims_nothing[full]",
    ),
    Mutant(
        name="the worker that must be alive to claim, plain",
        file=_CLAIM_PLAIN,
        edits=(
            (
                "AND EXISTS (SELECT FROM signalstack.workers AS w WHERE w.id = $5::uuid)",
                "AND $5::uuid IS NOT NULL",
            ),
        ),
        test=f"{_DISPATCH}::test_worker_that_was_given_up_claims_nothing[plain]",
    ),
    *_of_hand_over(_INVITING, "others"),
    *_of_hand_over(_ENQUEUE_ONE, "alone"),
    *_of_hand_over(_ACCEPT_ONE, "keyed"),
    Mutant(
        name="the repeat that takes no invitation",
        file=_ACCEPT_ONE,
        edits=(("            AND EXISTS (SELECT FROM fresh)\n", ""),),
        test=f"{_INVITATIONS}::test_a_repeat_takes_no_invitation[job-direct]",
    ),
    Mutant(
        name="the version of the subscriptions, for an event by itself",
        file=_ACCEPT_ONE,
        edits=(("AND $26::bigint = (", "AND $26::bigint >= ("),),
        test=f"{_INVITATIONS}"
        "::test_an_event_that_was_matched_out_of_date_takes_no_invitation[direct]",
    ),
    Mutant(
        name="chance among the lanes of a claim, plain",
        file=_CLAIM_PLAIN,
        edits=(
            (
                "ORDER BY hashtextextended(",
                "ORDER BY walked.user_id, hashtextextended(",
            ),
        ),
        test=(
            "tests/integration/test_dispatch.py"
            "::test_a_flood_starves_nobody_where_there_is_room_for_one_job_at_a_time[default-plain]"
        ),
    ),
    Mutant(
        name="no look at everything for a while once it was cut off",
        file="service/signalstack/worker/walks.py",
        edits=(
            (
                "        if self._answered < self._asked and not self._cut:",
                "        if self._answered < self._asked:",
            ),
        ),
        test=(
            "tests/unit/test_walks.py"
            "::test_after_a_look_that_was_cut_off_only_new_ones_are_looked_at_for_a_while"
        ),
    ),
    Mutant(
        name="the look at everything once no new jobs are left",
        file="service/signalstack/worker/walks.py",
        edits=(
            (
                "            if left_none and self._unsure and not self._cut:",
                "            if False:",
            ),
        ),
        test=(
            "tests/unit/test_walks.py"
            "::test_an_old_one_of_less_priority_is_looked_for_when_no_new_ones_are_left"
        ),
    ),
    Mutant(
        name="the look at everything once none follow a full claim",
        file="service/signalstack/worker/walks.py",
        edits=(("            return 0.0 if at_once else ", "            return "),),
        test=(
            "tests/integration/test_claimer.py"
            "::test_who_empties_a_backlog_steps_over_what_it_took_and_leaves_none"
        ),
    ),
    Mutant(
        name="the look at everything for a lane that a full claim did not reach",
        file="service/signalstack/store/claims.py",
        edits=((" if len(ends) == lanes else None", ""),),
        test=(
            "tests/integration/test_dispatch.py"
            "::test_where_a_lane_got_nothing_or_was_not_reached_no_id_is_told"
        ),
    ),
    Mutant(
        name="the claim of everything when an old job waits again",
        file="service/signalstack/worker/claimer.py",
        edits=(
            (
                "        if channel == AGAIN:\n            self._walks.need_whole()\n",
                "",
            ),
        ),
        test=(
            "tests/integration/test_claimer.py"
            "::test_beside_dead_rows_claims_are_at_new_ids_until_an_old_one_waits_again"
        ),
    ),
    Mutant(
        name="the claim of everything by who hears nothing",
        file="service/signalstack/worker/claimer.py",
        edits=(("if not self._hears() or not self._queues", "if not self._queues"),),
        test=(
            "tests/integration/test_claimer.py"
            "::test_who_hears_nothing_looks_at_everything_with_each_poll"
        ),
    ),
    Mutant(
        name="the turn of the event loop while PostgreSQL is away and a limit's time has come",
        file="service/signalstack/worker/claimer.py",
        edits=(
            (
                "            self._claim_at = inf\n            return self._poll_interval_s\n",
                "            return self._poll_interval_s\n",
            ),
        ),
        test=(
            "tests/integration/test_claimer.py"
            "::test_who_waits_for_a_limit_lets_the_event_loop_turn_while_postgresql_is_away"
        ),
    ),
    Mutant(
        name="the claim whose time has come when nothing can be promoted",
        file="service/signalstack/worker/claimer.py",
        edits=(
            (
                "        self._claim_if_due()\n        return self._poll_interval_s\n",
                "        return self._poll_interval_s\n",
            ),
        ),
        test=(
            "tests/integration/test_claimer.py"
            "::test_what_a_limit_held_back_is_leased_though_delayed_jobs_cannot_be_promoted"
        ),
    ),
    Mutant(
        name="the promotion beside what cannot be given back yet",
        file="service/signalstack/worker/claimer.py",
        edits=(
            (
                '            _log.warning("claims_not_disowned"',
                '            raise\n            _log.warning("claims_not_disowned"',
            ),
        ),
        test=(
            "tests/integration/test_claimer.py"
            "::test_what_cannot_be_given_back_yet_keeps_nothing_else_from_coming_due"
        ),
    ),
    Mutant(
        name="the rest between two looks for what a lost claim leased",
        file="service/signalstack/worker/claimer.py",
        edits=(("_DOUBT_REST: Final = 10", "_DOUBT_REST: Final = 0"),),
        test=(
            "tests/integration/test_claimer.py"
            "::test_what_cannot_be_given_back_yet_keeps_nothing_else_from_coming_due"
        ),
    ),
    Mutant(
        name="the outcomes that outlast a full queue of notifications",
        file="service/signalstack/worker/settler.py",
        edits=(("if error.queue_is_full or not", "if not"),),
        test="tests/integration/test_settler.py::test_outcomes_outlast_what_is_full",
    ),
    Mutant(
        name="the payload that is read later",
        file="service/signalstack/worker/reading.py",
        edits=(('_HELD: Final = ("40", "55")', '_HELD: Final = ("40",)'),),
        test=(
            "tests/integration/test_reading.py"
            "::test_a_payload_that_cannot_be_read_while_the_table_is_locked_is_read_later"
        ),
    ),
    Mutant(
        name="the time that a doubt lasts",
        file="service/signalstack/worker/claimer.py",
        edits=(
            (
                "self._doubtful[token] = anyio.current_time() + _DOUBT_S\n        self.expect(0.0)",
                "self._doubtful[token] = 0.0\n        self.expect(0.0)",
            ),
        ),
        test=(
            f"{_INVITATIONS}"
            "::test_what_comes_into_doubt_while_another_is_given_back_is_not_forgotten"
        ),
    ),
    Mutant(
        name="the condition by which many outcomes are found one by one",
        file=_FINISH,
        edits=(("j.user_id = any(ARRAY[o.user_id])", "j.user_id = o.user_id"),),
        test="tests/integration/test_plans.py::test_hot_queries_read_little_however_much_there_is",
    ),
    Mutant(
        name="the id that guards what stands where a row was",
        file="sql/queries/dispatch/finish_at.sql",
        edits=(("        AND j.id IS NOT DISTINCT FROM o.id\n", ""),),
        test=f"{_DISPATCH}::test_what_stands_where_a_row_was_is_left_alone",
    ),
    Mutant(
        name="the second look for what moved since it was claimed",
        file="service/signalstack/worker/settler.py",
        edits=(("            left += await self._settle(done.moved)\n", "            pass\n"),),
        test="tests/integration/test_settler.py"
        "::test_an_outcome_is_recorded_at_once_wherever_its_row_moved",
    ),
    Mutant(
        name="the look at lanes that a claim which found nothing does not tell of",
        file="service/signalstack/worker/walks.py",
        edits=(("self._passed_by or not leases", "self._passed_by"),),
        test="tests/unit/test_walks.py"
        "::test_in_a_flow_a_claim_begins_a_moment_before_the_last_one_began",
    ),
    Mutant(
        name="the limit of what is leased ahead of slots that did not run dry",
        file="service/signalstack/worker/prefetch.py",
        edits=(("2 * self._claim_s)), self._limit)", "2 * self._claim_s)), AHEAD_LIMIT)"),),
        test="tests/integration/test_worker.py::test_few_of_a_burst_are_leased_ahead_however_quick"
        "_the_jobs_before_it_were",
    ),
    Mutant(
        name="the token by which a bell is believed",
        file="service/signalstack/worker/host.py",
        edits=(
            (
                "if lease is None or lease.token != self._token:",
                "if lease is None:",
            ),
        ),
        test=f"{_INVITATIONS}::test_a_bell_without_the_token_is_not_believed",
    ),
    Mutant(
        name="the guard of a repeat against being handed over",
        file="sql/queries/intake/enqueue.sql",
        edits=(
            (
                "AND (($13::uuid[])[1] IS NULL OR ($13::uuid[])[1] IN (SELECT key.ref FROM key))",
                "AND true",
            ),
        ),
        test=f"{_INVITATIONS}::test_a_repeat_takes_no_invitation",
    ),
    Mutant(
        name="the flush before an answer to a wait that ran out",
        file="service/signalstack/api/jobs.py",
        edits=(("        await call.parts.acceptor.make_durable()\n", ""),),
        test=f"{_DURABILITY}::test_a_wait_that_runs_out_is_answered_once_the_job_is_durable",
    ),
    Mutant(
        name="the flush before an answer to who creates a job that may run already",
        file="service/signalstack/store/intake.py",
        edits=(("self._once_on_disk(stored, link) if hurry and durable else stored", "stored"),),
        test=f"{_DURABILITY}::test_a_job_runs_before_it_is_durable_and_is_answered_after[create]",
    ),
    Mutant(
        name="the flush before a job with a key may run",
        file="service/signalstack/store/intake.py",
        edits=(("            few = few and write.key is None\n", ""),),
        test=f"{_DURABILITY}::test_a_job_with_a_key_is_durable_before_it_runs[create]",
    ),
    Mutant(
        name="the turn that answered callers get before the next group leaves",
        file="service/signalstack/store/intake.py",
        edits=(("asyncio.get_running_loop().call_soon(self._send_next)", "self._send_next()"),),
        test=(
            "tests/integration/test_intake.py"
            "::test_what_callers_send_when_they_are_answered_goes_along_with_what_waits"
        ),
    ),
    Mutant(
        name="the doubt about a flush over a connection that came later",
        file="service/signalstack/store/wal.py",
        edits=(("elif since != opened:", "elif False:"),),
        test=f"{_WAL}::test_a_flush_after_a_reconnect_does_not_stand_for_what_was_stored_before",
    ),
    Mutant(
        name="the disk before a job that goes through a pooler",
        file="service/signalstack/store/intake.py",
        edits=((" or (few and not pooled)", " or few"),),
        test=f"{_WAL}::test_behind_a_pooler_nothing_is_stored_before_it_is_on_disk",
    ),
    Mutant(
        name="the limit of what waits for the disk",
        file="service/signalstack/store/intake.py",
        edits=(("        self._held_jobs, self._held_bytes = jobs, size\n", ""),),
        test=f"{_WAL}::test_what_is_stored_and_waits_for_the_disk_counts_as_waiting",
    ),
    Mutant(
        name="the row behind a bell that asks for a cancel",
        file="service/signalstack/worker/supervisor.py",
        edits=(
            ("                self._doubtful[lease.id] = lease\n", ""),
            ("                self._doubt.set()\n", "                self._cancel(lease.job_id)\n"),
        ),
        test="tests/integration/test_worker.py"
        "::test_a_notification_cancels_what_somebody_wants_cancelled_and_nothing_else",
    ),
    Mutant(
        name="the walk of a shared queue that begins behind the last turn",
        file=_CLAIM,
        edits=(("            o.turn,\n", ""),),
        test=f"{_DISPATCH}::test_everyone_in_a_shared_queue_has_a_turn_before_anyone_has_two",
    ),
    Mutant(
        name="the bound on what an event's jobs hold together",
        file="service/signalstack/usecases/matching.py",
        edits=(("size + len(payload) > MADE_BYTES", "False"),),
        test="tests/integration/test_accept.py::test_the_jobs_of_one_event_are_bounded_together",
    ),
    Mutant(
        name="the doubt about a flush of another server",
        file="service/signalstack/store/intake.py",
        edits=(
            (
                "return beside if beside.server == self._link.server else self._link",
                "return beside",
            ),
        ),
        test=f"{_WAL}::test_a_second_link_that_cannot_be_flushed_for_is_not_used",
    ),
)


def mutate(mutant: Mutant, root: Path) -> None:
    """Take the mutant's safeguard out of the tree at `root`."""
    path = root / mutant.file
    text = path.read_text()
    for old, new in mutant.edits:
        if text.count(old) != 1:
            raise LookupError(f"{mutant.name}: {old!r} does not stand once in {mutant.file}")
        text = text.replace(old, new)
    path.write_text(text)


def killed(mutant: Mutant) -> bool:
    """Tell whether the mutant's test fails on a copy of the code without its safeguard."""
    with tempfile.TemporaryDirectory(prefix="signalstack-mutant-") as folder:
        copy = Path(folder)
        for name in _COPIED:
            source = ROOT / name
            (shutil.copytree if source.is_dir() else shutil.copy2)(source, copy / name)
        mutate(mutant, copy)
        run = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-x", mutant.test],
            cwd=copy,
            env=os.environ | {"PYTHONPATH": str(copy / "service")},  # noqa: TID251 - handed on
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
        if run.returncode not in {0, _FAILED}:
            sys.stderr.write(run.stdout + run.stderr)
            raise RuntimeError(f"{mutant.name}: the test could not be run")
        return run.returncode == _FAILED


def main() -> int:
    """Run every mutant, or those whose names hold the words given; 1 when one survives."""
    words = sys.argv[1:]
    survivors = 0
    for mutant in MUTANTS:
        if not all(word in mutant.name for word in words):
            continue
        dead = killed(mutant)
        survivors += not dead
        sys.stdout.write(f"{'killed  ' if dead else 'SURVIVED'}  {mutant.name}  ({mutant.test})\n")
        sys.stdout.flush()
    return int(survivors > 0)


if __name__ == "__main__":
    sys.exit(main())
