import { describe, expect, it } from "vitest";
import { cellsOf, daysOf, sinceFirst, spanOf } from "@/use/heat";

const hour = (at: string, runs: number, failed = 0, planned = true) => ({ hour: at, runs, failed, planned });
const NOW = Date.parse("2026-11-23T00:00:00+08:00");

describe("a calendar of hours", () => {
  it("has every day", () =>
    expect(daysOf("2026-10-31T00:00:00+08:00", "2026-11-02T09:00:00+08:00")).toEqual(["2026-10-31", "2026-11-01", "2026-11-02"]));
  it("is as large as it ran often, and as hot as it failed", () => {
    const [many, some, few] = cellsOf([hour("2026-11-22T02:00:00+08:00", 400, 400), hour("2026-11-22T03:00:00+08:00", 100, 1), hour("2026-11-22T04:00:00+08:00", 1)], NOW);
    expect([many, some, few].map((cell) => [cell?.at, cell?.size, cell?.heat])).toEqual([[2, 1, 4], [3, 0.5, 1], [4, 0.25, 0]]);
  });
  it("shows what never came, once its hour is over", () => {
    const cells = cellsOf([hour("2026-11-22T22:00:00+08:00", 0), hour("2026-11-23T00:00:00+08:00", 0)], NOW);
    expect(cells.map(({ missed }) => missed)).toEqual([true, false]);
  });
  it("takes an hour that comes twice as one", () => {
    const cells = cellsOf([hour("2026-10-25T02:00:00+02:00", 1), hour("2026-10-25T02:00:00+01:00", 2, 1)], NOW);
    expect(cells.map(({ runs, failed }) => [runs, failed])).toEqual([[3, 1]]);
  });
  it("begins where something is", () => {
    const days = ["2026-11-18", "2026-11-19", "2026-11-20", "2026-11-21", "2026-11-22"];
    const cells = cellsOf([hour("2026-11-22T02:00:00+08:00", 1)], NOW);
    expect([sinceFirst(days, cells, 2), sinceFirst(days, [], 1), sinceFirst(days, cells, 9)]).toEqual([days.slice(3), days.slice(4), days]);
  });
  it("leads to its runs", () =>
    expect(spanOf("2026-11-22T02:00:00+08:00")).toEqual({ from: "2026-11-21T18:00:00.000Z", to: "2026-11-21T19:00:00.000Z" }));
});
