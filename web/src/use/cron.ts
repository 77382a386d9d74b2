/** A cron text as parts that a form can hold, and back: what the server reads, this never judges. */

export type FieldName = "second" | "minute" | "hour" | "day" | "month" | "weekday" | "year";
/** `none` is the `?` of quartz, `other` whatever no form has a place for (`L`, `15W`, `1-5,7`). */
export type Mode = "every" | "step" | "range" | "list" | "none" | "other";

export interface Part {
  mode: Mode;
  from: number;
  to: number;
  step: number;
  values: readonly number[];
  text: string;
}

const RANGES: Record<FieldName, readonly [low: number, high: number]> = {
  second: [0, 59],
  minute: [0, 59],
  hour: [0, 23],
  day: [1, 31],
  month: [1, 12],
  weekday: [0, 6],
  year: [1970, 2099],
};
const WORDS: Partial<Record<FieldName, readonly string[]>> = {
  month: ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"],
  weekday: ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"],
};
const FIVE: readonly FieldName[] = ["minute", "hour", "day", "month", "weekday"];
const SEVEN: readonly FieldName[] = ["second", ...FIVE, "year"];
const MACROS: Record<string, string> = {
  "@yearly": "0 0 1 1 *",
  "@annually": "0 0 1 1 *",
  "@monthly": "0 0 1 * *",
  "@weekly": "0 0 * * 0",
  "@daily": "0 0 * * *",
  "@midnight": "0 0 * * *",
  "@hourly": "0 * * * *",
};
export const START: Record<string, string> = { unix: "0 2 * * *", quartz: "0 0 2 * * ?" };

const isQuartz = (dialect: string) => dialect === "quartz";

/** The smallest and the largest number of a field. */
export function rangeOf(name: FieldName, dialect: string): readonly [low: number, high: number] {
  return name === "weekday" && isQuartz(dialect) ? [1, 7] : RANGES[name];
}

/** The fields of a text by name; null where their count fits no dialect. Without a text, a start. */
export function split(text: string, dialect: string): Map<FieldName, string> | null {
  const said = text.trim() || START[dialect]!;
  const words = (isQuartz(dialect) ? said : (MACROS[said.toLowerCase()] ?? said)).split(/\s+/);
  const [least, most] = isQuartz(dialect) ? [6, 7] : [5, 6];
  if (words.length < least || words.length > most) return null;
  const names = words.length === 5 ? FIVE : SEVEN;
  return new Map(words.map((word, at) => [names[at]!, word]));
}

/** What one field says. */
export function readPart(name: FieldName, text: string, dialect: string): Part {
  const [low, high] = rangeOf(name, dialect);
  const part: Part = { mode: "other", from: low, to: high, step: 1, values: [], text };
  const number = (word: string) => numberOf(name, word, dialect);
  if (text === "*") return { ...part, mode: "every" };
  if (text === "?" && isQuartz(dialect)) return { ...part, mode: "none" };
  const stepped = /^(\*|\w+)(?:-(\w+))?\/(\d+)$/.exec(text);
  if (stepped) {
    const from = stepped[1] === "*" ? low : number(stepped[1]!);
    const open = stepped[2] === undefined || number(stepped[2]) === high;
    return from !== null && open ? { ...part, mode: "step", from, step: Number(stepped[3]) } : part;
  }
  const [from, to] = (/^(\w+)-(\w+)$/.exec(text)?.slice(1) ?? []).map(number);
  if (from != null && to != null) return { ...part, mode: "range", from, to };
  const values = text.split(",").map(number);
  return values.includes(null) ? part : { ...part, mode: "list", values: values as number[] };
}

function numberOf(name: FieldName, word: string, dialect: string): number | null {
  const [low, high] = rangeOf(name, dialect);
  const named = (WORDS[name] ?? []).indexOf(word.toUpperCase());
  if (named >= 0) return low + named;
  if (!/^\d{1,4}$/.test(word)) return null;
  // Sunday has two numbers in unix.
  const number = name === "weekday" && !isQuartz(dialect) && word === "7" ? 0 : Number(word);
  return number >= low && number <= high ? number : null;
}

/** The text of a part. */
export function writePart(name: FieldName, part: Part, dialect: string): string {
  const [low, high] = rangeOf(name, dialect);
  switch (part.mode) {
    case "every":
      return "*";
    case "none":
      return "?";
    case "step":
      return `${part.from === low ? "*" : `${part.from}-${high}`}/${part.step}`;
    case "range":
      return `${part.from}-${part.to}`;
    case "list":
      return [...part.values].sort((a, b) => a - b).join(",") || String(low);
    default:
      return part.text;
  }
}

/** The text with one field otherwise. Quartz names a day of the month or of the week, never both. */
export function withPart(text: string, dialect: string, name: FieldName, word: string): string {
  const fields = split(text, dialect);
  if (!fields) return text;
  fields.set(name, word);
  const twin = name === "day" ? "weekday" : name === "weekday" ? "day" : null;
  if (twin && isQuartz(dialect)) {
    if (word !== "?") fields.set(twin, "?");
    else if (fields.get(twin) === "?") fields.set(twin, "*");
  }
  return [...fields.values()].join(" ");
}

/** The field that an error of the server names. */
export const fieldNamed = (words: unknown): FieldName | undefined =>
  ({ "day of month": "day", "day of week": "weekday" } as const)[String(words)] ??
  SEVEN.find((name) => name === words);

/** How a number of a field is said. */
export function saidOf(name: FieldName, value: number, dialect: string, locale: string): string {
  const format = (options: Intl.DateTimeFormatOptions, at: number) =>
    new Intl.DateTimeFormat(locale, { ...options, timeZone: "UTC" }).format(at);
  if (name === "month") return format({ month: "short" }, Date.UTC(2024, value - 1, 1));
  // 1 September 2024 was a Sunday.
  if (name === "weekday") return format({ weekday: "short" }, Date.UTC(2024, 8, 1 + value - rangeOf(name, dialect)[0]));
  return String(value);
}
