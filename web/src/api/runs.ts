import { client, take } from "./client";
import { prefix } from "@/use/prefix";
import type { operations } from "./schema";

/** Runs: the one history. Reading only. */

export type RunsQuery = NonNullable<operations["list_runs"]["parameters"]["query"]>;

const id = (run: number | string) => ({ params: { path: { run_id: Number(run) } } });

export const listRuns = (query: RunsQuery, signal?: AbortSignal) =>
  take(client.GET("/api/v1/runs", { params: { query }, signal }));

export const errorGroups = (query: RunsQuery, signal?: AbortSignal) =>
  take(client.GET("/api/v1/runs/errors", { params: { query: query as never }, signal }));

export const showRun = (run: string) => take(client.GET("/api/v1/runs/{run_id}", id(run)));

export const neighbours = (run: string) =>
  take(client.GET("/api/v1/runs/{run_id}/neighbours", id(run)));

export const readLog = (run: string, after: number) =>
  take(
    client.GET("/api/v1/runs/{run_id}/logs", {
      params: { path: { run_id: Number(run) }, query: { after } },
    }),
  );

/** The address of a file with all runs of a filter. */
export function exportAddress(query: Record<string, string>, format: "csv" | "json"): string {
  return `${prefix}/api/v1/runs/export?${new URLSearchParams({ ...query, format }).toString()}`;
}
