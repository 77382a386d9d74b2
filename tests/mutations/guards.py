"""Guards: the lines that keep the protocol, each with what it reads without its guard.

A patch names a file under `src/taskyard`, one line of it (as it stands there, without indentation),
and the line that takes its place. `after` says behind which line to look where a line stands more
than once. A guard that stands twice (belt and braces) has a patch for each place.
"""

from __future__ import annotations

from dataclasses import dataclass

AUDIT = "tests/conformance/test_access_audit.py::"
CLAIM = "tests/conformance/test_claim.py::"
DISPATCHER = "tests/conformance/test_dispatcher.py::"
ENQUEUE = "tests/conformance/test_enqueue.py::"
EXCLUSIVE = "tests/conformance/test_exclusive.py::"
HEART = "tests/conformance/test_heart.py::"
HOLDS = "tests/conformance/test_holds.py::"
LIFECYCLE = "tests/unit/test_lifecycle.py"
MANAGE = "tests/conformance/test_manage.py::"
RATE = "tests/conformance/test_rate.py::"
RESCUE = "tests/conformance/test_rescue.py::"
SETTLE = "tests/conformance/test_settle.py::"
SIGN_IN = "tests/conformance/test_access_sign_in.py::"
TABLES = "tests/conformance/test_task_tables.py::"
TENANTS = "tests/conformance/test_closed_tenants.py::"
TOKENS = "tests/conformance/test_access_tokens.py::"
USERS = "tests/conformance/test_access_users.py::"

WRONG = SETTLE + "test_under_a_wrong_fence_owner_or_status_nothing_is_written"
NOT_TAKEN = CLAIM + "test_what_is_not_due_held_or_not_pending_is_not_taken"
NOT_LIVE = CLAIM + "test_a_session_that_is_not_live_takes_nothing"


@dataclass(frozen=True)
class Patch:
    """One line of a file under src/taskyard, and what stands there without the guard."""

    path: str
    line: str
    instead: str
    after: str = ""


@dataclass(frozen=True)
class Guard:
    """A guard: how it is taken out, and the tests of which one has to fail then."""

    name: str
    patches: tuple[Patch, ...]
    tests: tuple[str, ...]


def guard(name: str, *patches: Patch, tests: str | tuple[str, ...]) -> Guard:
    return Guard(name, patches, (tests,) if isinstance(tests, str) else tests)


LIVE = "AND EXISTS (SELECT 1 FROM ty_servers WHERE session = :owner AND state = 'live')"
ANY_SESSION = "AND EXISTS (SELECT 1 FROM ty_servers)"

GUARDS = (
    # --- claim: only a live Session takes, and only what waits ----------------------------------
    guard(
        "postgres: only a live session claims",
        Patch("db/postgres.py", LIVE, ANY_SESSION),
        tests=NOT_LIVE + "[postgres]",
    ),
    guard(
        "sqlite: only a live session claims",
        Patch("db/sqlite.py", LIVE, ANY_SESSION),
        tests=NOT_LIVE + "[sqlite]",
    ),
    guard(
        "mysql: only a live session claims",
        Patch("db/mysql.py", LIVE, ANY_SESSION),
        tests=NOT_LIVE + "[mariadb]",
    ),
    guard(
        "postgres: a claim raises the fence",
        Patch(
            "db/postgres.py",
            "SET status = 1, fence = t.fence + 1, owner = :owner, server_id = :server_id,"
            " queue = :queue,",
            "SET status = 1, fence = t.fence + 0, owner = :owner, server_id = :server_id,"
            " queue = :queue,",
        ),
        tests=CLAIM + "test_each_claim_of_a_task_raises_its_fence[postgres]",
    ),
    guard(
        "sqlite: a claim raises the fence",
        Patch(
            "db/sqlite.py",
            "SET status = 1, fence = t.fence + 1, owner = :owner, server_id = :server_id,"
            " queue = :queue,",
            "SET status = 1, fence = t.fence + 0, owner = :owner, server_id = :server_id,"
            " queue = :queue,",
        ),
        tests=CLAIM + "test_each_claim_of_a_task_raises_its_fence[sqlite]",
    ),
    guard(
        "mysql: a claim raises the fence",
        Patch(
            "db/mysql.py",
            "SET status = 1, fence = fence + 1, owner = :owner, server_id = :server_id,"
            " queue = :queue,",
            "SET status = 1, fence = fence + 0, owner = :owner, server_id = :server_id,"
            " queue = :queue,",
        ),
        tests=CLAIM + "test_each_claim_of_a_task_raises_its_fence[mariadb]",
    ),
    guard(
        "postgres: what is still owned is not claimed",
        Patch(
            "db/postgres.py",
            'f"{self.pending} AND owner IS NULL AND priority = :priority"',
            'f"{self.pending} AND priority = :priority"',
        ),
        tests=NOT_TAKEN + "[postgres]",
    ),
    guard(
        "sqlite: what is still owned is not claimed",
        Patch(
            "db/sqlite.py",
            'f"{self.pending} AND owner IS NULL AND priority = :priority"',
            'f"{self.pending} AND priority = :priority"',
        ),
        tests=NOT_TAKEN + "[sqlite]",
    ),
    guard(
        "mysql: what is still owned is not claimed",
        Patch(
            "db/mysql.py",
            'f"{self.pending} AND owner IS NULL AND priority = :priority"',
            'f"{self.pending} AND priority = :priority"',
        ),
        tests=NOT_TAKEN + "[mariadb]",
    ),
    guard(
        "postgres: what is not due is not claimed",
        Patch("db/postgres.py", '" AND schedule_time <= statement_timestamp()"', '""'),
        tests=NOT_TAKEN + "[postgres]",
    ),
    guard(
        "sqlite: what is not due is not claimed",
        Patch("db/sqlite.py", 'f" AND {self.due()} <= :now_ms"', '""'),
        tests=NOT_TAKEN + "[sqlite]",
    ),
    guard(
        "mysql: what is not due is not claimed",
        Patch("db/mysql.py", '" AND schedule_time <= NOW(6)"', '""'),
        tests=NOT_TAKEN + "[mariadb]",
    ),
    guard(
        "postgres: what is held is not claimed",
        Patch(
            "db/postgres.py",
            'pending = "status = 0 AND hold = 0 AND excl_key IS NULL"',
            'pending = "status = 0 AND excl_key IS NULL"',
        ),
        tests=NOT_TAKEN + "[postgres]",
    ),
    guard(
        "sqlite: what is held is not claimed",
        Patch(
            "db/sqlite.py",
            'pending = "status = 0 AND hold = 0 AND excl_key IS NULL"',
            'pending = "status = 0 AND excl_key IS NULL"',
        ),
        tests=NOT_TAKEN + "[sqlite]",
    ),
    guard(
        "mysql: what is held is not claimed",
        Patch(
            "db/mysql.py",
            'pending = "status = 0 AND hold = 0 AND keyed = 0"',
            'pending = "status = 0 AND keyed = 0"',
        ),
        tests=NOT_TAKEN + "[mariadb]",
    ),
    guard(
        "sqlite: only known types are claimed",
        Patch(
            "db/sqlite.py",
            "where += f\" AND task_type IN ({', '.join(':' + name for name in names)})\"",
            'where += ""',
        ),
        tests=(
            CLAIM + "test_a_server_without_handlers_takes_nothing[sqlite]",
            CLAIM + "test_task_types_are_told_apart_by_case[sqlite]",
        ),
    ),
    guard(
        "postgres: only known types are claimed",
        Patch(
            "db/postgres.py", 'where += " AND task_type = ANY(:task_types::text[])"', 'where += ""'
        ),
        tests=CLAIM + "test_a_server_without_handlers_takes_nothing[postgres]",
    ),
    guard(
        "mysql: types are told apart byte by byte",
        Patch(
            "db/mysql.py",
            'return f"CONVERT({column} USING utf8mb4) COLLATE utf8mb4_bin"',
            "return column",
        ),
        tests=HOLDS + "test_types_that_differ_by_case_are_held_and_freed_apart[mariadb]",
    ),
    guard(
        "mysql: rows that another claims are passed over",
        Patch(
            "db/mysql.py",
            "ORDER BY schedule_time, id LIMIT :limit FOR UPDATE SKIP LOCKED",
            "ORDER BY schedule_time, id LIMIT :limit FOR UPDATE",
        ),
        tests=CLAIM + "test_a_lock_that_a_stranger_holds_is_passed_over[mariadb]",
    ),
    guard(
        "parameters above the limit are not read",
        Patch(
            "db/sqlite.py",
            "CASE WHEN length(CAST(task_params AS BLOB)) <= :max_params",
            "CASE WHEN length(CAST(task_params AS BLOB)) <= 2 * :max_params",
        ),
        tests=CLAIM + "test_parameters_above_the_limit_stay_in_the_database[sqlite]",
    ),
    guard(
        "a claim takes no more than it was asked for",
        Patch("tasks/claim.py", "limit=ask.limit - done,", "limit=ask.limit,"),
        tests=CLAIM + "test_a_claim_takes_no_more_than_it_was_asked_for[sqlite]",
    ),
    guard(
        "each row of a claim has a run id of its own",
        Patch(
            "tasks/claim.py",
            "first_run_id=ask.first_run_id + done,",
            "first_run_id=ask.first_run_id,",
        ),
        tests=CLAIM + "test_many_levels_have_run_ids_of_their_own[sqlite]",
    ),
    # --- exclusive keys -------------------------------------------------------------------------
    guard(
        "sqlite: a key that is held gives no head",
        Patch(
            "db/dialect.py",
            "WHERE r.excl_key = walk.k AND r.excl_key IS NOT NULL AND r.owner IS NOT NULL",
            "WHERE r.excl_key = walk.k AND r.excl_key IS NOT NULL AND r.owner = ''",
        ),
        tests=EXCLUSIVE + "test_one_row_of_a_key_runs_at_a_time_and_the_next_follows[sqlite]",
    ),
    guard(
        "a key is held by its owner, not by a status",
        Patch(
            "db/dialect.py",
            "WHERE r.excl_key = walk.k AND r.excl_key IS NOT NULL AND r.owner IS NOT NULL",
            "WHERE r.excl_key = walk.k AND r.excl_key IS NOT NULL AND r.status = 1",
        ),
        Patch(
            "db/sqlite.py",
            '("UNIQUE ", "excl", "(excl_key) WHERE excl_key IS NOT NULL AND owner IS NOT NULL"),',
            '("UNIQUE ", "excl", "(excl_key) WHERE excl_key IS NOT NULL AND status = 1"),',
        ),
        tests=EXCLUSIVE + "test_a_row_edited_by_sql_keeps_its_key_until_its_owner_lets_go[sqlite]",
    ),
    guard(
        "postgres: a key that is held gives no head",
        Patch(
            "db/postgres.py",
            "WHERE r.excl_key = walk.k AND r.excl_key IS NOT NULL AND r.owner IS NOT NULL)",
            "WHERE r.excl_key = walk.k AND r.excl_key IS NOT NULL AND r.owner = '')",
        ),
        tests=EXCLUSIVE + "test_one_row_of_a_key_runs_at_a_time_and_the_next_follows[postgres]",
    ),
    guard(
        "mysql: a key that is held gives no head",
        Patch(
            "db/mysql.py",
            "AND NOT EXISTS (SELECT 1 FROM {table} AS r WHERE r.excl_live = :key)",
            "AND :key = :key",
        ),
        tests=EXCLUSIVE + "test_one_row_of_a_key_runs_at_a_time_and_the_next_follows[mariadb]",
    ),
    guard(
        "postgres: the unique index over owned keys",
        Patch(
            "db/postgres.py",
            '("UNIQUE ", "excl", "(excl_key) WHERE excl_key IS NOT NULL AND owner IS NOT NULL"),',
            '("", "excl", "(excl_key) WHERE excl_key IS NOT NULL AND owner IS NOT NULL"),',
        ),
        tests=(EXCLUSIVE + "test_the_database_itself_refuses_a_second_owner_of_a_key[postgres]",),
    ),
    guard(
        "mysql: the unique index over owned keys",
        Patch("db/mysql.py", '("UNIQUE ", "excl", "(excl_live)"),', '("", "excl", "(excl_live)"),'),
        tests=EXCLUSIVE + "test_the_database_itself_refuses_a_second_owner_of_a_key[mariadb]",
    ),
    guard(
        "a lost race for a key is no error",
        Patch(
            "tasks/claim.py",
            "if not db.dialect.is_duplicate(error):",
            "if True:",
        ),
        tests=EXCLUSIVE + "test_a_race_for_a_key_that_is_lost_is_no_error[postgres]",
    ),
    guard(
        "held keys hide no free key",
        Patch(
            "tasks/claim.py",
            "more = bool(after_key) and (not round_over or bool(rows))",
            "more = False",
        ),
        tests=EXCLUSIVE + "test_held_keys_hide_no_free_key_however_many_they_are[sqlite]",
    ),
    # --- unique keys ----------------------------------------------------------------------------
    guard(
        "sqlite: a unique key is unique while it is live",
        Patch(
            "db/sqlite.py",
            '"(tenant_id, unique_key) WHERE unique_key IS NOT NULL AND status IN (0, 1)",',
            '"(tenant_id, unique_key, id) WHERE unique_key IS NOT NULL AND status IN (0, 1)",',
        ),
        tests=ENQUEUE
        + "test_a_second_task_with_a_live_unique_key_is_refused_and_names_the_first[sqlite]",
    ),
    guard(
        "a unique key is free after the end",
        Patch(
            "db/postgres.py",
            '_UNIQUE_LIVE = "unique_key IS NOT NULL AND status IN (0, 1)"',
            '_UNIQUE_LIVE = "unique_key IS NOT NULL"',
        ),
        tests=ENQUEUE + "test_a_unique_key_is_free_after_the_end[postgres]",
    ),
    guard(
        "the scope of a unique key is its tenant",
        Patch(
            "db/mysql.py",
            '("UNIQUE ", "unique", "(tenant_id, unique_live)"),',
            '("UNIQUE ", "unique", "(unique_live)"),',
        ),
        tests=ENQUEUE + "test_the_scope_of_a_unique_key_is_table_and_tenant[mariadb]",
    ),
    guard(
        "a duplicate does not break the caller's transaction",
        Patch(
            "db/postgres.py",
            'conflict = "" if row["unique_key"] is None else "ON CONFLICT DO NOTHING"',
            'conflict = ""',
        ),
        tests=(
            "tests/conformance/test_transactional_enqueue.py::"
            "test_a_duplicate_does_not_break_the_callers_transaction[postgres-driver]",
        ),
    ),
    guard(
        "priority is clamped",
        Patch(
            "tasks/enqueue.py",
            '"priority": max(-100, min(100, task.priority)),',
            '"priority": task.priority,',
        ),
        tests=ENQUEUE + "test_priority_is_clamped_to_a_hundred[sqlite]",
    ),
    guard(
        "an unsafe table name is never used",
        Patch(
            "tasks/enqueue.py",
            "table = check_table_name(get_queue(db, queue).table_name)",
            "table = get_queue(db, queue).table_name",
        ),
        tests=ENQUEUE + "test_a_queue_whose_table_name_is_unsafe_takes_nothing[sqlite]",
    ),
    # --- settle: under the fence, once ----------------------------------------------------------
    guard(
        "postgres: an end is written under its fence",
        Patch(
            "db/postgres.py",
            "WHERE found.fence = d.fence AND found.run_id = d.run_id AND found.status = 1",
            "WHERE found.run_id = d.run_id AND found.status = 1",
        ),
        Patch(
            "db/postgres.py",
            "WHERE t.ctid = d.place AND t.fence = d.fence AND t.status + 0 = 1"
            " AND t.owner || '' = :owner",
            "WHERE t.ctid = d.place AND t.status + 0 = 1 AND t.owner || '' = :owner",
        ),
        tests=WRONG + "[postgres]",
    ),
    guard(
        "postgres: an end is written by the owner",
        Patch("db/postgres.py", "AND found.owner = :owner", "AND found.owner IS NOT NULL"),
        Patch(
            "db/postgres.py",
            "WHERE t.ctid = d.place AND t.fence = d.fence AND t.status + 0 = 1"
            " AND t.owner || '' = :owner",
            "WHERE t.ctid = d.place AND t.fence = d.fence AND t.status + 0 = 1",
        ),
        tests=WRONG + "[postgres]",
    ),
    guard(
        "postgres: an end is written to a running row",
        Patch(
            "db/postgres.py",
            "WHERE found.fence = d.fence AND found.run_id = d.run_id AND found.status = 1",
            "WHERE found.fence = d.fence AND found.run_id = d.run_id",
        ),
        Patch(
            "db/postgres.py",
            "WHERE t.ctid = d.place AND t.fence = d.fence AND t.status + 0 = 1"
            " AND t.owner || '' = :owner",
            "WHERE t.ctid = d.place AND t.fence = d.fence AND t.owner || '' = :owner",
        ),
        tests=SETTLE + "test_a_running_row_that_sql_has_changed_is_closed_as_it_stands",
    ),
    guard(
        "sqlite: a run is written under its claim's fence",
        Patch(
            "db/sqlite.py",
            "WHERE t.id = d.id AND t.fence = d.fence AND t.run_id = d.run_id AND t.status = 1"
            " AND t.owner = ?",
            "WHERE t.id = d.id AND t.status = 1 AND t.owner = ?",
        ),
        tests=WRONG + "[sqlite]",
    ),
    guard(
        "sqlite: a run is written by the owner of a running row",
        Patch(
            "db/sqlite.py",
            "WHERE t.id = d.id AND t.fence = d.fence AND t.run_id = d.run_id AND t.status = 1"
            " AND t.owner = ?",
            "WHERE t.id = d.id AND t.fence = d.fence AND t.run_id = d.run_id"
            " AND t.owner IS NOT NULL AND ? <> ''",
        ),
        tests=(
            WRONG + "[sqlite]",
            SETTLE + "test_a_running_row_that_sql_has_changed_is_closed_as_it_stands",
        ),
    ),
    guard(
        "sqlite: an end is written under its fence",
        Patch(
            "db/sqlite.py",
            "mine = [e for e in mine if (e.id, e.fence, e.run_id) in held]",
            "mine = [e for e in mine if e.id in {row[0] for row in held}]",
        ),
        tests=WRONG + "[sqlite]",
    ),
    guard(
        "sqlite: an end is written by the owner of a running row",
        Patch(
            "db/sqlite.py",
            "SELECT id, fence, run_id FROM {table} WHERE owner = :owner AND status = 1",
            "SELECT id, fence, run_id FROM {table} WHERE :owner = :owner AND owner IS NOT NULL",
        ),
        tests=(
            WRONG + "[sqlite]",
            SETTLE + "test_a_running_row_that_sql_has_changed_is_closed_as_it_stands",
        ),
    ),
    guard(
        "mysql: an end is written under its fence",
        Patch(
            "db/mysql.py",
            "mine = [e for e in settlement.endings if (e.id, e.fence, e.run_id) in held]",
            "mine = [e for e in settlement.endings if e.id in {row[0] for row in held}]",
        ),
        tests=WRONG + "[mariadb]",
    ),
    guard(
        "mysql: an end is written by the owner of a running row",
        Patch(
            "db/mysql.py",
            "WHERE id IN ({ids}) AND status = 1 AND owner = :owner ORDER BY id FOR UPDATE",
            "WHERE id IN ({ids}) AND :owner = :owner ORDER BY id FOR UPDATE",
        ),
        tests=WRONG + "[mariadb]",
    ),
    guard(
        "what a lost answer had written is read back",
        Patch(
            "tasks/settle.py",
            "if run_status is not None:",
            "if False:",
        ),
        tests=SETTLE + "test_an_outage_after_the_commit_is_survived[sqlite]",
    ),
    guard(
        "an end that another has written is not taken for ours",
        Patch(
            "tasks/settle.py",
            "return bool(run_status == ending.run_status)",
            "return True",
        ),
        tests=SETTLE
        + "test_an_ending_that_was_overtaken_by_another_is_not_taken_for_written[sqlite]",
    ),
    guard(
        "only the owner of an edited row clears it",
        Patch(
            "tasks/settle.py",
            "WHERE id = :id AND run_id = :run_id AND fence = :fence AND owner = :owner",
            "WHERE id = :id AND :run_id = :run_id AND :fence = :fence AND :owner = :owner",
        ),
        Patch(
            "tasks/settle.py",
            "FROM {table} WHERE id = :id AND run_id = :run_id",
            "FROM {table} WHERE id = :id AND :run_id = :run_id",
        ),
        tests=SETTLE + "test_a_stale_attempt_cannot_touch_the_one_that_followed[sqlite]",
    ),
    guard(
        "an edited row is closed, not settled",
        Patch(
            "tasks/settle.py",
            "close_edited(db, place, ending, row)",
            "pass",
        ),
        tests=SETTLE + "test_a_running_row_that_sql_has_changed_is_closed_as_it_stands",
    ),
    guard(
        "one bad text does not hold back the batch",
        Patch("tasks/settle.py", "hit = _one_by_one(db, place, endings)", "raise"),
        tests=SETTLE + "test_no_text_blocks_a_settle[postgres]",
    ),
    guard(
        "what does not fit a column is shortened",
        Patch(
            "tasks/settle.py",
            "clean._replace(error_msg=ending.error_msg and short),",
            "clean,",
        ),
        tests=SETTLE + "test_a_column_too_small_for_the_error_gets_a_shorter_one",
    ),
    guard(
        "a Run is written once",
        Patch("runs/record.py", ') + dialect.or_nothing("id")', ")"),
        Patch(
            "runs/record.py",
            'if tx.value("SELECT 1 FROM ty_runs WHERE id = :id", id=values["id"]):',
            "if False:",
        ),
        tests=SETTLE + "test_who_closes_a_deleted_row_second_is_told_so[sqlite]",
    ),
    # --- rescue ---------------------------------------------------------------------------------
    guard(
        "only what the dead hold is rescued",
        Patch(
            "tasks/rescue.py",
            'dead = [o for o in owners if o not in by_session or by_session[o].state == "dead"]',
            'dead = [o for o in owners if o not in by_session or by_session[o].state != "live"]',
        ),
        tests=RESCUE + "test_what_living_and_draining_sessions_hold_is_left_alone[sqlite]",
    ),
    guard(
        "an owner that nobody knows is dead",
        Patch(
            "tasks/rescue.py",
            'dead = [o for o in owners if o not in by_session or by_session[o].state == "dead"]',
            'dead = [o for o in owners if o in by_session and by_session[o].state == "dead"]',
        ),
        tests=RESCUE + "test_an_owner_that_nobody_has_heard_of_is_dead[sqlite]",
    ),
    guard(
        "a session is declared dead only after its lease",
        Patch(
            "servers.py",
            "WHERE session = :session AND state <> 'dead' AND lease_until < {now}",
            "WHERE session = :session AND state <> 'dead' AND lease_until <> {now}",
        ),
        tests=RESCUE + "test_a_session_is_declared_dead_only_when_its_lease_has_ended[sqlite]",
    ),
    guard(
        "a dead session never beats again",
        Patch(
            "servers.py",
            "WHERE session = :session AND state IN ('live', 'draining')",
            "WHERE session = :session",
        ),
        tests=RESCUE
        + "test_a_beat_prolongs_the_lease_and_a_dead_session_never_beats_again[sqlite]",
    ),
    guard(
        "only what was forgotten is handed back",
        Patch(
            "tasks/rescue.py",
            "if (o.fence, o.run_id) == (forgotten[o.id].fence, forgotten[o.id].run_id)",
            "if o.id in forgotten",
        ),
        tests=RESCUE + "test_only_what_was_forgotten_is_handed_back[sqlite]",
    ),
    guard(
        "what must not run twice is not rescued into another run",
        Patch(
            "tasks/rescue.py",
            "once = _at_most_once([session] if session else everybody)",
            "once: set[str] = set()",
        ),
        tests=RESCUE + "test_a_task_that_must_not_run_twice_ends_failed[sqlite]",
    ),
    # --- the judge ------------------------------------------------------------------------------
    guard(
        "retries end",
        Patch(
            "core/lifecycle.py",
            "if attempt.at_most_once or attempt.retry_count >= attempt.max_retries:",
            "if attempt.at_most_once or attempt.retry_count > attempt.max_retries:",
        ),
        tests=LIFECYCLE,
    ),
    guard(
        "a failure is not repeated at most once",
        Patch(
            "core/lifecycle.py",
            "if attempt.at_most_once or attempt.retry_count >= attempt.max_retries:",
            "if attempt.retry_count >= attempt.max_retries:",
        ),
        tests=LIFECYCLE,
    ),
    guard(
        "a loss is not repeated at most once",
        Patch("core/lifecycle.py", "if attempt.at_most_once:", "if False:"),
        tests=LIFECYCLE,
    ),
    guard(
        "poison is parked",
        Patch("core/lifecycle.py", "if crashes >= max_crashes:", "if False:"),
        tests=(LIFECYCLE, RESCUE + "test_lost_attempts_are_counted_apart_and_parked_at_the_limit"),
    ),
    guard(
        "an interrupted start is not repeated at most once",
        Patch(
            "core/lifecycle.py",
            "if attempt.at_most_once and outcome.started is not None and outcome.kind is"
            " Kind.INTERRUPTED:",
            "if False:",
        ),
        tests=LIFECYCLE,
    ),
    # --- holds and the rate ---------------------------------------------------------------------
    guard(
        "what the fleet can run is not held",
        Patch("tasks/holds.py", "if head.task_type not in fleet:", "if True:"),
        tests=HOLDS + "test_a_task_that_another_server_can_run_is_not_held[sqlite]",
    ),
    guard(
        "only holds of types that can run now are taken back",
        Patch(
            "tasks/holds.py",
            "for task_type in sorted(held.intersection(fleet))",
            "for task_type in sorted(held)",
        ),
        tests=HOLDS + "test_holds_are_taken_back_when_a_server_knows_the_type[sqlite]",
    ),
    guard(
        "the rate is kept",
        Patch(
            "tasks/claim.py",
            "allowed = int((slack + 1e-6) / interval)",
            "allowed = ask.limit",
        ),
        tests=RATE + "test_a_rate_below_one_a_second_is_kept[sqlite]",
    ),
    guard(
        "the rate holds over all claimers",
        Patch(
            "tasks/claim.py",
            'lock = "" if not tx.dialect.skip_locked else " FOR UPDATE"',
            'lock = ""',
        ),
        tests=RATE + "test_claimers_of_one_rate_go_one_after_the_other[postgres]",
    ),
    guard(
        "what was taken is charged to the rate",
        Patch(
            "tasks/claim.py",
            "next_free=max(next_free, now) + taken / ask.rate_limit,",
            "next_free=max(next_free, now),",
        ),
        tests=RATE + "test_a_rate_below_one_a_second_is_kept[sqlite]",
    ),
    guard(
        "idling earns no more than a burst",
        Patch(
            "tasks/claim.py",
            "slack = burst * interval - max(0.0, next_free - now)",
            "slack = burst * interval - (next_free - now)",
        ),
        tests=RATE + "test_an_idle_queue_saves_up_no_more_than_a_burst[sqlite]",
    ),
    # --- trust ----------------------------------------------------------------------------------
    guard(
        "trust ends before the lease",
        Patch(
            "engine/heart.py",
            "self._good_until = sent + self._lease - self._lease / 6",
            "self._good_until = sent + self._lease + self._lease / 6",
        ),
        tests=HEART + "test_trust_ends_before_the_lease_does[sqlite]",
    ),
    guard(
        "the dead are not trusted",
        Patch(
            "engine/heart.py",
            "return not self.dead.is_set() and boottime() < self._good_until",
            "return boottime() < self._good_until",
        ),
        tests=HEART + "test_a_session_that_was_declared_dead_knows_and_is_never_trusted_again",
    ),
    guard(
        "who was away judges nobody at once",
        Patch("engine/heart.py", "if sent > self._good_until:", "if False:"),
        Patch(
            "engine/heart.py",
            "self._healthy_since = boottime()",
            "pass",
            after='logger.debug("a beat failed: %s", error)',
        ),
        tests=HEART + "test_who_was_away_is_trusted_again_and_judges_nobody_for_a_whole_lease",
    ),
    guard(
        "a lost beat restarts a judge's time",
        Patch(
            "engine/heart.py",
            "self._healthy_since = boottime()",
            "pass",
            after='logger.debug("a beat failed: %s", error)',
        ),
        tests=HEART
        + "test_a_single_lost_beat_restarts_the_time_that_a_judge_must_have_been_well[sqlite]",
    ),
    guard(
        "only the healthy judge",
        Patch(
            "engine/server.py",
            "return row.lease_left < 0 and self.heart.healthy_for() >= self.settings.lease",
            "return row.lease_left < 0",
        ),
        tests=HEART + "test_only_who_was_well_for_a_whole_lease_declares_others_dead[sqlite]",
    ),
    guard(
        "who is not trusted claims nothing",
        Patch(
            "engine/dispatcher.py",
            "if self._draining or not self._post.trusted():",
            "if self._draining:",
        ),
        Patch(
            "engine/dispatcher.py",
            "if limit <= 0 or not post.trusted():",
            "if limit <= 0:",
        ),
        tests=DISPATCHER + "test_who_is_not_trusted_claims_nothing[sqlite]",
    ),
    guard(
        "nothing is started that was claimed before trust ended",
        Patch(
            "engine/dispatcher.py",
            "start = lane.take() if self._post.trusted() else []",
            "start = lane.take()",
        ),
        tests=DISPATCHER
        + "test_what_was_claimed_is_not_started_when_trust_ended_meanwhile[sqlite]",
    ),
    guard(
        "nothing taken ahead is started without trust",
        Patch("engine/dispatcher.py", "if self._post.trusted():", "if True:"),
        tests=DISPATCHER + "test_a_worker_that_becomes_free_gets_nothing_without_trust[sqlite]",
    ),
    guard(
        "what could not start is started later",
        Patch("engine/dispatcher.py", "self._start_ready()", "pass"),
        tests=DISPATCHER
        + "test_what_was_claimed_is_not_started_when_trust_ended_meanwhile[sqlite]",
    ),
    guard(
        "what is forgotten is handed back",
        Patch("engine/dispatcher.py", "if forgotten:", "if False:"),
        tests=DISPATCHER + "test_what_it_owns_without_knowing_is_handed_back[sqlite]",
    ),
    guard(
        "what SQL has changed is stopped",
        Patch("engine/dispatcher.py", "if sent:", "if False:"),
        tests=DISPATCHER + "test_a_running_row_that_sql_has_changed_is_stopped",
    ),
    guard(
        "only exclusive work is stopped when trust ends",
        Patch(
            "engine/dispatcher.py",
            "works = [w for w in self._held.values() if w.exclusive and w.sent and not w.outcome]",
            "works = [w for w in self._held.values() if w.sent and not w.outcome]",
        ),
        tests=DISPATCHER
        + "test_only_what_must_not_run_without_trust_is_stopped_at_its_end[sqlite]",
    ),
    guard(
        "a broken table does not stop the chores of others",
        Patch("engine/server.py", "if self.db.is_away(error):", "if True:", after="work(table)"),
        tests=(
            "tests/conformance/test_supervisor.py::"
            "test_a_table_that_was_dropped_does_not_keep_others_from_being_rescued[sqlite]",
        ),
    ),
    # --- what people do -------------------------------------------------------------------------
    guard(
        "what has ended is not cancelled",
        Patch("tasks/change.py", "WHERE id = :id AND status = 1", "WHERE id = :id"),
        tests=MANAGE + "test_what_has_ended_cannot_be_cancelled[sqlite]",
    ),
    guard(
        "a running task keeps its owner when it is cancelled",
        Patch(
            "tasks/change.py",
            "UPDATE {table} SET status = 4, error_msg = :why, end_time = {now}, updated_at = {now}",
            "UPDATE {table} SET status = 4, error_msg = :why, owner = NULL, end_time = {now}",
            after='_CANCEL_RUNNING = """',
        ),
        tests=MANAGE
        + "test_a_running_task_is_cancelled_and_stays_its_servers_until_it_stopped[sqlite]",
    ),
    guard(
        "what still runs is not run again",
        Patch(
            "tasks/change.py",
            "WHERE id = :id AND status IN (2, 3, 4) AND owner IS NULL",
            "WHERE id = :id AND status IN (2, 3, 4)",
        ),
        tests=MANAGE + "test_what_has_not_ended_cannot_be_run_again[sqlite]",
    ),
    # --- tables ---------------------------------------------------------------------------------
    guard(
        "a foreign column of our name is refused",
        Patch("db/tables.py", "_check_clashes(tx, table, existing, ours)", "pass"),
        tests=TABLES
        + "test_a_column_that_is_called_like_one_of_ours_is_refused_with_the_alter[sqlite]",
    ),
    guard(
        "one adopter at a time",
        Patch(
            "db/postgres.py",
            'while not tx.value("SELECT pg_try_advisory_lock(hashtext(:name))", name=name):',
            'while tx.value("SELECT hashtext(:name)", name=name) is None:',
        ),
        tests=(
            TABLES + "test_two_servers_adopt_a_table_at_once[postgres]",
            TABLES + "test_many_servers_make_a_table_at_once[postgres]",
        ),
    ),
    guard(
        "an index that was left invalid is made again",
        Patch("db/tables.py", "statements += tx.dialect.repairs(tx, table)", "pass"),
        tests=TABLES + "test_an_index_that_was_left_invalid_is_made_again[postgres]",
    ),
    # --- access ---------------------------------------------------------------------------------
    guard(
        "access: a token's secret is compared",
        Patch(
            "access/identify.py",
            'if found is None or not hmac.compare_digest(found.row["secret_hash"],'
            " hash_of(secret)):",
            "if found is None:",
        ),
        tests=TOKENS + "test_what_is_no_token_leads_nowhere[sqlite]",
    ),
    guard(
        "access: a revoked token is dead",
        Patch("access/identify.py", 'if found.row["revoked"]:', "if False:"),
        tests=TOKENS + "test_a_token_that_has_ended_is_dead_at_once[sqlite]",
    ),
    guard(
        "access: a token narrowed to tenants reaches not beyond them",
        Patch("access/identify.py", "permissions &= OF_TENANTS", "pass"),
        tests=TOKENS + "test_scopes_and_tenants_narrow_a_token[sqlite]",
    ),
    guard(
        "access: a token does not grow beyond its maker",
        Patch(
            "access/tokens.py",
            "return caller.tenants is None and caller.permissions >= frozenset(Permission)",
            "return True",
        ),
        tests=TOKENS + "test_a_token_made_for_another_does_not_grow_beyond_its_maker[sqlite]",
    ),
    guard(
        "access: a token makes no tokens without the scope",
        Patch("access/tokens.py", "elif caller.token_id is not None:", "elif False:"),
        tests=TOKENS + "test_people_make_tokens_for_themselves_and_programs_do_not[sqlite]",
    ),
    guard(
        "access: one superuser stays",
        Patch("access/users.py", "if supers == {user.id}:", "if False:"),
        tests=USERS + "test_the_last_superuser_stays[sqlite]",
    ),
    guard(
        "access: an idle session ends",
        Patch("access/identify.py", "AND l.seen_at > {{idle}}", ""),
        tests=SIGN_IN + "test_a_session_ends_when_idle_and_in_any_case[sqlite]",
    ),
    guard(
        "access: an attempt too many is not looked at",
        Patch(
            "access/throttle.py",
            "WHERE name = :name AND (failures < :most OR since < {old})",
            "WHERE name = :name AND (failures < :most + 1 OR since < {old})",
        ),
        tests=SIGN_IN + "test_ten_failures_lock_an_account_and_nothing_else[sqlite]",
    ),
    guard(
        "access: a session belongs to the password that was compared",
        Patch(
            "access/logins.py",
            "WHERE id = :id AND status = 1 AND password_hash = :looked_at",
            "WHERE id = :id AND :looked_at = :looked_at",
        ),
        tests=SIGN_IN + "test_a_password_that_changes_meanwhile_leads_nowhere[sqlite]",
    ),
    guard(
        "access: what may still get a predecessor is not sealed",
        Patch(
            "access/seals.py",
            'return list(takewhile(lambda row: row["settled"] or row["seal"] is not None, behind))',
            "return behind",
        ),
        tests=AUDIT + "test_rows_are_sealed_a_minute_after_they_were_written[sqlite]",
    ),
    guard(
        "access: a disabled tenant's tasks are not claimed",
        Patch("db/sqlite.py", "where += of_open", "pass"),
        tests=TENANTS + "test_the_tasks_of_a_disabled_tenant_wait_until_it_is_enabled[sqlite]",
    ),
)
