import { stringify } from "@/use/exact";
import { NOTHING } from "@/use/format";

/** One field of what was changed. */
export interface Change {
  field: string;
  before: string;
  after: string;
}

/** What differs between before and after, field by field; what was made or deleted has one side. */
export function changes(before: unknown, after: unknown): Change[] {
  const [old, made] = [fields(before), fields(after)];
  return [...new Set([...Object.keys(old), ...Object.keys(made)])]
    .map((field) => ({ field, before: said(old[field]), after: said(made[field]) }))
    .filter((change) => change.before !== change.after);
}

function fields(value: unknown): Record<string, unknown> {
  return value !== null && typeof value === "object" && !Array.isArray(value) ? { ...value } : {};
}

function said(value: unknown): string {
  if (value === undefined || value === null || value === "") return NOTHING;
  if (Array.isArray(value) && value.every((one) => typeof one === "string")) return value.join(", ") || NOTHING;
  return typeof value === "string" ? value : stringify(value);
}
