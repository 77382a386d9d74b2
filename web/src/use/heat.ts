/** A calendar of days and hours from what happened in each hour. */

export interface HourFigures {
  /** Its start, with the offset of its zone. */
  hour: string;
  runs: number;
  failed: number;
  planned: boolean;
}

export interface HeatCell extends HourFigures {
  day: string;
  /** Its column, 0 to 23. */
  at: number;
  /** Half of its side, as a share of the largest: by area, so that it is seen as it is. */
  size: number;
  /** 0 is none failed, 4 is all. */
  heat: number;
  /** It was to run, its hour is over, and nothing came. */
  missed: boolean;
}

const DAY = 86_400_000;

/** The days from the first to the last, as they are written. */
export function daysOf(from: string, to: string): string[] {
  const [first, last] = [Date.parse(from.slice(0, 10)), Date.parse(to.slice(0, 10))];
  const count = Math.max(0, Math.round((last - first) / DAY)) + 1;
  return Array.from({ length: count }, (_, n) => new Date(first + n * DAY).toISOString().slice(0, 10));
}

/** Without the days before the first that has anything in it, but a few. */
export function sinceFirst(days: readonly string[], cells: readonly HeatCell[], least = 3): string[] {
  const first = days.findIndex((day) => cells.some((cell) => cell.day === day && (cell.runs > 0 || cell.missed)));
  return days.slice(Math.min(first < 0 ? days.length : first, Math.max(0, days.length - least)));
}

/** Each hour at its place; an hour that a change of clocks repeats is one. */
export function cellsOf(hours: readonly HourFigures[], now: number): HeatCell[] {
  const most = Math.max(1, ...hours.map(({ runs }) => runs));
  const places = new Map<string, HourFigures>();
  for (const hour of hours) {
    const place = hour.hour.slice(0, 13);
    const other = places.get(place);
    places.set(place, other ? { ...hour, runs: hour.runs + other.runs, failed: hour.failed + other.failed } : hour);
  }
  return [...places.entries()].map(([place, hour]) => ({
    ...hour,
    day: place.slice(0, 10),
    at: Number(place.slice(11)),
    size: hour.runs ? Math.max(0.25, Math.sqrt(hour.runs / most)) : 0,
    heat: hour.failed ? Math.max(1, Math.ceil((hour.failed / hour.runs) * 4)) : 0,
    missed: hour.planned && hour.runs === 0 && Date.parse(hour.hour) + 3_600_000 <= now,
  }));
}

/** The first and the last moment of an hour, as an address says them. */
export function spanOf(hour: string): { from: string; to: string } {
  const start = Date.parse(hour);
  return { from: new Date(start).toISOString(), to: new Date(start + 3_600_000).toISOString() };
}
