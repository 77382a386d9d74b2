import { ref } from "vue";

/** Saved forms of new tasks, in this browser; `{{today}}` and `{{now}}` become dates when used. */

export interface TaskForm {
  taskType: string;
  params: string;
  queue: string;
  due: string;
  priority: string;
  maxRetries: string;
  uniqueKey: string;
  tenant: string;
}

const KEY = "taskyard.templates";

export const EMPTY: TaskForm = {
  taskType: "",
  params: "{}",
  queue: "",
  due: "",
  priority: "0",
  maxRetries: "",
  uniqueKey: "",
  tenant: "",
};

function read(): Record<string, TaskForm> {
  try {
    return JSON.parse(localStorage.getItem(KEY) ?? "{}") as Record<string, TaskForm>;
  } catch {
    return {};
  }
}

export const templates = ref(read());

export function saveTemplate(name: string, form: TaskForm): void {
  templates.value = { ...templates.value, [name]: { ...form } };
  localStorage.setItem(KEY, JSON.stringify(templates.value));
}

export function removeTemplate(name: string): void {
  const { [name]: _, ...others } = templates.value;
  templates.value = others;
  localStorage.setItem(KEY, JSON.stringify(others));
}

/** A text with its variables filled in. */
export function fill(text: string, now = new Date()): string {
  const iso = now.toISOString();
  return text.replaceAll("{{today}}", iso.slice(0, 10)).replaceAll("{{now}}", iso);
}
