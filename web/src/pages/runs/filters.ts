import { suggestions } from "@/api/suggest";
import type { RunsQuery } from "@/api/runs";
import type { FilterField } from "@/ui/table";
import { paths } from "@/use/search";
import { text, words, type State } from "@/use/urlState";

/** What runs can be found by, as it stands in the address. */
export const FILTERS = {
  q: text(),
  task_type: text(),
  queue: text(),
  status: words(),
  server_id: text(),
  min_duration: text(),
  max_duration: text(),
  error: text(),
  origin: text(),
  task: text(),
  schedule_id: text(),
  batch_id: text(),
  tenant_id: text(),
  /** Paths and values as `paths` reads them. */
  params: text(),
};

export type RunFilters = State<typeof FILTERS>;

/** The filters as the API takes them; what is empty is left out. */
export function toQuery({ params, ...filters }: RunFilters): RunsQuery {
  const given = Object.entries(filters).filter(([, value]) => String(value).length > 0);
  const among = paths(params).map(([path, value]) => [`params.${path}`, value]);
  return Object.fromEntries([...given, ...among]) as RunsQuery;
}

export function fields(statuses: readonly string[], origins: readonly string[], say: (key: string) => string): FilterField[] {
  const named = (names: readonly string[], head: string) =>
    names.map((value) => ({ value, label: say(`${head}.${value}`) }));
  return [
    { name: "q", label: "filters.search", kind: "search", placeholder: "runs.search" },
    { name: "task_type", label: "field.taskType", kind: "choice", suggest: suggestions("task_type") },
    { name: "queue", label: "field.queue", kind: "choice", suggest: suggestions("queue") },
    { name: "status", label: "field.status", kind: "several", options: named(statuses, "status") },
    { name: "server_id", label: "field.server", kind: "choice", suggest: suggestions("server_id") },
    { name: "min_duration", label: "runs.minDuration", kind: "text", placeholder: "runs.minDurationHint" },
    { name: "error", label: "runs.errorText", kind: "text" },
    { name: "origin", label: "field.origin", kind: "choice", options: named(origins, "origin") },
  ];
}
