import type { FireRule, NewSchedule, Schedule } from "@/api/types";
import { stringify } from "@/use/exact";
import { parseObject } from "@/use/schemaForm";

/** A schedule as a form: every field is a text, and empty leaves it to the default. */

type Overlap = NonNullable<NewSchedule["overlap"]>;
type Misfire = NonNullable<NewSchedule["misfire"]>;
export const OVERLAPS: readonly Overlap[] = ["allow", "skip", "queue", "replace"];
export const MISFIRES: readonly Misfire[] = ["skip", "one", "all"];
export const DIALECTS: readonly NonNullable<NewSchedule["dialect"]>[] = ["unix", "quartz"];

export interface ScheduleForm {
  name: string;
  task_type: string;
  queue: string;
  rule: "cron" | "interval";
  cron_expression: string;
  dialect: string;
  interval: string;
  time_zone: string;
  params: string;
  retry_count: string;
  retry_interval: string;
  monitor_timeout: string;
  timeout: string;
  misfire: string;
  overlap: string;
  status: boolean;
}

export function formOf(schedule: Schedule | undefined, zone: string): ScheduleForm {
  const text = (value: string | number | null | undefined) => String(value ?? "");
  return {
    name: text(schedule?.name),
    task_type: text(schedule?.task_type),
    queue: text(schedule?.queue),
    rule: schedule?.interval ? "interval" : "cron",
    cron_expression: text(schedule?.cron_expression),
    dialect: schedule?.dialect ?? "unix",
    interval: text(schedule?.interval),
    time_zone: schedule?.time_zone ?? zone,
    params: schedule?.task_params ? stringify(schedule.task_params) : "{}",
    retry_count: text(schedule?.retry_count),
    retry_interval: text(schedule?.retry_interval),
    monitor_timeout: text(schedule?.monitor_timeout),
    timeout: text(schedule?.timeout),
    misfire: schedule?.misfire ?? "one",
    overlap: schedule?.overlap ?? "allow",
    status: schedule ? schedule.status === 1 : true,
  };
}

/** When it fires, as the API takes it. */
export function ruleOf(form: ScheduleForm): Omit<FireRule, "count"> {
  const zone = { time_zone: form.time_zone.trim() || null };
  if (form.rule === "interval") return { interval: given(form.interval), cron_expression: null, ...zone };
  return {
    cron_expression: form.cron_expression.trim(),
    dialect: form.dialect as NonNullable<NewSchedule["dialect"]>,
    interval: null,
    ...zone,
  };
}

export const hasRule = (form: ScheduleForm) =>
  (form.rule === "cron" ? form.cron_expression : form.interval).trim() !== "";

/** A number of seconds, or a duration in words; null where nothing is said. */
function given(text: string): number | string | null {
  const said = text.trim();
  if (said === "") return null;
  return Number.isFinite(Number(said)) ? Number(said) : said;
}

/** What the form says; parameters that nobody touched stay as they are, with their secrets. */
export function toSchedule(form: ScheduleForm, before: ScheduleForm | undefined): NewSchedule {
  const params = form.params === before?.params ? {} : { task_params: parseObject(form.params) ?? {} };
  return {
    name: form.name.trim(),
    task_type: form.task_type,
    ...ruleOf(form),
    ...params,
    queue: form.queue || null,
    retry_count: form.retry_count.trim() === "" ? null : Number(form.retry_count),
    retry_interval: given(form.retry_interval),
    monitor_timeout: given(form.monitor_timeout),
    timeout: given(form.timeout),
    misfire: form.misfire as Misfire,
    overlap: form.overlap as Overlap,
    status: form.status ? 1 : 0,
  };
}
