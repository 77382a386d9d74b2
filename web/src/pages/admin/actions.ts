import { useMutation, useQueryClient } from "@tanstack/vue-query";
import { toast } from "@/ui/toast";
import { useProblems } from "@/use/problems";

/** A change at once, after which the list and the audit are asked for again; its refusal is told. */
export function useChange(key: "users" | "tenants" | "tokens") {
  const { say } = useProblems();
  const refresh = useRefresh(key);
  const { mutate } = useMutation({
    mutationFn: (change: () => Promise<unknown>) => change(),
    onError: (error) => toast(say(error), { tone: "bad" }),
    onSettled: refresh,
  });
  return mutate;
}

export function useRefresh(key: "users" | "tenants" | "tokens") {
  const queries = useQueryClient();
  return () => {
    for (const head of [key, "audit"]) void queries.invalidateQueries({ queryKey: [head] });
  };
}
