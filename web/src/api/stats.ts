import { client, take } from "./client";
import type { operations } from "./schema";

/** Statistics from the roll-ups. */

export type SeriesQuery = operations["show_series"]["parameters"]["query"];
export type TopQuery = NonNullable<operations["show_top"]["parameters"]["query"]>;
type SummaryQuery = NonNullable<operations["show_summary"]["parameters"]["query"]>;

export const summary = (query: SummaryQuery) =>
  take(client.GET("/api/v1/stats/summary", { params: { query } }));

export const series = (query: SeriesQuery) =>
  take(client.GET("/api/v1/stats/series", { params: { query } }));

export const top = (query: TopQuery) => take(client.GET("/api/v1/stats/top", { params: { query } }));
