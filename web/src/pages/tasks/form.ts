import type { NewTask } from "@/api/types";
import { parseObject } from "@/use/schemaForm";
import { fill, type TaskForm } from "@/use/templates";

/** What a form says, as the API takes it; what is empty is left to the handler or the queue. */
export function toNewTask(form: TaskForm, now = new Date()): NewTask {
  const task: Record<string, unknown> = {
    task_type: form.taskType,
    task_params: parseObject(fill(form.params, now)) ?? {},
    queue: form.queue || undefined,
    schedule_time: form.due ? new Date(form.due).toISOString() : undefined,
    priority: Number(form.priority) || undefined,
    max_retries: form.maxRetries === "" ? undefined : Number(form.maxRetries),
    unique_key: fill(form.uniqueKey, now) || undefined,
    tenant_id: form.tenant || undefined,
  };
  return Object.fromEntries(Object.entries(task).filter(([, value]) => value !== undefined)) as NewTask;
}
