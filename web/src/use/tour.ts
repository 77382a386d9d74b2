import { computed, ref, watch } from "vue";

/** The demo's tour: its link says "#tour=ADDRESS", the address of the demo's own page. */

const KEY = "taskyard.tour";
export const STEPS = ["overview", "errors", "batch", "sql", "crash", "own"] as const;

interface Tour {
  desk: string;
  step: number;
}

/** The address that a fragment names; only one of this machine is believed. */
export function deskOf(hash: string): string | null {
  const said = hash.slice(1).split("&").find((word) => word.startsWith("tour="));
  const desk = said?.slice("tour=".length) ?? "";
  return /^http:\/\/127\.0\.0\.1:\d{1,5}$/.test(desk) ? desk : null;
}

function read(): Tour | null {
  const desk = deskOf(location.hash);
  if (desk) return { desk, step: 0 };
  try {
    return JSON.parse(sessionStorage.getItem(KEY) ?? "null") as Tour | null;
  } catch {
    return null;
  }
}

const tour = ref(read());
watch(
  tour,
  (now) => {
    try {
      sessionStorage.setItem(KEY, JSON.stringify(now));
    } catch {
      // Forbidden: the tour then lasts until the page is loaded anew.
    }
  },
  { immediate: true },
);

export const touring = {
  desk: computed(() => tour.value?.desk),
  step: computed(() => tour.value?.step ?? 0),
  go(step: number): void {
    if (tour.value) tour.value = { ...tour.value, step: Math.max(0, Math.min(STEPS.length - 1, step)) };
  },
  end(): void {
    tour.value = null;
  },
};
