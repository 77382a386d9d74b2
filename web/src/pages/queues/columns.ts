import type { Queue } from "@/api/types";
import type { Column } from "@/ui/table";

export const columns: readonly Column<Queue>[] = [
  {
    key: "queue_name",
    label: "field.queue",
    value: (queue) => queue.queue_name,
    custom: true,
    sort: "queue_name",
  },
  { key: "status", label: "field.status", value: (queue) => queue.status, custom: true },
  { key: "running", label: "queues.busy", value: (queue) => queue.running, custom: true },
  { key: "waiting", label: "queues.waiting", kind: "count", value: (queue) => queue.waiting, sort: "waiting", to: (queue) => ({ path: "/tasks", query: { queue: queue.queue_name, status: "pending" } }) },
  { key: "oldest_wait", label: "queues.oldest", kind: "duration", value: (queue) => queue.oldest_wait || null, sort: "oldest_wait" },
  { key: "pace", label: "queues.pace", value: () => "", custom: true, minor: true },
  { key: "server_id", label: "queues.pin", value: (queue) => queue.server_id, minor: true },
  { key: "scan_interval", label: "queues.scan", kind: "duration", value: (queue) => queue.scan_interval, minor: true },
  { key: "problem", label: "queues.problem", value: (queue) => queue.problem, custom: true },
];
