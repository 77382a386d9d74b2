import { describe, expect, it } from "vitest";
import { readItems } from "../src/use/items";

describe("items of a batch", () => {
  it("are ids with anything between them, each once", () => {
    expect(readItems("ids", "7, 8\n8;09 a", true)).toEqual({ items: [7, 8, 9, "a"], twice: 1, wrong: 0 });
    expect(readItems("ids", "7 8", false).items).toEqual(["7", "8"]);
  });
  it("are rows of CSV, with quotes", () => {
    const { items, twice } = readItems("csv", 'name,item_id\r\n"Ada, ""A""",7\r\nBob,8\nBob,8\n', true);
    expect(items).toEqual([
      { item_id: "7", data: { name: 'Ada, "A"', item_id: "7" } },
      { item_id: "8", data: { name: "Bob", item_id: "8" } },
    ]);
    expect(twice).toBe(1);
    expect(readItems("csv", "id\n7\n8", true).items).toEqual([7, 8]);
  });
  it("name the first row that cannot be read", () => {
    expect(readItems("csv", "a,b\n1,2\n1", false).wrong).toBe(2);
    expect(readItems("jsonl", '7\n{"item_id": 8}\n{"id": 9}', false)).toEqual({ items: [7, { item_id: 8 }], twice: 0, wrong: 3 });
  });
});
