import { computed, type ComputedRef } from "vue";
import { useRoute, useRouter, type LocationQuery } from "vue-router";

/** How one thing stands behind the `?`: what is read of a text, and the text of a value. */
export interface Field<T> {
  read(text: string | undefined): T;
  /** The text; undefined for what need not be said. */
  write(value: T): string | undefined;
}

export type Schema = Record<string, Field<unknown>>;
export type State<S extends Schema> = { [K in keyof S]: S[K] extends Field<infer T> ? T : never };

export function text(fallback = ""): Field<string> {
  return {
    read: (text) => text ?? fallback,
    write: (value) => (value === fallback ? undefined : value),
  };
}

/** Several words with commas between them. */
export function words(): Field<string[]> {
  return {
    read: (text) => (text ? text.split(",").filter(Boolean) : []),
    write: (value) => (value.length ? value.join(",") : undefined),
  };
}

export function whole(fallback: number, known?: readonly number[]): Field<number> {
  return {
    read: (text) => {
      const value = Number(text);
      const fits = text !== undefined && Number.isInteger(value) && (known?.includes(value) ?? true);
      return fits ? value : fallback;
    },
    write: (value) => (value === fallback ? undefined : String(value)),
  };
}

/** What an address says. */
export function parse<S extends Schema>(schema: S, query: LocationQuery): State<S> {
  const state: Record<string, unknown> = {};
  for (const [name, field] of Object.entries(schema)) {
    const given = query[name];
    state[name] = field.read((Array.isArray(given) ? given[0] : given) ?? undefined);
  }
  return state as State<S>;
}

/** The query of a state; other words in it stay, and defaults are not said. */
export function unparse<S extends Schema>(
  schema: S,
  state: Partial<State<S>>,
  before: LocationQuery = {},
): Record<string, string> {
  const query: Record<string, string> = {};
  for (const [name, value] of Object.entries(before)) {
    const single = Array.isArray(value) ? value[0] : value;
    if (single != null) query[name] = single;
  }
  for (const [name, value] of Object.entries(state)) {
    const said = schema[name]?.write(value);
    if (said === undefined) delete query[name];
    else query[name] = said;
  }
  return query;
}

export interface UrlState<S extends Schema> {
  state: ComputedRef<State<S>>;
  /** Change something; a step that Back undoes, unless it replaces the last one. */
  set(changes: Partial<State<S>>, options?: { replace?: boolean }): void;
}

/** A part of the address as state: what is in the URL is what the page shows. */
export function useUrlState<S extends Schema>(schema: S): UrlState<S> {
  const route = useRoute();
  const router = useRouter();
  const state = computed(() => parse(schema, route.query));
  function set(changes: Partial<State<S>>, options: { replace?: boolean } = {}): void {
    // Seen from the router, so that two changes in one turn both count.
    const now = router.currentRoute.value;
    const query = unparse(schema, changes, now.query);
    void router[options.replace ? "replace" : "push"]({ path: now.path, query, hash: now.hash });
  }
  return { state, set };
}
