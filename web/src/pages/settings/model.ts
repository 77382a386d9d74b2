import type { Prune, Setting } from "@/api/types";
import { bytes, count, duration, NOTHING } from "@/use/format";

/** Which setting stands where, and how its value is said. */

export const GROUPS = ["general", "retention", "mail", "security"] as const;
export type Group = (typeof GROUPS)[number];

const SECURITY = ["host", "port", "tls_", "behind_proxy", "allowed_hosts", "max_body", "open_", "advanced_permissions"];
const MAIL = ["smtp_", "public_url", "alert_hosts"];
const RETENTION = ["retention.", "prune_at"];

/** The part of the page that a setting belongs to. */
export function groupOf(name: string): Group {
  const begins = (heads: readonly string[]) => heads.some((head) => name.startsWith(head));
  if (begins(RETENTION)) return "retention";
  if (begins(MAIL)) return "mail";
  return begins(SECURITY) ? "security" : "general";
}

export type Origin = "default" | "argument" | "environment" | "file";

/** Where a value came from, and which variable or file that is. */
export function originOf(source: string): { origin: Origin; name: string } {
  if (source === "default" || source === "argument") return { origin: source, name: "" };
  const [, variable] = /^environment (.+)$/.exec(source) ?? [];
  return variable ? { origin: "environment", name: variable } : { origin: "file", name: source };
}

const SECONDS = /^(lease|grace|config_sync_interval)$|_max_age$/;

/** A value as people read it; what is none is a dash. */
export function valueOf({ name, value }: Setting, locale: string, words: { on: string; off: string }): string {
  if (value === null || value === undefined || value === "") return NOTHING;
  if (typeof value === "boolean") return value ? words.on : words.off;
  if (typeof value === "number") {
    if (SECONDS.test(name)) return duration(value, locale);
    if (name === "max_body") return bytes(value, locale);
    return name === "port" || name === "smtp_port" ? String(value) : count(value, locale);
  }
  if (Array.isArray(value)) return value.length ? value.join(", ") : NOTHING;
  if (typeof value === "object") return Object.keys(value).join(", ") || NOTHING;
  return String(value);
}

/** What is kept of the runs of a task type; "" is all that have no limits of their own. */
export interface Kept {
  taskType: string;
  rows: number | null;
  age: number | null;
}

/** The limits by task type, those of all others first. */
export function keptOf(settings: readonly Setting[]): Kept[] {
  const value = (name: string) => settings.find((one) => one.name === `retention.${name}`)?.value;
  const own = (value("task_types") ?? {}) as Record<string, { runs_max_rows: number | null; runs_max_age: number | null }>;
  const rows = (value("runs_max_rows") as number | null) || null;
  return [
    { taskType: "", rows, age: (value("runs_max_age") as number | null) ?? null },
    ...Object.entries(own).map(([taskType, one]) => ({ taskType, rows: one.runs_max_rows, age: one.runs_max_age })),
  ];
}

/** How many runs, lines of logs and tasks a clean-up removes or removed. */
export function sumOf(pruned: Prune["would_remove"]) {
  const tasks = Object.values((pruned.tasks ?? {}) as Record<string, number>);
  return {
    runs: Number(pruned.runs ?? 0),
    logs: Number(pruned.log_chunks ?? 0),
    tasks: tasks.reduce((sum, one) => sum + one, 0),
  };
}
