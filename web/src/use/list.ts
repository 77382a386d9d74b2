import { keepPreviousData, useQuery } from "@tanstack/vue-query";
import { computed, ref, shallowRef, watch } from "vue";
import { useHeld, useLive } from "./live";
import { useRange } from "./range";
import { text, useUrlState, whole, type Schema, type State } from "./urlState";

/** A list as a whole: what the address asks for, the page that came, and what is selected. */

export const LIMITS = [20, 50, 100] as const;

interface AnyPage<Row> {
  data: Row[];
  next_cursor?: string | null;
  total: number;
  total_is_capped: boolean;
}

export interface Asked {
  sort?: string;
  limit: number;
  cursor?: string;
}

export interface ListOptions<S extends Schema, Row> {
  /** The head of its key in the cache; changes made elsewhere invalidate it. */
  key: string;
  filters: S;
  sort?: string;
  rowKey(row: Row): string;
  fetch(filters: State<S>, asked: Asked, signal: AbortSignal): Promise<AnyPage<Row>>;
  /** Milliseconds until the next look, where what came changes faster than usual. */
  every?(page: AnyPage<Row>): number | undefined;
}

export function useList<S extends Schema, Row>(options: ListOptions<S, Row>) {
  const range = useRange();
  const filters = useUrlState(options.filters);
  const paging = useUrlState({
    sort: text(options.sort ?? ""),
    limit: whole(50, LIMITS),
    cursor: text(),
  });
  const selected = shallowRef<ReadonlySet<string>>(new Set());
  /** Somebody types or has a dialog open: rows stay as they are. */
  const busy = ref(false);
  /** The cursors of the pages before this one, as far as they were seen. */
  const before = shallowRef<string[]>([]);

  const usual = useLive("list");
  const sooner = ({ state }: { state: { data: AnyPage<Row> | undefined } }) =>
    (usual.value && state.data && options.every?.(state.data)) || usual.value;
  const query = useQuery({
    queryKey: computed(() => [options.key, "list", filters.state.value, range.state.value, paging.state.value]),
    queryFn: ({ signal }) => {
      const { sort, limit, cursor } = paging.state.value;
      const asked = { limit, ...(sort && { sort }), ...(cursor && { cursor }) };
      return options.fetch(filters.state.value, asked, signal);
    },
    refetchInterval: options.every ? sooner : usual,
    placeholderData: keepPreviousData,
  });

  const question = computed(() => JSON.stringify([filters.state.value, range.state.value, paging.state.value]));
  const held = useHeld(query.data, () => selected.value.size > 0 || busy.value, options.rowKey);
  watch(question, () => {
    selected.value = new Set();
    held.show();
  });
  watch(
    () => paging.state.value.cursor,
    (cursor) => !cursor && (before.value = []),
  );

  const used = computed(() =>
    Object.values(filters.state.value).some((value) => String(value).length > 0),
  );

  return {
    filters: filters.state,
    paging: paging.state,
    page: held.shown,
    fresh: held.fresh,
    showFresh: held.show,
    error: query.error,
    isFetching: query.isFetching,
    updatedAt: query.dataUpdatedAt,
    refetch: () => void query.refetch(),
    rowKey: options.rowKey,
    selected,
    busy,
    used,
    from: computed(() => before.value.length * paging.state.value.limit),
    hasPrevious: computed(() => paging.state.value.cursor !== ""),
    change(changes: Record<string, unknown>): void {
      filters.set({ ...changes, cursor: "" } as Partial<State<S>>);
    },
    clear(): void {
      const nothing = Object.fromEntries(
        Object.entries(options.filters).map(([name, field]) => [name, field.read(undefined)]),
      );
      this.change(nothing);
    },
    sort: (sort: string) => paging.set({ sort, cursor: "" }),
    limit: (limit: number) => paging.set({ limit, cursor: "" }),
    next(): void {
      const cursor = query.data.value?.next_cursor;
      if (!cursor) return;
      before.value = [...before.value, paging.state.value.cursor];
      paging.set({ cursor });
    },
    previous(): void {
      const cursor = before.value.at(-1) ?? "";
      before.value = before.value.slice(0, -1);
      paging.set({ cursor });
    },
  };
}

export type List<Row> = Omit<ReturnType<typeof useList<Schema, Row>>, "filters"> & {
  filters: { readonly value: Readonly<Record<string, unknown>> };
};
