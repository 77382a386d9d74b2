/** The grammar of a search box: `status:failed error:"timed out" took:>5s` and plain words, as filters and back. */

export type Filters = Readonly<Record<string, unknown>>;
export interface Trouble {
  kind: "unknown" | "twice" | "took";
  word: string;
}
export interface Read {
  /** All filters, also those that are not asked for: the box holds them whole. */
  changes: Record<string, string | string[]>;
  trouble?: Trouble;
}

const BOUNDS: Record<string, string> = { ">": "min_duration", "<": "max_duration" };
const PATH = "params.";

const tokens = (text: string) => text.match(/(?:[^\s"]|"(?:\\.|[^"\\])*"?)+/g) ?? [];
const plain = (text: string) =>
  text.replace(/"((?:\\.|[^"\\])*)"?/g, (_, inner: string) => inner.replace(/\\(.)/g, "$1"));
const inQuotes = (text: string) => `"${text.replace(/[\\"]/g, "\\$&")}"`;
const quoted = (text: string) => (/[\s"]/.test(text) ? inQuotes(text) : text);

function pair(token: string): [key: string, value: string] | null {
  const match = /^([^":]+):(.*)$/s.exec(token);
  return match ? [match[1]!, plain(match[2]!)] : null;
}

/** Values in the parameters: `user.id:42 name:"A B"` as paths and values. */
export const paths = (text: string) => tokens(text).map(pair).filter((one) => one !== null);

/** What may stand before a colon. */
export function keysOf(filters: Filters): string[] {
  const own = Object.keys(filters).filter((name) => !["q", "params", ...Object.values(BOUNDS)].includes(name));
  return [...own, ...("min_duration" in filters ? ["took"] : []), ...("params" in filters ? [`${PATH}…`] : [])];
}

/** The filters that a text asks for; `known` tells which there are, and which take several words. */
export function readSearch(text: string, known: Filters): Read {
  const changes = Object.fromEntries(
    Object.entries(known).map(([name, value]) => [name, Array.isArray(value) ? [] : ""]),
  ) as Read["changes"];
  const words: string[] = [];
  const asked: string[] = [];
  const wrong = (kind: Trouble["kind"], word: string): Read => ({ changes, trouble: { kind, word } });
  for (const token of tokens(text)) {
    const [key, value] = pair(token) ?? ["", plain(token)];
    if (!key) words.push(value);
    else if (key.startsWith(PATH) && "params" in known) asked.push(`${key.slice(PATH.length)}:${quoted(value)}`);
    else if (!keysOf(known).includes(key)) return wrong("unknown", key);
    else {
      const name = key === "took" ? BOUNDS[value[0] ?? ""] : key;
      if (!name || !(name in known)) return wrong("took", key);
      const before = changes[name]!;
      if (Array.isArray(before)) changes[name] = [...before, ...value.split(",").filter(Boolean)];
      else if (before) return wrong("twice", key);
      else changes[name] = key === "took" ? value.slice(1) : value;
    }
  }
  if (words.length) changes.q = words.join(" ");
  if (asked.length) changes.params = asked.join(" ");
  return { changes };
}

/** The text that asks for these filters. */
export function writeSearch(filters: Filters): string {
  const { q = "", params = "", ...rest } = filters;
  const said = Object.entries(rest).flatMap(([name, value]) => {
    const bound = Object.keys(BOUNDS).find((sign) => BOUNDS[sign] === name);
    if (!String(value)) return [];
    return bound ? `took:${bound}${quoted(String(value))}` : `${name}:${quoted(String(value))}`;
  });
  const among = paths(String(params)).map(([path, value]) => `${PATH}${path}:${quoted(value)}`);
  return [...said, ...among, words(String(q))].filter(Boolean).join(" ");
}

/** Free text; in quotes where it would be read as something else. */
function words(text: string): string {
  const isPlain = text.split(/\s+/).join(" ") === text && !/[":]/.test(text);
  return isPlain ? text : inQuotes(text);
}

/** What is being typed at the end of a text: what stays before it, its key, and how the word begins. */
export function ending(text: string): { head: string; key: string; begun: string } {
  const [, head = "", key = "", before = "", begun = ""] =
    /^(.*?)(?:([^\s":]+):((?:[^\s":,]*,)*))?([^\s":,]*)$/s.exec(text) ?? [];
  return { head: key ? `${head}${key}:${before}` : head, key, begun };
}
