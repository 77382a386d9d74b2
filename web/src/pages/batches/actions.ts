import { useMutation, useQueryClient } from "@tanstack/vue-query";
import { useI18n } from "vue-i18n";
import { cancelBatch, pauseBatch, resumeBatch, retryFailed } from "@/api/batches";
import type { Batch } from "@/api/types";
import { confirm } from "@/ui/confirm";
import { toast } from "@/ui/toast";
import { count } from "@/use/format";
import { useProblems } from "@/use/problems";

/** What can be done to batches, in the list and on the page of one. */

const VERBS = { pause: pauseBatch, resume: resumeBatch, "retry-failed": retryFailed, cancel: cancelBatch } as const;
export type Verb = keyof typeof VERBS;

/** The verbs that fit how far a batch is. */
export function verbsOf(batch: Batch): Verb[] {
  const verbs: Verb[] = [];
  const isLeft = batch.processed_count < batch.total_count;
  if (batch.status === "running") verbs.push("pause");
  if (batch.status === "paused" || (batch.status === "failed" && isLeft)) verbs.push("resume");
  if (batch.failed_count > 0 && batch.status !== "pending") verbs.push("retry-failed");
  if (["pending", "running", "paused"].includes(batch.status)) verbs.push("cancel");
  return verbs;
}

export function useBatchActions() {
  const { t, locale } = useI18n();
  const { say } = useProblems();
  const queries = useQueryClient();
  const { mutate, isPending } = useMutation({
    mutationFn: ({ verb, batch }: { verb: Verb; batch: Batch }) => VERBS[verb](batch.id),
    onSuccess: (_, { verb, batch }) => toast(t(`batches.did.${verb}`, { name: batch.name })),
    onError: (error) => toast(say(error), { tone: "bad" }),
    onSettled: () => void queries.invalidateQueries({ queryKey: ["batches"] }),
  });

  async function act(verb: Verb, batch: Batch): Promise<void> {
    const left = batch.total_count - batch.processed_count;
    const n = count(verb === "retry-failed" ? batch.failed_count : left, locale.value);
    const isAsked = verb === "cancel" || verb === "retry-failed";
    const question = {
      title: t(`batches.ask.${verb}`, { n, name: batch.name }),
      text: t(`batches.text.${verb}`, { n }),
      verb: t(`batches.verb.${verb}`),
      danger: verb === "cancel",
    };
    if (!isAsked || (await confirm(question))) mutate({ verb, batch });
  }
  return { act, isPending };
}
