/*
 * The lease protocol of Taskyard, for Spin.
 *
 * Owns: who may claim, settle, rescue and reconcile a Task, and in which order, when servers crash,
 * stand still and come back, when answers of the database are lost, and when somebody edits the rows
 * by SQL. Leaves out: time as numbers, crash and retry counting, what a handler does, rate limits,
 * priorities. README.md tells what stands for what and how to read a counter-example.
 *
 * One atomic block = one committed transaction, or one step inside one process. Between two blocks
 * anything may happen, and a process may stand still for ever: that is how a zombie comes about.
 * Each guard of the protocol can be taken away with -DM_...; `run` proves that Spin notices.
 */

/* ---- size of the world, and how much may go wrong in one execution ---- */
#ifndef TASKS
#define TASKS 1            /* 1 or 2; two tasks share one excl_key */
#endif
#ifndef LIVES
#define LIVES 3            /* lives (sessions) of each of the two servers; the last is never cut short */
#endif
#ifndef FAULTS
#define FAULTS 3           /* kills, pauses, graceful stops, lost answers, SQL edits: this many in all */
#endif
#ifndef OUTAGES
#define OUTAGES 0          /* times the database goes away for everybody, besides */
#endif

#define SERVERS 2
#define SESSIONS (SERVERS * LIVES)
#define SESSION(m, l) (1 + (m) * LIVES + (l))
#define SERVER(s) (((s) - 1) / LIVES)
#define NOBODY 0

/* ---- the database ---- */
#define PENDING 0
#define RUNNING 1
#define COMPLETED 2
#define CANCELLED 4

typedef Row {
    bool exists;
    byte status;
    byte fence;
    byte owner;
    bool retried;          /* max_retries = 1 */
    /* what the checks need to know and the tables hold elsewhere */
    bool ran;              /* the Run of (task, fence) stands in ty_runs */
    bool edited            /* touched by SQL; its owner has not answered yet */
}
Row row[TASKS];

#define UNBORN 0
#define LIVE 1
#define DRAINING 2
#define DEAD 3
byte state[SESSIONS + 1];  /* ty_servers.state */
bool db_up = true;

/*
 * Time: the last beat of a session is fresh enough to trust it, or its own server must not trust it
 * any more, or its lease is over. Trust ends a margin before the lease, so the order is fixed.
 */
#define FRESH 0
#define STALE 1
#define EXPIRED 2
byte clock[SESSIONS + 1];

/* ---- the servers ---- */
byte life[SERVERS];
byte session[SERVERS];          /* the session this process believes to be; nobody between two lives */
bool late[SERVERS];             /* no beat gets through: paused, or cut off from the database */
byte held[SERVERS * TASKS];     /* fence under which a server holds a task in memory, 0 = not */
bool handler[SERVERS * TASKS];  /* the handler's code is running */
#define HELD(m, t) held[(m) * TASKS + (t)]
#define HANDLER(m, t) handler[(m) * TASKS + (t)]
#define MORTAL(m) (session[m] && life[m] < LIVES - 1)

bool healthy = true;            /* the rescuer has been connected for a whole lease */
byte faults = FAULTS, outages = OUTAGES;

/* ---- statements whose sender stopped waiting; the database may run them late, or never ---- */
mtype = { CLAIM, COMPLETE, RETRY, RELEASE };
chan wire = [2] of { mtype, byte, byte, byte };    /* what, session, task, fence */

/* ---- invariants: protocol.md 3.5. True in every state but the one that ends a counter-example. ---- */
bool I1_one_terminal_write = true, I2_terminal_is_final = true, I3_owner_iff_running = true;
bool I4_one_trusted_handler = true, I5_one_run_per_claim = true, I7_one_live_row_per_key = true;
bool I9_dead_never_claims = true, I9_dead_stays_dead = true, G9_no_false_death = true;

#ifdef M_NO_TRUST_WINDOW
#define TRUSTED(m) (session[m] != NOBODY)
#else
#define TRUSTED(m) (session[m] && clock[session[m]] == FRESH)
#endif
#define TRUSTED_HANDLER(m, t) (HANDLER(m, t) && TRUSTED(m))

#define ROW_OK(t) (!row[t].exists || row[t].edited || ((row[t].owner != NOBODY) == (row[t].status == RUNNING)))
/* A DELETE takes the key with the row, before its owner can stop the handler: README, "What it taught". */
#define KEY_IN_USE(t) (row[t].exists && (TRUSTED_HANDLER(0, t) || TRUSTED_HANDLER(1, t)))
#define ONE_HANDLER(t) (!(TRUSTED_HANDLER(0, t) && TRUSTED_HANDLER(1, t)))

inline check() {
#if TASKS == 1
    I3_owner_iff_running = ROW_OK(0);
    I4_one_trusted_handler = ONE_HANDLER(0);
#else
    I3_owner_iff_running = ROW_OK(0) && ROW_OK(1);
    I4_one_trusted_handler = ONE_HANDLER(0) && ONE_HANDLER(1);
    I7_one_live_row_per_key = !(row[0].owner && row[1].owner) && !(KEY_IN_USE(0) && KEY_IN_USE(1));
    assert(I7_one_live_row_per_key);
#endif
    assert(I3_owner_iff_running);
    assert(I4_one_trusted_handler)
}

/* ---- CLAIM ---- */
#ifdef M_CLAIM_IGNORES_OWNER
#define UNOWNED(t) true
#else
#define UNOWNED(t) (row[t].owner == NOBODY)
#endif
#if TASKS == 1
#define KEY_FREE(t) true
#elif defined(M_KEY_BY_STATUS)
#define KEY_FREE(t) (!row[1 - (t)].exists || row[1 - (t)].status != RUNNING)
#elif defined(M_NO_KEY)
#define KEY_FREE(t) true
#else
#define KEY_FREE(t) (!row[1 - (t)].exists || row[1 - (t)].owner == NOBODY)
#endif
#ifdef M_CLAIM_ANY_SESSION
#define MAY_CLAIM(s) true
#else
#define MAY_CLAIM(s) (state[s] == LIVE)
#endif
#define CLAIMABLE(t) (row[t].exists && row[t].status == PENDING && UNOWNED(t) && KEY_FREE(t))

inline put_claim(s, t) {
#ifndef SNAPSHOT_CHECK
    I9_dead_never_claims = (state[s] != DEAD);
    assert(I9_dead_never_claims);
#endif
    I5_one_run_per_claim = (row[t].fence == 0 || row[t].ran);
    assert(I5_one_run_per_claim);
    row[t].status = RUNNING;
    row[t].fence++;
    row[t].owner = s;
    row[t].ran = false;
    row[t].edited = false;
    check()
}

/* ---- SETTLE: complete, fail (= complete here), retry, release; fenced ---- */
#ifdef M_SETTLE_NO_STATUS
#define STATUS_GUARD(t) true
#else
#define STATUS_GUARD(t) (row[t].status == RUNNING)
#endif
#ifdef M_SETTLE_NO_FENCE
#define FENCE_GUARD(t, f) true
#else
#define FENCE_GUARD(t, f) (row[t].fence == f)
#endif
#ifdef M_SETTLE_NO_OWNER
#define OWNER_GUARD(t, s) true
#else
#define OWNER_GUARD(t, s) (row[t].owner == s)
#endif
#define SETTLES(s, t, f) (row[t].exists && STATUS_GUARD(t) && FENCE_GUARD(t, f) && OWNER_GUARD(t, s))

inline put_settle(what, t, f) {
    I1_one_terminal_write = (row[t].fence == f && !row[t].ran);
    assert(I1_one_terminal_write);
    I2_terminal_is_final = (row[t].status != COMPLETED && row[t].status != CANCELLED);
    assert(I2_terminal_is_final);
    if
    :: what == COMPLETE -> row[t].status = COMPLETED
    :: what == RETRY -> row[t].status = PENDING; row[t].retried = true
    :: what == RELEASE -> row[t].status = PENDING
    fi;
#ifndef M_SETTLE_KEEPS_OWNER
    row[t].owner = NOBODY;
#endif
    row[t].ran = true;
    row[t].edited = false;
    check()
}

/* ---- HAND BACK, by rescue and by reconcile: status 1 -> 0, what SQL wrote stays; fenced ---- */
#define IS(t, f, s) (row[t].exists && row[t].fence == f && row[t].owner == s)

/* What the row's status is judged by: the row as it is, never the snapshot that was read before. */
#ifdef M_STATUS_FROM_SNAPSHOT
#define NOTE_STATUS(t) seen = row[t].status
#define WAS_RUNNING(t) (seen == RUNNING)
#define SNAPSHOT byte seen;
#else
#define NOTE_STATUS(t) skip
#define WAS_RUNNING(t) (row[t].status == RUNNING)
#define SNAPSHOT
#endif

inline put_back(t, f) {
    I5_one_run_per_claim = (row[t].fence == f && !row[t].ran);
    assert(I5_one_run_per_claim);
    if
    :: WAS_RUNNING(t) -> row[t].status = PENDING
    :: else
    fi;
    row[t].owner = NOBODY;
    row[t].ran = true;
    row[t].edited = false;
    check()
}

/* A row that vanished can't be fenced: its Run is inserted once, run_id being the primary key. */
inline put_run_of_vanished(t, f) {
    if
    :: !row[t].exists && row[t].fence == f -> row[t].ran = true
    :: else
    fi
}

/* ---- what a server must look after: rows it owns and does not know, rows it knows and no longer owns ---- */
#define FORGOTTEN(m, s, t) (row[t].exists && row[t].owner == s && HELD(m, t) != row[t].fence)
#define CHANGED(m, s, t) (HELD(m, t) && !(IS(t, HELD(m, t), s) && row[t].status == RUNNING))
#ifdef M_NO_RECONCILE
#define TO_RECONCILE(m, s, t) CHANGED(m, s, t)
#else
#define TO_RECONCILE(m, s, t) (FORGOTTEN(m, s, t) || CHANGED(m, s, t))
#endif

inline look(m, s, t, f) {          /* SELECT, and stop what must not go on */
    NOTE_STATUS(t);
    if
    :: FORGOTTEN(m, s, t) -> f = row[t].fence
    :: else -> f = HELD(m, t)
    fi;
#ifndef M_CLEAR_BEFORE_STOP
    if
    :: CHANGED(m, s, t) -> HANDLER(m, t) = false
    :: else
    fi
#endif
}

inline hand_back(m, s, t, f) {     /* UPDATE ... WHERE id, fence, owner; INSERT the Run */
    if
    :: IS(t, f, s) -> put_back(t, f)
    :: else -> put_run_of_vanished(t, f)
    fi
}

inline forget(m, t, f) {
    if
    :: HELD(m, t) == f -> HELD(m, t) = 0; HANDLER(m, t) = false
    :: else
    fi;
    t = 0; f = 0; what = 0
}

/* `ANY(G)`: a task for which G holds; `PICK(G, t)`: one of them. */
#define ANY(G) (G(0) || G(TASKS - 1))
#define PICK(G, t) if :: G(0) -> t = 0 :: TASKS > 1 && G(TASKS - 1) -> t = TASKS - 1 fi

/*
 * The supervisor of a server: claims, starts handlers, settles, reconciles. One thing at a time,
 * which is rule (j): reconciling never overlaps an open claim. Beats have a process of their own.
 * `LEAVE`: it may be killed here, or notice that its session was declared dead; either way its
 * runners are gone with it. A killed server's lease counts as over at once: the certificate may come
 * at any time after, and the fast path of a restart on the same host need not be told apart.
 */
#define LEAVE :: atomic { faults > 0 && MORTAL(m) -> faults--; goto dead } :: db_up && state[session[m]] == DEAD -> goto dead
#define MINE_TO_RECONCILE(t) TO_RECONCILE(m, session[m], t)
#define MINE_FORGOTTEN(t) FORGOTTEN(m, session[m], t)
#define MINE_HELD(t) HELD(m, t)
#define MINE_RUNNING(t) HANDLER(m, t)

proctype Server(bit m) {
    byte t, f;
    SNAPSHOT
    mtype what;
    bool go;

birth:
    atomic {
        db_up ->
        session[m] = SESSION(m, life[m]);
        state[session[m]] = LIVE;
        clock[session[m]] = FRESH
    }
idle:
end:
    do
    LEAVE

    /* reconcile */
    :: atomic { db_up && ANY(MINE_TO_RECONCILE) -> PICK(MINE_TO_RECONCILE, t); look(m, session[m], t, f) }
       if
#ifdef M_CLEAR_BEFORE_STOP
       :: atomic { db_up -> hand_back(m, session[m], t, f) } atomic { forget(m, t, f) }
#else
       :: atomic { db_up -> hand_back(m, session[m], t, f); forget(m, t, f) }
#endif
       LEAVE
       fi

    /* claim */
    :: state[session[m]] != DRAINING && ANY(CLAIMABLE) && TRUSTED(m) ->
       if
       :: atomic {
              db_up && ANY(CLAIMABLE) && MAY_CLAIM(session[m]) -> PICK(CLAIMABLE, t);
              put_claim(session[m], t);
              f = row[t].fence
          }
       :: db_up && !(ANY(CLAIMABLE) && MAY_CLAIM(session[m])) -> goto idle
       :: atomic { faults > 0 && nfull(wire) -> faults--; wire!CLAIM(session[m], 0, 0); goto idle }
       LEAVE
       fi;
#ifdef M_RECONCILE_OVERLAPS_CLAIM
       if
       :: atomic { db_up && MINE_FORGOTTEN(t) -> hand_back(m, session[m], t, f) }
       :: skip
       fi;
#endif
       if
       :: atomic {              /* the answer is here; rule (a): start only if still trusted */
              I4_one_trusted_handler = (HELD(m, t) == 0);
              assert(I4_one_trusted_handler);
              HELD(m, t) = f;
              go = TRUSTED(m)
          }
       :: atomic { faults > 0 -> faults--; t = 0; f = 0; goto idle }
       LEAVE
       fi;
       if
       :: atomic { go -> go = false; HANDLER(m, t) = true; check(); t = 0; f = 0 }
       :: atomic { !go -> what = RELEASE; goto settle }
       LEAVE
       fi

    /* a handler ends, or is stopped by a graceful stop */
    :: atomic {
           ANY(MINE_RUNNING) -> PICK(MINE_RUNNING, t);
           HANDLER(m, t) = false;
           f = HELD(m, t);
           if
           :: state[session[m]] == DRAINING -> what = RELEASE
           :: state[session[m]] != DRAINING -> what = COMPLETE
           :: state[session[m]] != DRAINING && !row[t].retried -> what = RETRY
           fi
       }
settle:
       if
       :: atomic { db_up && SETTLES(session[m], t, f) -> put_settle(what, t, f); forget(m, t, f); goto idle }
       :: atomic { db_up && !SETTLES(session[m], t, f) -> NOTE_STATUS(t) }
       :: atomic { faults > 0 && db_up && SETTLES(session[m], t, f) -> faults--; put_settle(what, t, f); goto settle }
       :: atomic { faults > 0 && nfull(wire) -> faults--; wire!what(session[m], t, f); goto settle }
       LEAVE
       fi;
       if                       /* 0 rows, read back: ours already, taken away, or edited by SQL */
       :: atomic { db_up -> hand_back(m, session[m], t, f); forget(m, t, f) }
       LEAVE
       fi

    /* graceful stop: no claims, hand everything back, then the session ends by itself */
    :: atomic { db_up && faults > 0 && MORTAL(m) && state[session[m]] == LIVE -> faults--; state[session[m]] = DRAINING }
    :: atomic {
           db_up && state[session[m]] == DRAINING && !ANY(MINE_HELD) && !ANY(MINE_FORGOTTEN) ->
           state[session[m]] = DEAD;
           goto dead
       }
    od;

dead:
    atomic {
        HELD(m, 0) = 0; HANDLER(m, 0) = false;
        HELD(m, TASKS - 1) = 0; HANDLER(m, TASKS - 1) = false;
        late[m] = false;
        clock[session[m]] = EXPIRED;
        session[m] = NOBODY;
        t = 0; f = 0; what = 0; go = false;
        life[m]++;
        if
        :: life[m] < LIVES -> goto birth
        :: else
        fi
    }
}

/* The beat: a connection and a thread of its own. 0 rows = declared dead, see LEAVE. */
#ifdef M_BEAT_REVIVES
#define BEATS(s) true
#else
#define BEATS(s) (state[s] == LIVE || state[s] == DRAINING)
#endif

/* Beats go on for ever; where only safety is asked, those that change nothing are left out. */
#ifdef LIVENESS
#define WORTH_A_BEAT(m) true
#else
#define WORTH_A_BEAT(m) (late[m] || clock[session[m]] != FRESH)
#endif

proctype Beat(bit m) {
end:
    do
    :: atomic {
           db_up && session[m] && BEATS(session[m]) && WORTH_A_BEAT(m) ->
           I9_dead_stays_dead = (state[session[m]] != DEAD);
#ifdef M_BEAT_REVIVES
           state[session[m]] = LIVE;
#endif
           clock[session[m]] = FRESH;
           late[m] = false;
           assert(I9_dead_stays_dead);
           check()
       }
    od
}

/*
 * A lease: time goes on for those who do not beat, first trust ends, then the lease; and then any
 * rescuer may write the death certificate, if it has itself been connected for a whole lease.
 */
#define MUTE(s) (state[s] != UNBORN && state[s] != DEAD && clock[s] != EXPIRED && session[SERVER(s)] == s && (!db_up || late[SERVER(s)]))
#ifdef M_NO_GRACE
#define HEALTHY true
#else
#define HEALTHY healthy
#endif

proctype Lease(byte s) {
end:
    do
    :: atomic { MUTE(s) -> clock[s]++ }
#ifndef M_NO_CERTIFICATE
    :: atomic {
           db_up && HEALTHY && (state[s] == LIVE || state[s] == DRAINING) && clock[s] == EXPIRED ->
           G9_no_false_death = (session[SERVER(s)] != s || late[SERVER(s)]);
           assert(G9_no_false_death);
           state[s] = DEAD
       }
#endif
    od
}

/* The rescuer: rows of certified sessions, by a snapshot that may be old when it writes. */
#define CAUGHT_UP(m) (session[m] == NOBODY || late[m] || state[session[m]] == DEAD || clock[session[m]] == FRESH)
#if defined(M_RESCUE_BY_AGE)
#define RESCUABLE(t) (row[t].exists && row[t].owner != NOBODY)
#elif defined(M_NO_CERTIFICATE)
#define RESCUABLE(t) (row[t].exists && row[t].owner != NOBODY && (state[row[t].owner] == DEAD || clock[row[t].owner] == EXPIRED))
#else
#define RESCUABLE(t) (row[t].exists && row[t].owner != NOBODY && state[row[t].owner] == DEAD)
#endif
#define MARKED_BY_HAND(t) (row[t].exists && row[t].owner == NOBODY && row[t].status == RUNNING)
#ifdef M_RESCUE_BY_ID
#define RESCUES(t, f, s) (row[t].exists && row[t].status == RUNNING)
#else
#define RESCUES(t, f, s) IS(t, f, s)
#endif

proctype Rescuer() {
    byte s, t, f;
    SNAPSHOT
end:
    do
    :: atomic {                     /* connected for a whole lease: whoever can beat has beaten */
           db_up && !healthy && CAUGHT_UP(0) && CAUGHT_UP(1) -> healthy = true
       }
#ifndef M_NO_RESCUE
    :: atomic {
           db_up && ANY(RESCUABLE) -> PICK(RESCUABLE, t);
           f = row[t].fence;
           s = row[t].owner;
           NOTE_STATUS(t)
       }
       atomic {
           db_up ->
           if
           :: RESCUES(t, f, s) -> put_back(t, f)
           :: else
           fi;
           s = 0; t = 0; f = 0
       }
#endif
#ifndef M_RESCUE_SKIPS_OWNERLESS
    :: atomic {                     /* status 1 and no owner: somebody wrote it, no claim stands behind it */
           db_up && ANY(MARKED_BY_HAND) -> PICK(MARKED_BY_HAND, t);
           row[t].status = PENDING;
           row[t].edited = false;
           t = 0;
           check()
       }
#endif
    od
}

/* Statements whose sender stopped waiting, or died. */
#ifdef SNAPSHOT_CHECK
#define LATE_CLAIM(s) (state[s] != UNBORN)
#else
#define LATE_CLAIM(s) MAY_CLAIM(s)
#endif

proctype Network() {
    byte s, t, f;
    mtype what;
end:
    do
    :: atomic {
           db_up && nempty(wire) -> wire?what(s, t, f);
           if
           :: what == CLAIM ->
              if
              :: ANY(CLAIMABLE) && LATE_CLAIM(s) -> PICK(CLAIMABLE, t); put_claim(s, t)
              :: else
              fi
           :: what != CLAIM && SETTLES(s, t, f) -> put_settle(what, t, f)
           :: else
           fi;
           s = 0; t = 0; f = 0; what = 0
       }
    :: atomic { nempty(wire) -> wire?what(s, t, f); s = 0; t = 0; f = 0; what = 0 }
    od
}

/* Somebody with an SQL prompt. Only we clear `owner` (rulings 3.1). */
inline edit(t, to) {
    row[t].status = to;
#ifdef M_EDIT_CLEARS_OWNER
    row[t].owner = NOBODY;
    row[t].ran = true;
#endif
    row[t].edited = ((row[t].owner != NOBODY) != (to == RUNNING))
}

#define EXISTS(t) row[t].exists

proctype Sql() {
    byte t;
end:
    do
    :: atomic {
           faults > 0 && ANY(EXISTS) -> PICK(EXISTS, t);
           faults--;
           if
           :: row[t].status == RUNNING -> edit(t, PENDING)
           :: row[t].status == RUNNING -> edit(t, CANCELLED)
           :: row[t].status == PENDING -> edit(t, RUNNING)
           :: row[t].status > RUNNING -> edit(t, PENDING)
           :: row[t].exists = false; row[t].owner = NOBODY; row[t].status = PENDING; row[t].edited = false
           fi;
           t = 0
       }
#ifdef LIVENESS
    :: break
#endif
    od
}

/* Faults: all of them may happen, none has to. Kills are in `LEAVE`, lost answers where they hurt. */
proctype Faults() {
end:
    do
    :: atomic { faults > 0 && MORTAL(0) && !late[0] -> faults--; late[0] = true }
    :: atomic { faults > 0 && MORTAL(1) && !late[1] -> faults--; late[1] = true }
    :: atomic { outages > 0 && db_up -> outages--; db_up = false; healthy = false }
    :: !db_up -> db_up = true
#ifdef LIVENESS
    :: db_up -> break
#endif
    od
}

init {
    byte s;
    atomic {
        row[0].exists = true;
        row[TASKS - 1].exists = true;
        run Server(0); run Server(1);
        run Beat(0); run Beat(1);
        s = 1;
        do
        :: s <= SESSIONS -> run Lease(s); s++
        :: else -> break
        od;
        run Rescuer(); run Network(); run Sql(); run Faults()
    }
}

/* I8, and more: every task ends, whatever happened, and nobody is left as its owner. */
#define ENDED(t) (!row[t].exists || (row[t].status > RUNNING && row[t].owner == NOBODY))
#ifdef LIVENESS
ltl I8_every_task_ends { <> [] (ENDED(0) && ENDED(TASKS - 1)) }
#endif
