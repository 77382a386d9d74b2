"""Server: the supervisor. It claims, beats, settles and rescues, and never runs user code.

Owns the life of a Session from its registration to its end, and the order in which everything is
started and stopped. One Session is one `Life`; when it is declared dead (the machine slept, the
database was out of reach for longer than a lease) all it runs is killed and a new Life begins.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import FrameType
from typing import Any

from taskyard import queues, servers
from taskyard.access import edits, logins, seals, tenants
from taskyard.access.caller import ENGINE
from taskyard.alerts import check, incidents
from taskyard.batches import keeper
from taskyard.core.errors import DatabaseUnreachable, ServerIdTwice, TableInvalid, TaskyardError
from taskyard.db import migrate, tables
from taskyard.db.database import Database
from taskyard.engine import spool as spools
from taskyard.engine.chores import Chore, Chores
from taskyard.engine.dispatcher import Dispatcher, Post
from taskyard.engine.duties import duties
from taskyard.engine.heart import Heart
from taskyard.engine.pool import Pool
from taskyard.engine.reload import SourceWatch
from taskyard.engine.scheduler import Scheduler
from taskyard.engine.scribe import Scribe
from taskyard.engine.wakeup import Wakeup
from taskyard.engine.work import Work
from taskyard.handlers import HandlerSpec
from taskyard.queues import Queue
from taskyard.runs import rollups
from taskyard.runs.ids import RunIds
from taskyard.schedules import declared
from taskyard.schedules.edits import EditWatch
from taskyard.settings import Settings
from taskyard.tasks import holds, rescue

logger = logging.getLogger("taskyard.server")

_CANCEL_SECONDS = 3.0
_HELLO_SECONDS = 60.0
_REMEMBER_DEAD = 7 * 86_400.0


class Server:
    """One supervisor process. `serve()` returns when it was told to stop, and is done."""

    def __init__(self, settings: Settings, *, only_queues: frozenset[str] | None = None) -> None:
        """`only_queues` narrows the Queues that this Server works."""
        self.settings = settings
        self.only_queues = only_queues
        self.db = Database(
            settings.database_url,
            pooler=settings.pooler,
            notify=settings.notify,
            synchronous=settings.sqlite_synchronous,
        )
        self.stop_asked = threading.Event()
        self.stop_now = threading.Event()
        self.started = threading.Event()
        """Set when the first Life works: queues are read and Runners are there."""

    def serve(self) -> None:
        """Work until told to stop (`ask_to_stop`, or a signal under `with self.signals()`).

        Raises DatabaseUnreachable when the database refuses us (a wrong password does not mend by
        waiting), SchemaOld or SchemaNewer, and ServerIdTwice.
        """
        self._patiently(lambda: migrate.require(self.db))
        self._patiently(self._claim_server_id)
        while not self.stop_asked.is_set():
            self._patiently(lambda: Life(self).live())
        self.db.close()

    def ask_to_stop(self) -> None:
        """Stop in order; asked a second time: stop now."""
        if self.stop_asked.is_set():
            self.stop_now.set()
        self.stop_asked.set()

    @contextlib.contextmanager
    def signals(self) -> Iterator[None]:
        """SIGTERM and SIGINT ask this Server to stop, for the length of the block."""

        def handle(number: int, frame: FrameType | None) -> None:
            second = self.stop_asked.is_set()
            logger.info("stopping%s", " now" if second else ", running tasks get to finish")
            self.ask_to_stop()

        before = {n: signal.signal(n, handle) for n in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _patiently(self, work: Callable[[], None]) -> None:
        """A Server that meets a database that is down waits for it; it never exits."""
        told = False
        while not self.stop_asked.is_set():
            try:
                work()
                return
            except Exception as error:
                refused = isinstance(error, DatabaseUnreachable) and error.refused
                if refused or not self.db.is_away(error):
                    raise
                if not told:
                    logger.warning("%s Waiting for it.", error)
                    told = True
                self.stop_asked.wait(1.0)

    def _claim_server_id(self) -> None:
        """No two live Servers may go by one server_id: wait a lease for the other, then give up."""
        patience = time.monotonic() + self.settings.lease + 1.0
        while not self.stop_asked.is_set():
            twin = self._living_twin()
            if twin is None:
                return
            if time.monotonic() > patience:
                raise ServerIdTwice(twin.server_id, twin.host, twin.beat_age)
            self.stop_asked.wait(0.5)

    def _living_twin(self) -> servers.SessionRow | None:
        for row in servers.sessions(self.db):
            if row.server_id != self.settings.server_id or row.kind != "server":
                continue
            if servers.is_same_machine(row) and servers.is_process_gone(row):
                spools.flush_old(self.db, self.settings, row.session)
                servers.certify_gone(self.db, row.session)
            elif row.alive or not servers.certify_expired(self.db, row.session):
                return row
        return None


class Life:
    """One Session: everything between its registration and its end."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.settings = server.settings
        self.db = server.db
        self.session = servers.new_session()
        self.heart = Heart(
            self.db, self.session, self.settings.lease, told_to_drain=server.stop_asked.set
        )
        self.scribe = Scribe(self.db, self.session, self._find_work, self.settings.log_dir)
        self.pool = Pool(
            self.settings,
            self.session,
            deliver=self._deliver,
            note=self.scribe.note,
            checkpoint=lambda work, data: self._dispatchers[work.lane.table].keep_checkpoint(
                work, data
            ),
        )
        self.spool = spools.Spool(self.settings, self.session)
        self.wakeup = Wakeup(self.db, self._rung)
        self.scheduler = Scheduler(self.db, self.settings.default_time_zone, self._rung)
        self._edits = EditWatch(self.db, self.settings.default_time_zone)
        self._dispatchers: dict[str, Dispatcher] = {}
        self._fleet: frozenset[str] = frozenset()
        self._closed: frozenset[str] = frozenset()
        self._published: tuple[object, ...] = ()
        self._post = Post(
            db=self.db,
            session=self.session,
            server_id=self.settings.server_id,
            pool=self.pool,
            run_ids=RunIds(self.db),
            spool=self.spool,
            max_crashes=self.settings.max_crashes,
            trusted=self.heart.trusted,
            fleet=lambda: self._fleet,
            flush_notes=self.scribe.flush,
            closed=lambda: self._closed,
        )
        self.chores = Chores(self._duties(), self.db.is_away)
        # On a thread of its own: whatever another chore waits for, such as a row that a stopped
        # Server has locked, must not keep the tasks of that very Server from being given back.
        self.rescuer = Chores(
            [Chore("rescue", min(2.0, self.settings.beat), self._rescue)], self.db.is_away
        )

    def live(self) -> None:
        """Register, work, and end: in order when asked to stop, at once when declared dead."""
        try:
            self._begin()
            self._watch()
        except BaseException:
            self._die()  # or its heart would beat on for a Session that nobody lives
            raise
        if self.heart.dead.is_set():
            self._die()
        else:
            self._end()

    # --- begin ----------------------------------------------------------------------------------

    def _begin(self) -> None:
        servers.register(
            self.db,
            self.session,
            self.settings.server_id,
            lease=self.settings.lease,
            runners=self.settings.runners,
        )
        self.heart.start()
        self.pool.start()
        self.scribe.start()
        self._await_introduction()
        self.rescuer.start()
        self.chores.start()
        self.wakeup.start()
        self.scheduler.start()

    def _await_introduction(self) -> None:
        """Until a Runner has told which Handlers there are, nothing can be claimed."""
        told = time.monotonic() + _HELLO_SECONDS
        while not self.pool.introduced.wait(0.05) and not self._over():
            if time.monotonic() > told:
                logger.warning("the application has not been imported after %g s", _HELLO_SECONDS)
                told = float("inf")

    def _duties(self) -> list[Chore]:
        duties = [
            Chore("handlers", min(1.0, self.settings.config_sync_interval), self._publish),
            Chore("sync", self.settings.config_sync_interval, self._sync),
            Chore("schedules", self.settings.config_sync_interval, self._follow_schedules),
            Chore(
                "edits",
                self.settings.config_sync_interval,
                lambda: edits.notice_queue_edits(self.db),
            ),
            Chore("batches", 2.0, lambda: keeper.keep(self.db)),
            Chore("seal", 10.0, lambda: seals.seal(self.db)),
            Chore("count", 5.0, lambda: rollups.count_ended(self.db)),
            Chore("alerts", 5.0, lambda: check.check(self.db)),
            Chore("forget", 3600.0, self._forget),
        ]
        if self.settings.reload:
            duties.append(Chore("reload", 0.5, SourceWatch(self.settings, self.pool.retire_all)))
        return duties

    # --- work -----------------------------------------------------------------------------------

    def _watch(self) -> None:
        """The main thread never touches the database, so it sees in time when trust ends."""
        while not self._over():
            if not self.heart.trusted():
                self._stop_untrusted()
            self.server.stop_asked.wait(0.1)

    def _over(self) -> bool:
        return self.server.stop_asked.is_set() or self.heart.dead.is_set()

    def _forget(self) -> None:
        """Remove what the platform remembers of the past and needs no more."""
        servers.forget_old(self.db, _REMEMBER_DEAD)
        logins.forget_expired(self.db)
        rollups.forget_old(self.db)
        incidents.forget_old(self.db)
        max_age = self.settings.retention.audit_max_age
        if max_age is not None:
            seals.prune(self.db, ENGINE, max_age)

    def _publish(self) -> None:
        """Tell the fleet what we can run, whenever that has changed."""
        specs = self.pool.specs
        state = (*sorted(specs), *(str(p) for p in self.pool.problems))
        if not self.pool.introduced.is_set() or state == self._published:
            return
        for problem in self.pool.problems:
            logger.error("%s", problem.get("text", problem))
        # First the queues: who reads that we have a handler may enqueue for it at once.
        self._ensure_queues(specs.values())
        servers.publish(
            self.db, self.session, [spec.to_dict() for spec in specs.values()], self.pool.problems
        )
        self._published = state
        self._sync()
        self._sync_schedules(specs.values())
        logger.info(
            "server %s works with %d handlers: %s",
            self.settings.server_id,
            len(specs),
            ", ".join(sorted(specs)) or "none",
        )
        self.server.started.set()

    def _ensure_queues(self, specs: Any) -> None:
        names = {spec.queue for spec in specs} - {queues.DEFAULT}
        # The default queue is always the first: whoever tries out a queue "1" means no handler's.
        for name in (queues.DEFAULT, *sorted(names)):
            try:
                queues.ensure_queue(self.db, name)
            except TaskyardError as error:
                logger.error("queue %s: %s", name, error)

    def _sync_schedules(self, specs: Iterable[HandlerSpec]) -> None:
        """Bring the rows of `ty_schedules` in step with what our code declares."""
        zone = self.settings.default_time_zone
        declared.sync(self.db, declared.declared_by(specs, self._app), "code", zone)
        declared.sync(self.db, duties(self.settings), "system", zone)

    def _follow_schedules(self) -> None:
        """Take in what SQL has changed, and stop what no Server declares any more."""
        self._edits.look()
        # Who could not import the application cannot tell what is no longer in it.
        if self._published and not self.pool.problems:
            alive = [row for row in servers.sessions(self.db) if row.alive]
            specs = [HandlerSpec.from_dict(data) for row in alive for data in row.specs()]
            declared.stop_undeclared(self.db, specs, self._app)

    @property
    def _app(self) -> str:
        return self.settings.app or "handlers"

    def _sync(self) -> None:
        """Follow `queue_configs`, which anybody may have changed by SQL."""
        self._fleet = self._known_in_fleet()
        self._closed = self.db.read(tenants.disabled)
        if not self.settings.queue_enable:
            return
        found = queues.load_queues(self.db)
        fit = [queue for queue in found if self._is_fit(queue)]
        mine = [queue for queue in fit if self._is_mine(queue)]
        self._assign(mine)
        self._for_each(
            sorted({queue.table_name for queue in mine}),
            lambda table: holds.release_holds(self.db, table, self._fleet, self._closed),
        )

    def _known_in_fleet(self) -> frozenset[str]:
        known = set(self.pool.specs)
        for row in servers.sessions(self.db):
            if row.alive:
                known.update(spec["name"] for spec in row.specs())
        return frozenset(known)

    def _is_fit(self, queue: Queue) -> bool:
        """Is its row and its table what it must be? Else the reason is written beside it."""
        problem = queue.problem
        if queue.status == 1 or problem is None:
            try:
                tables.ensure_table(self.db, queue.table_name)
                problem = None
            except TableInvalid as error:
                problem = f"{error} {error.fix}"
            except Exception as error:
                if self.db.is_away(error):
                    raise
                problem = f"table {queue.table_name} cannot be used: {error}"
        if problem is not None and problem != queue.problem:
            logger.error("queue %s is quarantined: %s", queue.queue_name, problem)
        queues.set_problem(self.db, queue.queue_name, problem)
        return problem is None and queue.status == 1

    def _is_mine(self, queue: Queue) -> bool:
        chosen = self.server.only_queues
        return queue.server_id in ("", self.settings.server_id) and (
            chosen is None or queue.queue_name in chosen
        )

    def _assign(self, mine: list[Queue]) -> None:
        if self._over():
            return
        by_table: dict[str, list[Queue]] = {}
        for queue in mine:
            by_table.setdefault(queue.table_name, []).append(queue)
        for table in by_table.keys() - self._dispatchers.keys():
            self._dispatchers[table] = Dispatcher(self._post, table)
            self._dispatchers[table].start()
        for table, dispatcher in self._dispatchers.items():
            dispatcher.set_queues(by_table.get(table, []))

    def _rescue(self) -> None:
        """Certify who is dead, and give back what they held."""
        for row in servers.sessions(self.db):
            if row.session == self.session:
                continue
            gone = servers.is_same_machine(row) and servers.is_process_gone(row)
            if gone:
                self._certify_gone(row)
            elif self._may_judge(row) and servers.certify_expired(self.db, row.session):
                logger.warning("server %s (%s) is lost", row.server_id, row.session)
        self._for_each(self.db.read(tables.task_tables), self._rescue_in)
        rescue.close_lost_tracked(self.db)

    def _rescue_in(self, table: str) -> None:
        count = rescue.rescue(self.db, table, max_crashes=self.settings.max_crashes)
        if count:
            logger.warning("%d tasks of %s were given back from dead servers", count, table)
            self._rung(table)

    def _for_each(self, names: Sequence[str], work: Callable[[str], object]) -> None:
        """Do `work` for each table; one that was dropped or broken does not stop the others."""
        for table in names:
            try:
                work(table)
            except Exception as error:
                if self.db.is_away(error):
                    raise
                logger.warning("table %s: %s", table, error)
                if self.db.dialect.is_table_missing(error):
                    tables.forget_table(self.db, table)

    def _may_judge(self, row: servers.SessionRow) -> bool:
        """After an outage every lease looks expired: only who was well for a whole lease judges."""
        return row.lease_left < 0 and self.heart.healthy_for() >= self.settings.lease

    def _certify_gone(self, row: servers.SessionRow) -> None:
        if row.server_id == self.settings.server_id:
            spools.flush_old(self.db, self.settings, row.session)
        if servers.certify_gone(self.db, row.session) and row.kind == "server":
            logger.warning("server %s (%s) is gone from this machine", row.server_id, row.session)

    def _stop_untrusted(self) -> None:
        """What must not run beside a successor has to be gone when the lease ends (protocol G4)."""
        grace = max(0.0, min(3.0, self.settings.margin - 0.35))
        for dispatcher in list(self._dispatchers.values()):
            dispatcher.cancel_exclusive("the server lost touch with the database", grace)

    def _rung(self, table: str | None) -> None:
        for name, dispatcher in list(self._dispatchers.items()):
            if table is None or name == table:
                dispatcher.ring()

    def _deliver(self, works: list[Work]) -> None:
        by_table: dict[str, list[Work]] = {}
        for work in works:
            by_table.setdefault(work.lane.table, []).append(work)
        for table, mine in by_table.items():
            self._dispatchers[table].deliver(mine)

    def _find_work(self, run_id: int) -> Work | None:
        return self.pool.find(run_id)

    # --- end ------------------------------------------------------------------------------------

    def _die(self) -> None:
        """Declared dead: nothing of this Session may be written any more, so nothing may run."""
        self.pool.kill_all()
        for dispatcher in self._dispatchers.values():
            dispatcher.abandon()
        self._silence()
        self.pool.stop()
        self.spool.close()

    def _end(self) -> None:
        """Stop in order: nothing new; running handlers get `grace` seconds, a flag, an end."""
        with contextlib.suppress(Exception):
            servers.start_draining(self.db, self.session)
        self.scheduler.stop()
        self.chores.stop()
        self.rescuer.stop()
        for dispatcher in self._dispatchers.values():
            dispatcher.drain()
        if not self._wait(lambda: not self._running(), self.settings.grace):
            for dispatcher in self._dispatchers.values():
                dispatcher.interrupt()
            self._wait(lambda: not self._running(), _CANCEL_SECONDS)
        self.pool.interrupt_all()
        for dispatcher in self._dispatchers.values():
            dispatcher.stop(timeout=5.0)
        self.pool.stop()
        self._silence()
        if not any(d.held for d in self._dispatchers.values()):
            with contextlib.suppress(Exception):
                servers.close(self.db, self.session)
            with contextlib.suppress(Exception):
                rollups.count_ended(self.db)
            self.spool.close()

    def _running(self) -> int:
        return sum(dispatcher.running for dispatcher in self._dispatchers.values())

    def _wait(self, done: Callable[[], bool], seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while not done():
            if time.monotonic() > deadline or self.server.stop_now.is_set():
                return False
            if self.heart.dead.is_set():
                return False
            time.sleep(0.02)
        return True

    def _silence(self) -> None:
        self.scheduler.stop()
        self.chores.stop()
        self.rescuer.stop()
        self.wakeup.stop()
        self.scribe.stop()
        self.heart.stop()


def serve(settings: Settings, *, only_queues: frozenset[str] | None = None) -> None:
    """Run a Server in this process until SIGTERM or SIGINT; see `Server.serve`."""
    server = Server(settings, only_queues=only_queues)
    # The switch interval bounds how long a thread that computes keeps the one that could go on from
    # the interpreter: with the default 5 ms a claim waited that long behind a batch being judged.
    sys.setswitchinterval(0.001)
    with server.signals():
        server.serve()
