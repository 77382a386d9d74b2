/** Integers beyond 2^53 keep their digits: in JSON text they become marked strings. */

const MARK = "\u2060";
const TOKENS = /"(?:[^"\\]|\\.)*"|(?<![\d.eE+-])-?\d{16,}(?![\d.eE])/g;

/** JSON text in which a reader loses no digits. */
export function guard(json: string): string {
  if (!/\d{16}/.test(json)) return json;
  return json.replace(TOKENS, (token) =>
    token.startsWith('"') || Number.isSafeInteger(Number(token)) ? token : `"${MARK}${token}"`,
  );
}

/** A value as JSON text again, with all digits. */
export function stringify(value: unknown, indent = 2): string {
  const text = JSON.stringify(value, null, indent) ?? "null";
  return text.replaceAll(new RegExp(`"${MARK}(-?\\d+)"`, "g"), "$1");
}
