import { prefix } from "./prefix";

/**
 * Hints: what the server says has changed, so that it is asked for sooner than by the next poll.
 * Only a tab that is seen listens, and one of them holds the stream for all (browsers allow few
 * connections to a host). Without a stream everything goes on by polling, and nobody is told.
 */

const NAME = `taskyard-hints${prefix}`;
/** Milliseconds after which a refused stream is tried again. */
const AGAIN = 30_000;
/** At most one refetch in so many milliseconds for each kind of thing. */
const EVERY = 1_000;

const HEADS: Record<string, readonly string[]> = {
  run: ["runs"],
  task: ["tasks"],
  schedule: ["schedules"],
  batch: ["batches"],
  incident: ["alerts", "incidents"],
  queue: ["queues"],
  server: ["servers"],
};
/** Figures over a whole range are left to polling: a busy server would count them every second. */
const SOON = ["list", "one", "of-task", "all"];

/** Whether a hint of a kind says that what has this key should be asked for again. */
export function concerns(kind: string, key: readonly unknown[]): boolean {
  return (HEADS[kind] ?? []).includes(String(key[0])) && SOON.includes(String(key[1]));
}

/** Calls `act` at most once in `every` for a kind, and not again before it is done; what came meanwhile counts. */
export function paced(act: (kind: string) => Promise<unknown>, every = EVERY) {
  const resting = new Set<string>();
  const again = new Set<string>();
  return function tell(kind: string): void {
    if (resting.has(kind)) {
      again.add(kind);
      return;
    }
    resting.add(kind);
    const pause = new Promise((done) => setTimeout(done, every));
    void Promise.allSettled([act(kind), pause]).then(() => {
      resting.delete(kind);
      if (again.delete(kind)) tell(kind);
    });
  };
}

/** Tell the kind of each hint while this tab is seen; gives back how to stop. */
export function listen(tell: (kind: string) => void): () => void {
  const channel = new BroadcastChannel(NAME);
  channel.onmessage = ({ data }) => document.visibilityState === "visible" && tell(String(data));
  let turn = new AbortController();
  function heard(kind: string): void {
    channel.postMessage(kind);
    tell(kind);
  }
  function look(): void {
    turn.abort();
    turn = new AbortController();
    if (document.visibilityState === "visible") hold(heard, turn.signal);
  }
  document.addEventListener("visibilitychange", look);
  look();
  return () => {
    document.removeEventListener("visibilitychange", look);
    turn.abort();
    channel.close();
  };
}

/** Hold the stream once no other tab does. */
function hold(heard: (kind: string) => void, signal: AbortSignal): void {
  // Browsers have locks on https and localhost alone; elsewhere each tab that is seen has its own stream.
  if (!("locks" in navigator)) return void stream(heard, signal);
  navigator.locks.request(NAME, { signal }, () => stream(heard, signal)).catch((reason: unknown) => {
    if (!signal.aborted) throw reason;
  });
}

/** Listen until the signal. A browser itself comes back to a stream that broke off, not to a refused one. */
function stream(heard: (kind: string) => void, signal: AbortSignal): Promise<void> {
  return new Promise((done) => {
    let source: EventSource;
    let timer: ReturnType<typeof setTimeout> | undefined;
    function open(): void {
      source = new EventSource(`${prefix}/api/v1/events`);
      source.onmessage = ({ data }) => heard((JSON.parse(String(data)) as { kind: string }).kind);
      source.onerror = () => {
        if (source.readyState === EventSource.CLOSED) timer = setTimeout(open, AGAIN);
      };
    }
    open();
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      source.close();
      done();
    });
  });
}
