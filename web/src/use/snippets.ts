import type { NewTask } from "@/api/types";

/** The same task to be, as other programs would enqueue it. */

const quoted = (text: string) => `'${text.replaceAll("'", "''")}'`;

export function asCurl(task: NewTask, origin: string): string {
  const body = JSON.stringify(task).replaceAll("'", "'\\''");
  return [
    `curl -X POST ${origin}/api/v1/tasks \\`,
    `  -H "Authorization: Bearer $TASKYARD_TOKEN" -H "Content-Type: application/json" \\`,
    `  -d '${body}'`,
  ].join("\n");
}

export function asSql(task: NewTask, table: string): string {
  const columns: Record<string, string> = {
    task_type: quoted(task.task_type),
    task_params: quoted(JSON.stringify(task.task_params ?? {})),
  };
  if (task.schedule_time) columns.schedule_time = quoted(task.schedule_time);
  if (task.max_retries != null) columns.max_retries = String(task.max_retries);
  if (task.priority) columns.priority = String(task.priority);
  if (task.unique_key) columns.unique_key = quoted(task.unique_key);
  if (task.tenant_id) columns.tenant_id = quoted(task.tenant_id);
  return `INSERT INTO ${table} (${Object.keys(columns).join(", ")})\nVALUES (${Object.values(columns).join(", ")});`;
}

export function asPython(task: NewTask): string {
  const params = JSON.stringify(task.task_params ?? {}, null, 4)
    .replaceAll(/\btrue\b/g, "True")
    .replaceAll(/\bfalse\b/g, "False")
    .replaceAll(/\bnull\b/g, "None");
  const options = task.queue ? `, queue=${JSON.stringify(task.queue)}` : "";
  return `yard.enqueue(${JSON.stringify(task.task_type)}, ${params}${options})`;
}
