import { useMutation, useQueryClient } from "@tanstack/vue-query";
import { useI18n } from "vue-i18n";
import { toast } from "@/ui/toast";
import { useProblems } from "@/use/problems";

/** The heads of the keys of this page; what changes one of its things may change the others. */
const KEYS = ["incidents", "alerts", "channels"];

/** Do something to alerts: a refusal is said, and all of the page is asked for again. */
export function useAlertChange() {
  const { say } = useProblems();
  const queries = useQueryClient();
  const { mutate } = useMutation({
    mutationFn: (change: () => Promise<unknown>) => change(),
    onError: (error) => toast(say(error), { tone: "bad" }),
    onSettled: () => {
      for (const key of KEYS) void queries.invalidateQueries({ queryKey: [key] });
    },
  });
  return mutate;
}

/** The name and the explanation of a kind of rule in the reader's language. */
export function useKindWords() {
  const { t, te } = useI18n();
  return (kind: string) => (te(`alerts.kinds.${kind}`) ? t(`alerts.kinds.${kind}`) : kind);
}
