/** What of a log is shown: its lines from a level on, with certain words. */

export const LEVELS = ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] as const;
export type Level = (typeof LEVELS)[number];

const WORD = new RegExp(`\\b(${LEVELS.join("|")})\\b`);

/** The level that a line names; a line without one is like the one before it, here INFO. */
export function levelOf(line: string): Level {
  // Only near the beginning: further behind it is the message's own word.
  return (WORD.exec(line.slice(0, 60))?.[1] as Level | undefined) ?? "INFO";
}

/** The lines at or above a level that hold the words. */
export function visible(text: string, least: Level, words: string): string[] {
  if (!text) return [];
  const lines = text.replace(/\n$/, "").split("\n");
  const wanted = words.toLowerCase();
  const from = LEVELS.indexOf(least);
  if (from === 0 && !wanted) return lines;
  return lines.filter(
    (line) => LEVELS.indexOf(levelOf(line)) >= from && line.toLowerCase().includes(wanted),
  );
}
