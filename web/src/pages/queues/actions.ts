import { useMutation, useQueryClient } from "@tanstack/vue-query";
import { useI18n } from "vue-i18n";
import { deleteQueue, pauseQueue, resumeQueue, updateQueue } from "@/api/platform";
import { bulkTasks, listTasks, type TasksQuery } from "@/api/tasks";
import type { Queue } from "@/api/types";
import { confirm } from "@/ui/confirm";
import { toast } from "@/ui/toast";
import { count } from "@/use/format";
import { useProblems } from "@/use/problems";

/** What can be done to queues, in the list and on the page of one. */
export function useQueueActions() {
  const { t, locale } = useI18n();
  const { say } = useProblems();
  const queries = useQueryClient();
  const { mutate, mutateAsync, isPending } = useMutation({
    mutationFn: (change: () => Promise<unknown>) => change(),
    onError: (error) => toast(say(error), { tone: "bad" }),
    onSettled: () => {
      for (const key of ["queues", "tasks", "audit"]) void queries.invalidateQueries({ queryKey: [key] });
    },
  });

  /** At once, and for ten seconds it can be undone. */
  function turn(names: readonly string[], on: boolean): void {
    const change = (to: boolean) => () => Promise.all(names.map((name) => (to ? resumeQueue(name) : pauseQueue(name))));
    mutate(change(on), {
      onSuccess: () =>
        toast(t(on ? "queues.resumed" : "queues.paused", { names: names.join(", ") }), {
          undo: () => mutate(change(!on)),
        }),
    });
  }
  const setWorkers = (names: readonly string[], max_workers: number) =>
    mutate(() => Promise.all(names.map((name) => updateQueue(name, { max_workers }))));

  /** Whether it is gone. */
  async function remove(queue: Queue): Promise<boolean> {
    const yes = await confirm({
      title: t("queues.askDelete", { name: queue.queue_name }),
      text: t("queues.deleteText", { table: queue.table_name }),
      verb: t("verb.delete"),
      danger: true,
      typed: queue.queue_name,
    });
    if (!yes) return false;
    return mutateAsync(() => deleteQueue(queue.queue_name)).then(
      () => true,
      () => false,
    );
  }
  /** Deletes what waits in it; what runs goes on. */
  async function purge(name: string): Promise<void> {
    const filter = { queue: name, status: "pending" };
    const { total } = await listTasks({ queue: [name], status: ["pending"], limit: 1 } as unknown as TasksQuery);
    const yes = await confirm({
      title: t("queues.askPurge", { n: count(total, locale.value), name }),
      text: t("queues.purgeText"),
      verb: t("queues.purge"),
      danger: true,
      typed: name,
    });
    if (!yes) return;
    mutate(async () => {
      const { done } = await bulkTasks({ noun: "tasks", action: "delete", filter, expected_count: total, reason: "purged", priority: 0 });
      toast(t("queues.purged", { n: count(done, locale.value), name }));
    });
  }
  return { turn, setWorkers, remove, purge, isPending };
}
