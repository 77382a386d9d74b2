import { describe, expect, it } from "vitest";
import { fieldNamed, readPart, saidOf, split, withPart, writePart, type FieldName } from "@/use/cron";

const there = (name: FieldName, text: string, dialect = "unix") =>
  writePart(name, readPart(name, text, dialect), dialect);

describe("a cron text as a form", () => {
  it.each([
    ["minute", "*", "every", "*"],
    ["minute", "*/5", "step", "*/5"],
    ["minute", "10-59/5", "step", "10-59/5"],
    ["hour", "9-17", "range", "9-17"],
    ["hour", "12,8", "list", "8,12"],
    ["weekday", "MON-FRI", "range", "1-5"],
    ["weekday", "7", "list", "0"],
    ["month", "jan,JUL", "list", "1,7"],
    ["hour", "1-5,7", "other", "1-5,7"],
    ["hour", "10-12/2", "other", "10-12/2"],
    ["minute", "61", "other", "61"],
  ] as const)("%s %s is %s", (name, text, mode, back) => {
    expect(readPart(name, text, "unix").mode).toBe(mode);
    expect(there(name, text)).toBe(back);
  });
  it("leaves what only quartz knows as it is", () => {
    expect([there("day", "L-3", "quartz"), there("weekday", "FRI#2", "quartz"), there("day", "?", "quartz")]).toEqual(["L-3", "FRI#2", "?"]);
    expect(there("weekday", "MON-FRI", "quartz")).toBe("2-6");
    expect(readPart("day", "?", "unix").mode).toBe("other");
  });
  it("knows the fields of a dialect, and short words", () => {
    expect([...split("0 2 * * *", "unix")!.keys()]).toEqual(["minute", "hour", "day", "month", "weekday"]);
    expect([...split("0 0 2 * * ? 2030", "quartz")!.keys()].at(-1)).toBe("year");
    expect(split("@daily", "unix")?.get("hour")).toBe("0");
    expect([split("0 2 * *", "unix"), split("0 2 * * *", "quartz")]).toEqual([null, null]);
  });
  it("changes one field and leaves the others", () => {
    expect(withPart("61 2 * * MON", "unix", "minute", "5")).toBe("5 2 * * MON");
    expect(withPart("", "unix", "hour", "9-17")).toBe("0 9-17 * * *");
    expect(withPart("nonsense", "unix", "hour", "3")).toBe("nonsense");
  });
  it("names one kind of day in quartz", () => {
    expect(withPart("0 0 2 * * ?", "quartz", "weekday", "2-6")).toBe("0 0 2 ? * 2-6");
    expect(withPart("0 0 2 ? * 2-6", "quartz", "day", "1")).toBe("0 0 2 1 * ?");
    expect(withPart("0 0 2 ? * 2-6", "quartz", "weekday", "?")).toBe("0 0 2 * * ?");
  });
  it("says months and days in words, and knows the server's names", () => {
    expect([saidOf("weekday", 0, "unix", "en"), saidOf("weekday", 1, "quartz", "en"), saidOf("month", 12, "unix", "en")]).toEqual(["Sun", "Sun", "Dec"]);
    expect([fieldNamed("day of week"), fieldNamed("minute"), fieldNamed("time_zone")]).toEqual(["weekday", "minute", undefined]);
  });
});
