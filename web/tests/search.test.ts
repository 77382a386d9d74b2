import { describe, expect, it } from "vitest";
import { FILTERS, toQuery, type RunFilters } from "@/pages/runs/filters";
import { ending, readSearch, writeSearch } from "@/use/search";
import { parse } from "@/use/urlState";

const NOTHING = parse(FILTERS, {});
const read = (text: string) => readSearch(text, NOTHING);

describe("a search", () => {
  it("asks for the filters", () => {
    const text = 'status:failed,timeout queue:mail params.user.id:42 error:"timed out" took:>5s took:<1m no answer';
    const asked = {
      status: ["failed", "timeout"],
      queue: "mail",
      error: "timed out",
      min_duration: "5s",
      max_duration: "1m",
      q: "no answer",
    };
    const { changes, trouble } = read(text);
    expect(trouble).toBeUndefined();
    expect(changes).toEqual({ ...NOTHING, ...asked, params: "user.id:42" });
    expect(toQuery(changes as RunFilters)).toEqual({ ...asked, "params.user.id": "42" });
  });
  it("takes away what it does not hold", () => expect(read("").changes).toEqual(NOTHING));
  it("collects a key that takes several", () => {
    expect(read("status:failed status:lost").changes.status).toEqual(["failed", "lost"]);
  });
  it.each([
    ["colour:red", { kind: "unknown", word: "colour" }],
    ["min_duration:5", { kind: "unknown", word: "min_duration" }],
    ["queue:a queue:b", { kind: "twice", word: "queue" }],
    ["took:5s", { kind: "took", word: "took" }],
  ])("refuses %s", (text, trouble) => expect(read(text).trouble).toEqual(trouble));
});

it.each([
  {},
  { q: "no answer" },
  { q: 'two  spaces, a "quote", C:\\dir and status:failed' },
  { q: "a\\b" },
  { error: 'KeyError: "x"', tenant_id: "acme" },
  { status: ["failed", "lost"], min_duration: "5s", max_duration: "60" },
  { params: 'user.id:42 user.name:"A \\"B\\" C"', task: "mail/7" },
])("what is written is read the same: %j", (filters) => {
  const state = { ...NOTHING, ...filters };
  expect(read(writeSearch(state))).toEqual({ changes: state });
});

it.each([
  ["", { head: "", key: "", begun: "" }],
  ["queue:mail sta", { head: "queue:mail ", key: "", begun: "sta" }],
  ["x queue:ma", { head: "x queue:", key: "queue", begun: "ma" }],
  ["status:failed,ti", { head: "status:failed,", key: "status", begun: "ti" }],
])("is completed at its end: %j", (text, at) => expect(ending(text)).toEqual(at));
