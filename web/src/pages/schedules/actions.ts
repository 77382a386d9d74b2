import { useMutation, useQueryClient } from "@tanstack/vue-query";
import { useI18n } from "vue-i18n";
import { deleteSchedule, triggerSchedule, turnSchedule } from "@/api/schedules";
import type { Schedule } from "@/api/types";
import { confirm } from "@/ui/confirm";
import { toast } from "@/ui/toast";
import { useProblems } from "@/use/problems";

/** What can be done to schedules, here and on the page of one. */
export function useScheduleActions() {
  const { t } = useI18n();
  const { say } = useProblems();
  const queries = useQueryClient();
  const { mutate, mutateAsync, isPending } = useMutation({
    mutationFn: (change: () => Promise<unknown>) => change(),
    onError: (error) => toast(say(error), { tone: "bad" }),
    onSettled: () => {
      for (const key of ["schedules", "runs"]) void queries.invalidateQueries({ queryKey: [key] });
    },
  });

  /** At once, and for ten seconds it can be undone. */
  function turn(ids: readonly (number | string)[], on: boolean): void {
    const change = (to: boolean) => () => Promise.all(ids.map((id) => turnSchedule(id, to)));
    mutate(change(on), {
      onSuccess: () => toast(t(on ? "schedules.turnedOn" : "schedules.turnedOff", { n: ids.length }), { undo: () => mutate(change(!on)) }),
    });
  }

  function trigger(schedule: Schedule): void {
    mutate(async () => {
      const task = await triggerSchedule(schedule.id);
      const to = { name: "task", params: { queue: task.queue, id: String(task.id) } };
      toast(t("schedules.triggered", { name: schedule.name }), { to, link: t("tasks.open") });
    });
  }
  async function triggerAll(ids: readonly string[]): Promise<void> {
    const yes = await confirm({
      title: t("schedules.askRun", { n: ids.length }),
      text: t("schedules.runText"),
      verb: t("verb.run-now"),
    });
    if (yes) mutate(() => Promise.all(ids.map((id) => triggerSchedule(id))));
  }
  /** Whether they are gone. */
  async function remove(ids: readonly (number | string)[], title: string): Promise<boolean> {
    const yes = await confirm({ title, text: t("schedules.deleteText"), verb: t("verb.delete"), danger: true });
    if (!yes) return false;
    return mutateAsync(() => Promise.all(ids.map((id) => deleteSchedule(id)))).then(
      () => true,
      () => false,
    );
  }
  return { turn, trigger, triggerAll, remove, isPending };
}
