/** Bars on a line of time: where each one lies, and in which lane. */

export interface Span {
  id: string;
  lane: string;
  from: number;
  to: number;
  status: string;
  label: string;
}

export interface Bar extends Span {
  /** Shares of the whole width, 0 to 100. */
  x: number;
  width: number;
  row: number;
}

export interface Lane {
  name: string;
  bars: Bar[];
  rows: number;
}

/** Lanes by name; bars of one lane that overlap lie in rows below each other, up to `most`. */
export function layOut(spans: readonly Span[], from: number, to: number, most = 6): Lane[] {
  const length = Math.max(1, to - from);
  const lanes = new Map<string, { ends: number[]; bars: Bar[] }>();
  for (const span of [...spans].sort((a, b) => a.from - b.from)) {
    const lane = lanes.get(span.lane) ?? { ends: [], bars: [] };
    lanes.set(span.lane, lane);
    const free = lane.ends.findIndex((end) => end <= span.from);
    const row = free >= 0 ? free : Math.min(lane.ends.length, most - 1);
    lane.ends[row] = Math.max(lane.ends[row] ?? 0, span.to);
    const begin = Math.max(from, span.from);
    const x = ((begin - from) / length) * 100;
    const width = ((Math.min(to, span.to) - begin) / length) * 100;
    lane.bars.push({ ...span, x, width: Math.max(0.25, width), row });
  }
  return [...lanes.entries()]
    .map(([name, { ends, bars }]) => ({ name, bars, rows: ends.length }))
    .sort((a, b) => a.name.localeCompare(b.name));
}
