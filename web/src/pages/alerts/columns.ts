import type { AlertRule, Channel, Incident } from "@/api/types";
import type { Column } from "@/ui/table";

export const incidentColumns: readonly Column<Incident>[] = [
  { key: "state", label: "field.status", kind: "status", value: (incident) => incident.state },
  { key: "summary", label: "alerts.summary", value: (incident) => incident.summary, custom: true },
  {
    key: "rule_name",
    label: "alerts.rule",
    value: (incident) => incident.rule_name,
    to: (incident) => ({ path: "/alerts", query: { tab: "rules", q: incident.rule_name } }),
  },
  { key: "count", label: "field.count", kind: "count", value: (incident) => incident.count },
  { key: "first_at", label: "field.first", kind: "time", value: (incident) => incident.first_at, sort: "first_at" },
  { key: "last_at", label: "field.last", kind: "time", value: (incident) => incident.last_at },
  {
    key: "run_id",
    label: "alerts.run",
    value: (incident) => incident.run_id,
    to: (incident) => (incident.run_id === null ? undefined : { name: "run", params: { id: String(incident.run_id) } }),
  },
  { key: "acknowledged_by", label: "alerts.by", value: (incident) => incident.resolved_by ?? incident.acknowledged_by, minor: true },
];

export const ruleColumns: readonly Column<AlertRule>[] = [
  { key: "status", label: "alerts.on", value: (rule) => rule.status, custom: true },
  { key: "name", label: "alerts.name", value: (rule) => rule.name, sort: "name" },
  { key: "kind", label: "alerts.kind", value: (rule) => rule.kind, custom: true },
  { key: "channels", label: "alerts.channels", value: (rule) => rule.channels?.length, custom: true },
  { key: "problem", label: "alerts.state", value: (rule) => rule.problem, custom: true },
];

/** Where a channel leads, as far as it is shown. */
function target({ settings }: Channel): string {
  const { to, url } = settings as { to?: string[]; url?: string };
  return to?.join(", ") ?? url ?? "";
}

export const channelColumns: readonly Column<Channel>[] = [
  { key: "status", label: "alerts.on", value: (channel) => channel.status, custom: true },
  { key: "name", label: "alerts.name", value: (channel) => channel.name, sort: "name" },
  { key: "kind", label: "alerts.channel.by", value: (channel) => channel.kind, custom: true },
  { key: "target", label: "alerts.channel.target", value: target },
  { key: "last_sent_at", label: "alerts.channel.lastSent", kind: "time", value: (channel) => channel.last_sent_at },
  { key: "last_error", label: "alerts.channel.lastError", value: (channel) => channel.last_error, custom: true },
];
