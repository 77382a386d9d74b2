/** Items of a batch from text: pasted ids, CSV with a header, or one JSON value a line. */

export type ItemForm = "ids" | "csv" | "jsonl";
export const ITEM_FORMS: readonly ItemForm[] = ["ids", "csv", "jsonl"];

export type GivenItem = string | number | { item_id: string | number; data?: unknown };

export interface ReadItems {
  items: GivenItem[];
  /** Left out, because their id was there before. */
  twice: number;
  /** The first line that cannot be read; 0 where all can. */
  wrong: number;
}

/** Read them all, each id once. */
export function readItems(form: ItemForm, text: string, numbers: boolean): ReadItems {
  const value = (word: string) => (numbers && /^-?\d{1,15}$/.test(word) ? Number(word) : word);
  const read: (GivenItem | undefined)[] =
    form === "ids"
      ? text.split(/[\s,;]+/).filter(Boolean).map(value)
      : form === "csv"
        ? fromCsv(text, value)
        : lines(text).map(fromJson);
  const wrong = read.indexOf(undefined) + 1;
  const found = new Map<string, GivenItem>();
  const known = read.filter((item) => item !== undefined);
  for (const item of known) {
    const key = String(typeof item === "object" ? item.item_id : item);
    if (!found.has(key)) found.set(key, item);
  }
  return { items: [...found.values()], twice: known.length - found.size, wrong };
}

const lines = (text: string) => text.split(/\r?\n/).filter((line) => line.trim() !== "");

function fromJson(line: string): GivenItem | undefined {
  try {
    const value: unknown = JSON.parse(line);
    if (typeof value === "string" || typeof value === "number") return value;
    const id = (value as { item_id?: unknown } | null)?.item_id;
    const isKnown = typeof id === "string" || typeof id === "number";
    return isKnown ? (value as GivenItem) : undefined;
  } catch {
    return undefined;
  }
}

/** As at the command line: `item_id`, or the first column, is the id; a row of several is the data. */
function fromCsv(text: string, value: (word: string) => string | number): (GivenItem | undefined)[] {
  const [names, ...rows] = cells(text);
  if (!names) return [];
  const place = Math.max(0, names.indexOf("item_id"));
  return rows.map((row) => {
    if (row.length !== names.length || !row[place]) return undefined;
    if (names.length === 1) return value(row[0]!);
    return { item_id: row[place], data: Object.fromEntries(names.map((name, at) => [name, row[at]])) };
  });
}

/** The cells of CSV, with quotes and what is in them; empty lines are none. */
function cells(text: string): string[][] {
  const rows: string[][] = [[]];
  for (const [, quoted, plain, end] of text.matchAll(/(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r?\n|$)/g)) {
    rows.at(-1)!.push(quoted === undefined ? (plain ?? "").trim() : quoted.replaceAll('""', '"'));
    if (end !== ",") rows.push([]);
  }
  return rows.filter((row) => row.some((cell) => cell !== ""));
}
