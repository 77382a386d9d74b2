import { describe, expect, it } from "vitest";
import { groupOf, keptOf, originOf, sumOf, valueOf } from "../src/pages/settings/model";

/** The page of settings: where each stands, and how it is said. */

const words = { on: "On", off: "Off" };
const say = (name: string, value: unknown) => valueOf({ name, value, source: "default" }, "en", words);

describe("a setting", () => {
  it("has its part of the page", () => {
    expect(["lease", "retention.runs_max_rows", "prune_at", "smtp_host", "tls_cert", "open_docs"].map(groupOf)).toEqual([
      "general", "retention", "retention", "mail", "security", "security",
    ]);
  });
  it("says where it came from", () => {
    expect(originOf("default")).toEqual({ origin: "default", name: "" });
    expect(originOf("environment TASKYARD_LEASE")).toEqual({ origin: "environment", name: "TASKYARD_LEASE" });
    expect(originOf("/srv/taskyard.toml")).toEqual({ origin: "file", name: "/srv/taskyard.toml" });
  });
  it("is said as people read it", () => {
    expect(say("lease", 30)).toBe("30 s");
    expect(say("retention.runs_max_age", 7_776_000)).toBe("90 d 0 h");
    expect(say("max_body", 16_777_216)).toBe("16 MiB");
    expect(say("port", 9999)).toBe("9999");
    expect(say("retention.runs_max_rows", 100_000)).toBe("100,000");
    expect(say("open_docs", false)).toBe("Off");
    expect(say("allowed_hosts", [])).toBe("–");
    expect(say("allowed_hosts", ["a", "b"])).toBe("a, b");
  });
});

it("keeps runs by task type, all others first", () => {
  const settings = [
    { name: "retention.runs_max_rows", value: 0, source: "default" },
    { name: "retention.task_types", value: { "a.b": { runs_max_rows: 5, runs_max_age: null } }, source: "default" },
  ];
  expect(keptOf(settings)).toEqual([
    { taskType: "", rows: null, age: null },
    { taskType: "a.b", rows: 5, age: null },
  ]);
});

it("sums what a clean-up removes", () => {
  expect(sumOf({ runs: 12, log_chunks: 3, tasks: { a: 1, b: 2 } })).toEqual({ runs: 12, logs: 3, tasks: 3 });
});
