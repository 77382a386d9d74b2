import { computed, shallowRef, watch, type Ref } from "vue";
import { session } from "./session";
import { useStored } from "./stored";

/** How often what is shown is asked for again. The intervals are the server's (`/api/v1/meta`). */

export const REFRESHES = ["0", "5", "10", "30", "60"] as const;
export const refresh = useStored<(typeof REFRESHES)[number]>("refresh", "10", REFRESHES);

const FALLBACK: Record<string, number> = { list: 10, detail: 5 };

/** Milliseconds until the next poll, or false where nothing is asked for by itself. */
export function interval(kind: "list" | "detail", chosen: string, poll?: Record<string, number>) {
  if (chosen === "0") return false;
  const usual = poll?.[kind] ?? FALLBACK[kind] ?? 10;
  // The picker says the pace of lists; details go as much faster as they do by default.
  const pace = kind === "list" ? Number(chosen) : Math.min(Number(chosen), usual);
  return pace * 1000;
}

/** The interval of a kind of query, for vue-query. */
export function useLive(kind: "list" | "detail") {
  return computed(() => interval(kind, refresh.value, session.meta.value?.poll));
}

/** The same for one thing, until it will not change any more. */
export function liveUntil<T>(done: (data: T) => boolean) {
  return ({ state }: { state: { data: T | undefined } }) =>
    state.data !== undefined && done(state.data)
      ? false
      : interval("detail", refresh.value, session.meta.value?.poll);
}

/** Ids in `next` that `now` does not have. */
export function unseen<Row>(now: readonly Row[], next: readonly Row[], key: (row: Row) => unknown) {
  const seen = new Set(now.map(key));
  return next.filter((row) => !seen.has(key(row))).length;
}

/** Holds new rows back while somebody selects or types, and says how many there are. */
export function useHeld<Page extends { data: Row[] }, Row>(
  page: Ref<Page | undefined>,
  held: () => boolean,
  key: (row: Row) => unknown,
) {
  const shown = shallowRef<Page | undefined>(page.value);
  function show(): void {
    shown.value = page.value;
  }
  watch(page, (next) => {
    if (!held() || !shown.value || !next) shown.value = next;
  });
  const fresh = computed(() =>
    page.value && shown.value && page.value !== shown.value
      ? unseen(shown.value.data, page.value.data, key)
      : 0,
  );
  watch(held, (now) => !now && show());
  return { shown, fresh, show };
}
