import type { Run } from "@/api/types";
import type { Column } from "@/ui/table";

const task = (run: Run) =>
  run.task_id !== null && run.queue ? { name: "task", params: { queue: run.queue, id: String(run.task_id) } } : undefined;

export const columns: readonly Column<Run>[] = [
  { key: "status", label: "field.status", kind: "status", value: (run) => run.status },
  {
    key: "task_type",
    label: "field.taskType",
    value: (run) => run.task_type,
    to: (run) => ({ name: "run", params: { id: String(run.id) } }),
  },
  { key: "queue", label: "field.queue", value: (run) => run.queue },
  { key: "started_at", label: "field.started", kind: "time", value: (run) => run.started_at, sort: "started_at" },
  {
    key: "execution_time",
    label: "field.took",
    kind: "duration",
    value: (run) => run.execution_time,
    sort: "execution_time",
    bar: true,
  },
  {
    key: "memory_usage",
    label: "field.memory",
    kind: "bytes",
    value: (run) => run.memory_usage,
    sort: "memory_usage",
    minor: true,
  },
  { key: "server_id", label: "field.server", value: (run) => run.server_id, minor: true },
  { key: "attempt", label: "field.attempt", kind: "count", value: (run) => run.attempt, minor: true },
  { key: "tenant_id", label: "field.tenant", value: (run) => run.tenant_id, minor: true },
  {
    key: "error",
    label: "field.error",
    value: (run) => run.error?.trim().split("\n").at(-1) ?? null,
    minor: true,
  },
  { key: "task", label: "field.task", value: (run) => run.task_id, to: task, minor: true },
];
