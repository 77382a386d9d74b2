/** What a chart draws. */
export interface ChartLine {
  name: string;
  /** A status, or a place in the row of colours. */
  tone: string;
  values: readonly (number | null)[];
}

/** The colour of a tone in the theme that holds now. */
export function colour(tone: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${tone}`).trim() || "#888";
}

/** Colours for lines that are no status. */
export const TONES = ["accent", "retrying", "lost", "completed", "scheduled", "timeout", "blocked", "failed"];
