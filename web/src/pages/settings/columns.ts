import type { Setting } from "@/api/types";
import type { Column } from "@/ui/table";
import type { Kept } from "./model";

/** One line of the page: a setting of the server, or a choice of this browser. */
export type Line = Pick<Setting, "name">;

export const lineColumns: readonly Column<Line>[] = [
  { key: "name", label: "settings.name", value: (line) => line.name, custom: true },
  { key: "value", label: "settings.value", value: (line) => line.name, custom: true },
  { key: "source", label: "settings.from", value: (line) => line.name, custom: true },
  { key: "restart", label: "settings.takesEffect", value: (line) => line.name, custom: true },
];

export const keptColumns: readonly Column<Kept>[] = [
  { key: "type", label: "field.taskType", value: (kept) => kept.taskType, custom: true },
  { key: "rows", label: "settings.rows", kind: "count", value: (kept) => kept.rows, custom: true },
  { key: "age", label: "settings.age", kind: "duration", value: (kept) => kept.age, custom: true },
];
