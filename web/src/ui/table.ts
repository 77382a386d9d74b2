import type { RouteLocationRaw } from "vue-router";

/** A list as data: its columns and its filters. */

export type Kind = "text" | "status" | "time" | "duration" | "bytes" | "count" | "share" | "code";

export interface Column<Row> {
  key: string;
  /** The key of its name in the catalogue. */
  label: string;
  kind?: Kind;
  value(row: Row): string | number | boolean | null | undefined;
  /** Where a click on it leads. */
  to?(row: Row): RouteLocationRaw | undefined;
  /** The word to sort by; without one it cannot be sorted. */
  sort?: string;
  /** Left out where there is little room. */
  minor?: boolean;
  /** Drawn with a bar, relative to the largest of the page. */
  bar?: boolean;
  /** Its own drawing, in the slot `cell-KEY`. */
  custom?: boolean;
}

export interface Option {
  value: string;
  label: string;
}

export interface FilterField {
  name: string;
  label: string;
  /** A `search` holds all filters in one text, by the grammar of `use/search`. */
  kind: "text" | "choice" | "several" | "search";
  options?: readonly Option[];
  /** Words that begin as typed, from the server. */
  suggest?(prefix: string): Promise<readonly Option[]>;
  placeholder?: string;
}

export interface PageOf<Row> {
  data: Row[];
  next_cursor?: string | null;
  total: number;
  total_is_capped: boolean;
}

/** The columns that were named, in their own order; all of them where none is known. */
export function chosen<Row>(columns: readonly Column<Row>[], keys: readonly string[]): readonly Column<Row>[] {
  const known = columns.filter((column) => keys.includes(column.key));
  return known.length ? known : columns;
}

/** The other way round, or first the smallest. */
export function flipped(sort: string, word: string): string {
  return sort === word ? `-${word}` : word;
}

export function direction(sort: string, word: string | undefined) {
  if (word === undefined) return undefined;
  if (sort === word) return "ascending";
  return sort === `-${word}` ? "descending" : "none";
}
