import { describe, expect, it } from "vitest";
import type { Batch, BatchTemplate, Item } from "../src/api/types";
import { chosenFor } from "../src/pages/batches/chosen";
import { changesTo, EMPTY, fieldsOf, templateFields, valuesOf, variablesIn, withTemplate } from "../src/pages/batches/model";

const TEMPLATE = {
  id: 7,
  task_type: "check",
  fields: {
    name: "check {{region}} {{today}}",
    params: { factor: "{{factor}}" },
    concurrency: "{{many}}",
    pause: "2s",
    rate_limit: 5,
    notify: { channels: ["ops"], to: ["ada@example.org"] },
  },
  variables: { region: "eu", factor: null, many: 3 },
} as unknown as BatchTemplate;

describe("a batch from a template", () => {
  const form = withTemplate({ ...EMPTY, items: "1" }, TEMPLATE);

  it("says nothing that the template says already", () => {
    expect(form.items).toBe("1");
    expect(changesTo(form, TEMPLATE)).toEqual({});
  });
  it("says what was changed, and null for what was cleared", () => {
    const changed = { ...form, name: "today", pause: "", params: "{}", notify: " ", max_retries: "2", concurrency: "4" };
    expect(changesTo(changed, TEMPLATE)).toEqual({
      name: "today",
      pause: null,
      params: null,
      notify: null,
      max_retries: 2,
      concurrency: 4,
    });
  });
  it("has the variables of its texts, the clock's left out", () => {
    expect(variablesIn(form)).toEqual(["region", "factor", "many"]);
    expect(variablesIn(EMPTY)).toEqual([]);
  });
  it("keeps variables as texts, and fields that the form does not show", () => {
    expect(fieldsOf(form).concurrency).toBe("{{many}}");
    expect(templateFields(form, TEMPLATE)).toMatchObject({ rate_limit: 5, pause: "2s", notify: ["ops", "ada@example.org"] });
    expect(templateFields({ ...form, pause: "" }, TEMPLATE)).not.toHaveProperty("pause");
  });
  it("reads what is typed for variables", () => {
    const typed = { a: "3", b: " eu ", c: "", d: "true", e: "007", f: "1.5", g: "12345678901234567890" };
    expect(valuesOf(Object.keys(typed), typed)).toEqual({ a: 3, b: "eu", c: null, d: true, e: "007", f: 1.5, g: "12345678901234567890" });
    expect(valuesOf(["never"], typed)).toEqual({ never: null });
  });
});

describe("selected items", () => {
  const statuses = { a: "failed", b: "pending", c: "completed", d: "skipped", e: "running", f: "failed" };
  const items = Object.entries(statuses).map(([item_id, status]) => ({ item_id, status }) as Item);
  const running = { status: "running" } as Batch;

  it("are retried where they failed or were skipped, and skipped where they wait", () => {
    expect(chosenFor(running, items, new Set("abcde"))).toEqual([
      { verb: "retry", ids: ["a", "d"] },
      { verb: "skip", ids: ["b"] },
    ]);
  });
  it("leave out what fits none of them", () => {
    expect(chosenFor(running, items, new Set("bc"))).toEqual([{ verb: "skip", ids: ["b"] }]);
    expect(chosenFor(running, items, new Set("ce"))).toEqual([]);
  });
  it("are only skipped in a batch that has not begun", () => {
    const waiting = { status: "pending" } as Batch;
    expect(chosenFor(waiting, items, new Set("abd"))).toEqual([{ verb: "skip", ids: ["b"] }]);
  });
});
