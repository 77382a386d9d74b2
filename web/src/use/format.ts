/** How bytes, durations, counts and times are written, per language. Nothing else formats them. */

export const NOTHING = "–";

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"] as const;

/** Bytes: "24.1 MiB", "0 B"; unknown is a dash. */
export function bytes(value: number | null | undefined, locale = "en"): string {
  if (value == null || !Number.isFinite(value)) return NOTHING;
  let size = Math.abs(value);
  let unit = 0;
  // What would be rounded to 1024 is one of the next unit.
  while (size >= 1023.95 && unit < UNITS.length - 1) {
    size /= 1024;
    unit += 1;
  }
  const digits = unit === 0 ? 0 : 1;
  const text = number(locale, { maximumFractionDigits: digits, useGrouping: false }).format(size);
  return `${value < 0 ? "-" : ""}${text} ${UNITS[unit]}`;
}

/** Seconds: "850 ms", "12.4 s", "3 min 05 s", "2 h 05 min", "4 d 3 h". */
export function duration(seconds: number | null | undefined, locale = "en"): string {
  if (seconds == null || !Number.isFinite(seconds)) return NOTHING;
  if (seconds < 0) return `-${duration(-seconds, locale)}`;
  if (seconds === 0) return "0 ms";
  if (seconds < 0.001) return "< 1 ms";
  if (seconds < 0.9995) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 59.95) {
    return `${number(locale, { maximumFractionDigits: 1, useGrouping: false }).format(seconds)} s`;
  }
  const whole = Math.round(seconds);
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${two(whole % 60)} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 1440) return `${Math.floor(minutes / 60)} h ${two(minutes % 60)} min`;
  const hours = Math.round(seconds / 3600);
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

/** A count: "12,431" in full, or "1.2M" where there is little room. */
export function count(value: number | null | undefined, locale = "en", short = false): string {
  if (value == null || !Number.isFinite(value)) return NOTHING;
  if (short && Math.abs(value) >= 100_000) {
    return number(locale, { notation: "compact", maximumFractionDigits: 1 }).format(value);
  }
  return number(locale, { maximumFractionDigits: 2 }).format(value);
}

/** A share of 1: "80.0%"; unknown is a dash. */
export function share(value: number | null | undefined, locale = "en"): string {
  if (value == null || !Number.isFinite(value)) return NOTHING;
  const options = { style: "percent", minimumFractionDigits: 1, maximumFractionDigits: 1 } as const;
  return number(locale, options).format(value).replace("%", " %");
}

/** A time in full, in the zone of the reader: for tooltips. */
export function time(iso: string | null | undefined, locale = "en"): string {
  const at = instant(iso);
  if (at === null) return NOTHING;
  return new Intl.DateTimeFormat(locale, {
    dateStyle: "medium",
    timeStyle: "long",
  }).format(at);
}

/** A time with seconds, short. */
export function clock(iso: string | number | null | undefined, locale = "en"): string {
  const at = typeof iso === "number" ? iso : instant(iso);
  return at === null ? NOTHING : new Intl.DateTimeFormat(locale, { timeStyle: "medium" }).format(at);
}

/** Whether times reach over more than a day, so that they need their date. */
export function isLong(times: readonly string[]): boolean {
  const [first, last] = [instant(times[0]), instant(times.at(-1))];
  return first !== null && last !== null && last - first > 36 * 3_600_000;
}

/** A time on an axis: hours and minutes, with the date where it is needed. */
export function moment(iso: string, long: boolean, locale = "en"): string {
  const at = instant(iso);
  const day = long ? ({ month: "short", day: "numeric" } as const) : {};
  const format = { hour: "2-digit", minute: "2-digit", hourCycle: "h23", ...day } as const;
  return at === null ? NOTHING : new Intl.DateTimeFormat(locale, format).format(at);
}

const STEPS: readonly [Intl.RelativeTimeFormatUnit, number][] = [
  ["day", 86_400],
  ["hour", 3_600],
  ["minute", 60],
  ["second", 1],
];

/** How long ago, or until when, seen from `now` (milliseconds): "3 minutes ago", "in 2 hours". */
export function relative(iso: string | null | undefined, now: number, locale = "en"): string {
  const at = instant(iso);
  if (at === null) return NOTHING;
  const seconds = Math.round((at - now) / 1000);
  const size = Math.abs(seconds);
  const [unit, length] = STEPS.find(([, length]) => size >= length) ?? ["second", 1];
  const format = new Intl.RelativeTimeFormat(locale, { numeric: "auto" });
  return format.format(Math.trunc(seconds / length), unit);
}

/** A time as milliseconds; null where it is none. */
export function instant(iso: string | null | undefined): number | null {
  if (!iso) return null;
  const at = Date.parse(iso);
  return Number.isNaN(at) ? null : at;
}

const made = new Map<string, Intl.NumberFormat>();

function number(locale: string, options: Intl.NumberFormatOptions): Intl.NumberFormat {
  const key = locale + JSON.stringify(options);
  const found = made.get(key) ?? new Intl.NumberFormat(locale, options);
  made.set(key, found);
  return found;
}

function two(value: number): string {
  return String(value).padStart(2, "0");
}

/** A time as it was told, in the zone of its offset: "2026-11-23 02:00 +08:00". */
export function zoned(iso: string): string {
  const match = /^(\d{4}-\d\d-\d\d)T(\d\d:\d\d)(:\d\d)?(?:\.\d+)?(.*)$/.exec(iso);
  if (!match) return iso;
  const [, day, clock, seconds = "", offset] = match;
  return `${day} ${clock}${seconds === ":00" ? "" : seconds} ${offset === "Z" ? "+00:00" : offset}`;
}

/** The parts of a name between which a line may end: behind `_`, `-`, `.`, `:`, `/` and `@`. */
export function pieces(name: string): string[] {
  return name.split(/(?<=[_\-.:/@])(?=[^_\-.:/@\s])/);
}
