import { suggestions } from "@/api/suggest";
import type { Task } from "@/api/types";
import type { Column, FilterField } from "@/ui/table";
import { instant } from "@/use/format";
import { text, words } from "@/use/urlState";

/** Tasks as rows: their shown status, columns and filters. */

/** What a task is waiting for decides what a pending one is called. */
export function shownStatus(task: Pick<Task, "status" | "hold" | "schedule_time" | "retry_count">, now = Date.now()): string {
  if (task.status !== "pending") return task.status;
  if (task.hold) return "blocked";
  if ((instant(task.schedule_time) ?? 0) > now) return task.retry_count ? "retrying" : "scheduled";
  return "queued";
}

export const ref = (task: Task) => ({ name: "task", params: { queue: task.queue, id: String(task.id) } });

export const FILTERS = {
  q: text(),
  task_type: text(),
  queue: text(),
  status: words(),
  server_id: text(),
  unique_key: text(),
};

export const columns: readonly Column<Task>[] = [
  { key: "status", label: "field.status", kind: "status", value: (task) => shownStatus(task) },
  { key: "task_type", label: "field.taskType", value: (task) => task.task_type, to: ref },
  { key: "ref", label: "field.task", value: (task) => task.ref },
  { key: "priority", label: "field.priority", kind: "count", value: (task) => task.priority, minor: true },
  { key: "schedule_time", label: "field.due", kind: "time", value: (task) => task.schedule_time, sort: "schedule_time" },
  {
    key: "attempts",
    label: "field.retries",
    value: (task) => `${task.retry_count ?? 0}/${task.max_retries ?? 0}`,
    minor: true,
  },
  { key: "server_id", label: "field.server", value: (task) => task.server_id, minor: true },
  { key: "tenant_id", label: "field.tenant", value: (task) => task.tenant_id, minor: true },
  { key: "created_at", label: "field.created", kind: "time", value: (task) => task.created_at, minor: true },
];

export function fields(statuses: readonly string[], say: (key: string) => string): FilterField[] {
  const options = statuses.map((value) => ({ value, label: say(`status.${value}`) }));
  return [
    { name: "q", label: "filters.search", kind: "search", placeholder: "tasks.search" },
    { name: "task_type", label: "field.taskType", kind: "choice", suggest: suggestions("task_type") },
    { name: "queue", label: "field.queue", kind: "choice", suggest: suggestions("queue") },
    { name: "status", label: "field.status", kind: "several", options },
    { name: "server_id", label: "field.server", kind: "choice", suggest: suggestions("server_id") },
    { name: "unique_key", label: "field.uniqueKey", kind: "text" },
  ];
}
