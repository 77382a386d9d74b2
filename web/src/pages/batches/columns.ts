import type { Batch, Item } from "@/api/types";
import { stringify } from "@/use/exact";
import type { Column } from "@/ui/table";

/** Batches and their items as tables, and what is said of how far one is. */

/** Whether its numbers still change by themselves. */
export const isMoving = (batch: Batch) => batch.status === "running" || batch.status === "pending";

/** Milliseconds between two looks at one that runs. */
export const RUNNING_EVERY = 2_000;

export const columns: readonly Column<Batch>[] = [
  { key: "status", label: "field.status", kind: "status", value: (batch) => batch.status },
  { key: "name", label: "batches.name", value: (batch) => batch.name, custom: true },
  { key: "progress", label: "batches.progress", value: (batch) => batch.processed_count, custom: true },
  { key: "rate", label: "batches.rate", value: (batch) => batch.rate, custom: true },
  { key: "eta", label: "batches.eta", kind: "duration", value: (batch) => batch.eta },
  { key: "created_by", label: "batches.creator", value: (batch) => batch.created_by, minor: true },
  { key: "tenant_id", label: "field.tenant", value: (batch) => batch.tenant_id, minor: true },
  { key: "started_at", label: "field.started", kind: "time", value: (batch) => batch.started_at },
];

export const itemColumns: readonly Column<Item>[] = [
  {
    key: "item_id",
    label: "batches.item",
    value: (item) => item.item_id,
    to: (item) => (item.run_id === null ? undefined : { name: "run", params: { id: String(item.run_id) } }),
  },
  { key: "status", label: "field.status", kind: "status", value: (item) => item.status },
  { key: "result", label: "batches.result", kind: "code", value: (item) => shownResult(item) },
  { key: "error", label: "field.error", value: (item) => item.error?.trim().split("\n").at(-1) },
  { key: "duration", label: "field.took", kind: "duration", value: (item) => item.duration },
  { key: "attempts", label: "batches.attempts", kind: "count", value: (item) => item.attempts },
];

function shownResult(item: Item): string | null {
  return item.result === null || item.result === undefined ? null : stringify(item.result, 0);
}
