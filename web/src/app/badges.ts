import { keepPreviousData, useQuery } from "@tanstack/vue-query";
import { computed } from "vue";
import { useI18n } from "vue-i18n";
import { listIncidents } from "@/api/alerts";
import { listServers } from "@/api/platform";
import { summary } from "@/api/stats";
import type { Server } from "@/api/types";
import { count } from "@/use/format";
import { useLive } from "@/use/live";
import { useRange } from "@/use/range";
import { session } from "@/use/session";

/** Numbers beside pages in the side bar: only where somebody has to act. */

export interface Badge {
  number: string;
  /** What it counts, in words. */
  text: string;
}

/** A server that stopped in order gives the rest of its lease back; one that died does not. */
export function isLost(server: Pick<Server, "state" | "lease_left" | "beat_age">): boolean {
  return server.state === "late" || (server.state === "dead" && server.lease_left + server.beat_age > 0.1);
}

/** The badges by the names of their pages. */
export function useBadges() {
  const { t, locale } = useI18n();
  const range = useRange();
  const every = useLive("list");
  // Asked as the overview asks, so that both share one answer.
  const { data: figures } = useQuery({
    queryKey: computed(() => ["stats", "summary", range.state.value]),
    queryFn: () => summary({ ...range.asked(), ...range.tenant() }),
    enabled: computed(() => session.may("runs.read")),
    refetchInterval: every,
    placeholderData: keepPreviousData,
  });
  const { data: incidents } = useQuery({
    queryKey: computed(() => ["alerts", "all", "open", range.tenant()]),
    queryFn: ({ signal }) => listIncidents({ state: ["open"], limit: 1, ...range.tenant() }, signal),
    enabled: computed(() => session.may("alerts.read")),
    refetchInterval: every,
  });
  const { data: servers } = useQuery({
    queryKey: ["servers", "all"],
    queryFn: () => listServers(true),
    enabled: computed(() => session.may("monitoring")),
    refetchInterval: every,
  });

  return computed(() => {
    const found: Record<string, Badge> = {};
    const put = (page: string, n: number | undefined) => {
      if (!n) return;
      const number = count(n, locale.value, true);
      found[page] = { number, text: t(`badge.${page}`, { n: number }) };
    };
    put("runs", figures.value?.failed);
    put("alerts", incidents.value?.total);
    put("servers", servers.value?.data.filter(isLost).length);
    return found;
  });
}
