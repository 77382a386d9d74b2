import { ref } from "vue";
import type { RouteLocationRaw } from "vue-router";

/** Short messages of what was done, with a way to it. */

export interface Toast {
  id: number;
  text: string;
  tone: "good" | "bad";
  to?: RouteLocationRaw;
  link?: string;
  /** Takes back what was done, as long as it stands there. */
  undo?(): void;
}

export const toasts = ref<Toast[]>([]);
let last = 0;

export function toast(text: string, more: Partial<Omit<Toast, "id" | "text">> = {}): void {
  const id = ++last;
  toasts.value = [...toasts.value.slice(-2), { id, text, tone: "good", ...more }];
  setTimeout(() => dismiss(id), more.tone === "bad" ? 12_000 : more.undo ? 10_000 : 8_000);
}

export function dismiss(id: number): void {
  toasts.value = toasts.value.filter((toast) => toast.id !== id);
}
