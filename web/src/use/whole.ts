/** A list that came whole, narrowed and sorted here, in the form of a page. */
export function wholePage<Row extends object>(
  rows: readonly Row[],
  matches: (row: Row) => boolean,
  sort = "",
) {
  const word = sort.replace(/^-/, "");
  const sign = sort.startsWith("-") ? -1 : 1;
  const value = (row: Row) => (row as Record<string, unknown>)[word];
  const data = rows.filter(matches);
  if (word) data.sort((a, b) => sign * compare(value(a), value(b)));
  return { data, next_cursor: null, total: data.length, total_is_capped: false };
}

function compare(a: unknown, b: unknown): number {
  if (typeof a === "number" && typeof b === "number") return a - b;
  return String(a ?? "").localeCompare(String(b ?? ""), undefined, { numeric: true });
}

/** Whether one of the texts holds the words, whatever their case. */
export function holds(words: string, ...texts: (string | null | undefined)[]): boolean {
  const wanted = words.toLowerCase();
  return texts.some((text) => (text ?? "").toLowerCase().includes(wanted));
}
