import { QueryCache, QueryClient, MutationCache } from "@tanstack/vue-query";
import { Problem } from "@/use/problem";
import { backoff, connection } from "@/use/connection";
import { forgetSession } from "@/use/session";
import { router } from "./router";

/** What the server said is kept here; an ended session leads to the sign-in page. */

function onError(error: unknown): void {
  if (!(error instanceof Problem) || error.status !== 401) return;
  const here = router.currentRoute.value;
  if (here.name === "login") return;
  forgetSession();
  void router.replace({ name: "login", query: { next: here.fullPath } });
}

/** Whether the server may answer better the next time. */
export function isPassing(error: unknown): boolean {
  return error instanceof Problem && (error.status === 0 || error.status >= 502);
}

export const queries = new QueryClient({
  queryCache: new QueryCache({ onError }),
  mutationCache: new MutationCache({ onError }),
  defaultOptions: {
    queries: {
      retry: (_, error) => isPassing(error),
      retryDelay: backoff,
      staleTime: 1_000,
      networkMode: "always",
    },
    mutations: { retry: false, networkMode: "always" },
  },
});

/** While the connection is lost changes are refused at once. */
export const isOffline = connection.lost;
