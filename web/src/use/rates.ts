/** Success rates over time as rates of failure. */

interface Line {
  name: string | null;
  other: boolean;
  values: readonly (number | null)[];
}

/** The lines that ever failed, those that failed most first, at most so many. */
export function failureRates<L extends Line>(lines: readonly L[], most = 8) {
  return lines
    .map((line) => ({ ...line, values: line.values.map((value) => (value === null ? null : 1 - value)) }))
    .map((line) => ({ line, total: line.values.reduce<number>((sum, value) => sum + (value ?? 0), 0) }))
    .filter(({ total }) => total > 0)
    .sort((a, b) => b.total - a.total)
    .slice(0, most)
    .map(({ line }) => line);
}
