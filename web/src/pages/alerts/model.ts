import type { AlertKind, AlertRule, NewRule, RuleKind } from "@/api/types";

/** A rule as its form has it: all as text, as it is typed. */
export interface RuleForm {
  name: string;
  kind: RuleKind;
  settings: Record<string, string>;
  filters: Record<string, string>;
  remind_every: string;
  resolve_after: string;
  /** Ids of the channels; none is all. */
  channels: string[];
  status: boolean;
}

/** The words that a setting can be; the others are numbers and times. */
export const CHOICES: Record<string, readonly string[]> = {
  attempts: ["last", "each"],
  outcome: ["any", "failed"],
};

/** How long nobody is told. */
export const SILENCES = ["1h", "4h", "8h", "1d", "7d"] as const;

const texts = (values: Record<string, unknown>, join: (value: unknown) => string) =>
  Object.fromEntries(Object.entries(values).map(([name, value]) => [name, join(value)]));

export function formOf(rule?: AlertRule): RuleForm {
  return {
    name: rule?.name ?? "",
    kind: rule?.kind ?? "run_failed",
    settings: texts(rule?.settings ?? {}, String),
    filters: texts(rule?.filters ?? {}, (value) => (value as unknown[]).join(", ")),
    remind_every: rule ? String(rule.remind_every) : "",
    resolve_after: rule ? String(rule.resolve_after) : "",
    channels: (rule?.channels ?? []).map(String),
    status: rule?.status !== 0,
  };
}

/** What stands in a form for a kind of rule; fields that were left empty have their defaults. */
export function toRule(form: RuleForm, kind: AlertKind): NewRule {
  const settings: Record<string, string> = {};
  for (const { name } of kind.settings) {
    const value = form.settings[name]?.trim();
    if (value) settings[name] = value;
  }
  const filters: Record<string, string[]> = {};
  for (const name of kind.filters) {
    const words = (form.filters[name] ?? "").split(",").map((word) => word.trim());
    if (words.some(Boolean)) filters[name] = words.filter(Boolean);
  }
  return {
    name: form.name.trim(),
    kind: form.kind,
    settings,
    filters,
    channels: form.channels.length ? form.channels.map(Number) : null,
    ...(form.remind_every.trim() && { remind_every: form.remind_every.trim() }),
    ...(form.resolve_after.trim() && { resolve_after: form.resolve_after.trim() }),
    status: form.status ? 1 : 0,
  };
}

/** Whether all is there that must be. */
export function isWhole(form: RuleForm, kind: AlertKind): boolean {
  const given = toRule(form, kind);
  return (
    kind.settings.every(({ name, required }) => !required || name in (given.settings ?? {})) &&
    kind.needs.every((name) => name in (given.filters ?? {}))
  );
}

/** Whether an instant is still to come. */
export const isAhead = (at: string | null) => at !== null && Date.parse(at) > Date.now();
