import { client, take } from "./client";
import type { operations } from "./schema";

export type SuggestField = operations["suggest"]["parameters"]["query"]["field"];

/** Words for a filter that begin as typed. */
export async function suggest(field: SuggestField, prefix: string): Promise<string[]> {
  const query = { field, prefix };
  return (await take(client.GET("/api/v1/suggest", { params: { query } }))).data;
}

/** The same, for a field in a filter bar. */
export function suggestions(field: SuggestField) {
  return async (prefix: string) =>
    (await suggest(field, prefix)).map((word) => ({ value: word, label: word }));
}
