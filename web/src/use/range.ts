import { computed } from "vue";
import { text, useUrlState } from "./urlState";

/** The range of time and the tenant that all pages share; they stand in the address. */

export const DEFAULT_FROM = "now-24h";
export const RANGES = ["now-15m", "now-1h", "now-6h", "now-24h", "now-7d", "now-30d", "now-90d"];

const UNITS: Record<string, number> = { s: 1, m: 60, h: 3_600, d: 86_400, w: 604_800 };

/** "now-24h" or an ISO time as an ISO time; undefined for "now" itself and for what is none. */
export function resolve(text: string, now = Date.now()): string | undefined {
  const match = /^now(?:-(\d+)([smhdw]))?$/.exec(text);
  if (match) {
    if (match[1] === undefined) return undefined;
    const seconds = Number(match[1]) * (UNITS[match[2] ?? "s"] ?? 1);
    return new Date(now - seconds * 1000).toISOString();
  }
  const at = Date.parse(text);
  return Number.isNaN(at) ? undefined : new Date(at).toISOString();
}

const SCHEMA = { from: text(DEFAULT_FROM), to: text("now"), tenant_id: text() };

export function useRange() {
  const url = useUrlState(SCHEMA);
  const state = url.state;
  /** What of the address goes along to other pages. */
  const carried = computed(() => {
    const query: Record<string, string> = {};
    for (const [name, field] of Object.entries(SCHEMA)) {
      const said = field.write(state.value[name as keyof typeof SCHEMA]);
      if (said !== undefined) query[name] = said;
    }
    return query;
  });
  /** The range as the API takes it, from the moment of asking. */
  function asked(): { from?: string; to?: string } {
    const from = resolve(state.value.from);
    const to = resolve(state.value.to);
    return { ...(from && { from }), ...(to && { to }) };
  }
  function tenant(): { tenant_id?: string[] } {
    return state.value.tenant_id ? { tenant_id: [state.value.tenant_id] } : {};
  }
  return { state, set: url.set, carried, asked, tenant };
}
