import { isLost } from "@/app/badges";
import { describe, expect, it, vi } from "vitest";
import { changes } from "@/pages/admin/changes";
import { bytes, count, duration, pieces, relative, share } from "@/use/format";
import { guard, stringify } from "@/use/exact";
import { layOut } from "@/use/gantt";
import { concerns, paced } from "@/use/hints";
import { interval, unseen } from "@/use/live";
import { visible } from "@/use/log";
import { resolve } from "@/use/range";
import { fieldsOf, fromText, parseObject } from "@/use/schemaForm";
import { completed } from "@/use/shortcuts";
import { asSql } from "@/use/snippets";
import { fill } from "@/use/templates";
import { chosen } from "@/ui/table";
import { headline, ownLines } from "@/use/traceback";
import { parse, text, unparse, whole, words } from "@/use/urlState";
import { wholePage } from "@/use/whole";

describe("format", () => {
  it.each([
    [0, "0 B"],
    [null, "–"],
    [1023, "1023 B"],
    [24.1 * 1024 ** 2, "24.1 MiB"],
    [1024 ** 2 - 1, "1 MiB"],
    [1024 ** 3, "1 GiB"],
  ])("bytes %s", (value, wanted) => expect(bytes(value)).toBe(wanted));
  it.each([
    [0.85, "850 ms"],
    [12.4, "12.4 s"],
    [59.97, "1 min 00 s"],
    [185, "3 min 05 s"],
    [7500, "2 h 05 min"],
    [undefined, "–"],
  ])("duration %s", (value, wanted) => expect(duration(value)).toBe(wanted));
  it("counts and shares", () => {
    expect([count(12431), count(1_200_000, "en", true), share(0.8)]).toEqual(["12,431", "1.2M", "80.0 %"]);
    expect(relative("2026-01-01T00:00:00Z", Date.parse("2026-01-01T00:03:10Z"))).toBe("3 minutes ago");
  });
});

describe("columns", () => {
  const columns = ["a", "b", "c"].map((key) => ({ key, label: key, value: () => key }));
  it.each([
    [[], "abc"],
    [["c", "a"], "ac"],
    [["c", "gone"], "c"],
    [["gone"], "abc"],
  ])("%j shows %s", (keys, wanted) => expect(chosen(columns, keys).map((column) => column.key).join("")).toBe(wanted));
});

describe("names", () => {
  it.each([
    ["email_queue", ["email_", "queue"]],
    ["shop.send-mail", ["shop.", "send-", "mail"]],
    ["plain", ["plain"]],
    ["__init__", ["__", "init__"]],
    ["boom 1.5", ["boom 1.", "5"]],
  ])("%s goes on in the next line behind a separator", (name, wanted) => expect(pieces(name)).toEqual(wanted));
});

describe("the address", () => {
  const schema = { q: text(), status: words(), limit: whole(50, [20, 50]) };
  it("says no defaults, and keeps what is not its own", () => {
    const query = unparse(schema, { q: "", status: ["failed", "timeout"], limit: 50 }, { from: "now-1h", q: "x" });
    expect(query).toEqual({ status: "failed,timeout", from: "now-1h" });
    expect(parse(schema, query)).toEqual({ q: "", status: ["failed", "timeout"], limit: 50 });
  });
  it("reads only what it knows", () => expect(parse(schema, { limit: "7" }).limit).toBe(50));
  it("resolves ranges", () => {
    expect(resolve("now-1h", Date.parse("2026-01-01T01:00:00Z"))).toBe("2026-01-01T00:00:00.000Z");
    expect([resolve("now"), resolve("nonsense")]).toEqual([undefined, undefined]);
  });
});

describe("exact numbers", () => {
  it("keeps all digits of large integers and leaves the rest alone", () => {
    const json = '{"id":12345678901234567890,"f":0.1234567890123456,"t":"12345678901234567890"}';
    const value: unknown = JSON.parse(guard(json));
    expect(stringify(value, 0)).toBe(json);
  });
});

describe("a form from a schema", () => {
  const schema = {
    properties: { name: { type: "string" }, times: { anyOf: [{ type: "integer" }, { type: "null" }], default: 1 } },
    required: ["name"],
  };
  it("has its fields", () =>
    expect(fieldsOf(schema).map(({ name, control, required }) => [name, control, required])).toEqual([
      ["name", "text", true],
      ["times", "integer", false],
    ]));
  it("reads values", () => {
    expect([fromText("2", "integer"), fromText("", "integer"), fromText("true", "boolean")]).toEqual([2, undefined, true]);
    expect(() => fromText("1.5", "integer")).toThrow();
    expect([parseObject("{bad"), parseObject("[1]"), parseObject("")]).toEqual([null, null, {}]);
  });
});

describe("a traceback", () => {
  const trace = 'Traceback (most recent call last):\n  File "/app/shop.py", line 1, in f\n    raise X\n  File "/v/site-packages/q.py", line 2, in g\n    go()\nValueError: boom-3';
  it("has its headline last", () => {
    expect(headline(trace)).toEqual({ type: "ValueError", message: "boom-3" });
    expect(headline("Timed out after 1s.")).toEqual({ type: "", message: "Timed out after 1s." });
  });
  it("marks own frames", () => expect(ownLines(trace).map((line) => line.own)).toEqual([true, true, true, false, false, true]));
});

describe("the rest", () => {
  it("follows keys in a row", () => {
    const known = (keys: string) => ["g r", "r"].includes(keys);
    expect([completed("g", "r", known), completed("", "r", known), completed("", "g", known)]).toEqual(["g r", "r", null]);
  });
  it("polls as told", () => {
    expect([interval("list", "0"), interval("list", "10"), interval("detail", "30", { detail: 5 })]).toEqual([false, 10_000, 5_000]);
    expect(unseen([1, 2], [2, 3, 4], (id) => id)).toBe(2);
  });
  it("narrows a log", () =>
    expect(visible("INFO a\nERROR b\nERROR c\n", "ERROR", "b")).toEqual(["ERROR b"]));
  it("lays bars out", () => {
    const span = (id: string, from: number, to: number) => ({ id, lane: "a", from, to, status: "running", label: id });
    const [lane] = layOut([span("1", 0, 50), span("2", 25, 75), span("3", 50, 100)], 0, 100);
    expect([lane?.rows, lane?.bars.map((bar) => [bar.row, bar.x, bar.width])]).toEqual([2, [[0, 0, 50], [1, 25, 50], [0, 50, 50]]]);
  });
  it("fills templates and quotes SQL", () => {
    expect(fill("{{today}}", new Date("2026-01-02T03:00:00Z"))).toBe("2026-01-02");
    expect(asSql({ task_type: "o'x" } as never, "t")).toContain("'o''x'");
  });
  it("sorts a whole list", () =>
    expect(wholePage([{ n: "b" }, { n: "a10" }, { n: "a9" }], () => true, "n").data.map((row) => row.n)).toEqual(["a9", "a10", "b"]));
});

describe("hints", () => {
  it("concern what is listed or shown, and no figures over a range", () => {
    expect(concerns("run", ["runs", "list", {}])).toBe(true);
    expect(concerns("run", ["tasks", "list", {}])).toBe(false);
    expect(concerns("run", ["runs", "top-errors", {}])).toBe(false);
    expect(concerns("unheard-of", ["runs", "list"])).toBe(false);
  });
  it("come through once a second of each kind, the last one too", async () => {
    vi.useFakeTimers();
    const told: string[] = [];
    const tell = paced(async (kind) => void told.push(kind));
    for (const kind of ["run", "run", "task", "run"]) tell(kind);
    expect(told).toEqual(["run", "task"]);
    await vi.advanceTimersByTimeAsync(999);
    expect(told).toEqual(["run", "task"]);
    await vi.advanceTimersByTimeAsync(5_000);
    expect(told).toEqual(["run", "task", "run"]);
    vi.useRealTimers();
  });
});

describe("what was changed", () => {
  it("is told field by field, without what stayed", () =>
    expect(changes({ status: 1, role: "viewer", tenants: [] }, { status: 0, role: "viewer", tenants: ["a", "b"] })).toEqual([
      { field: "status", before: "1", after: "0" },
      { field: "tenants", before: "–", after: "a, b" },
    ]));
  it("has one side where something was made or deleted", () => {
    expect(changes(null, { name: "x" })).toEqual([{ field: "name", before: "–", after: "x" }]);
    expect(changes({ name: "x" }, null)).toEqual([{ field: "name", before: "x", after: "–" }]);
  });
});

describe("a server", () => {
  const server = { state: "dead", lease_left: -60, beat_age: 90 } as const;
  it("is lost when it died with a lease, not when it stopped", () => {
    expect(isLost(server)).toBe(true);
    expect(isLost({ ...server, beat_age: 60 })).toBe(false);
    expect([isLost({ ...server, state: "late" }), isLost({ ...server, state: "live" })]).toEqual([true, false]);
  });
});
