import { computed } from "vue";
import { useStored } from "./stored";

/** Keys that do something. They are off while somebody types, and can be switched off. */

export const shortcuts = useStored<"on" | "off">("shortcuts", "on", ["on", "off"]);
export const areShortcutsOn = computed(() => shortcuts.value === "on");

type Action = () => void;
const actions = new Map<string, Action[]>();
let pending = "";
let pendingUntil = 0;

/** Do something at a key ("r") or at two in a row ("g r"); the newest wins. Returns the way back. */
export function onShortcut(keys: string, action: Action): () => void {
  actions.set(keys, [...(actions.get(keys) ?? []), action]);
  return () => {
    actions.set(
      keys,
      (actions.get(keys) ?? []).filter((other) => other !== action),
    );
  };
}

/** Whether somebody types into what has the focus. */
export function isTyping(target: EventTarget | null): boolean {
  return (
    target instanceof HTMLElement &&
    (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName)) &&
    (target as HTMLInputElement).type !== "checkbox"
  );
}

/** The keys that a press completes, given what was pressed before. */
export function completed(before: string, key: string, known: (keys: string) => boolean): string | null {
  const both = before ? `${before} ${key}` : key;
  if (known(both)) return both;
  return known(key) ? key : null;
}

function onKey(event: KeyboardEvent): void {
  const isModified = event.ctrlKey || event.metaKey || event.altKey;
  if (!areShortcutsOn.value || isModified || isTyping(event.target)) return;
  if (document.querySelector("dialog[open]")) return;
  const before = Date.now() < pendingUntil ? pending : "";
  const keys = completed(before, event.key, (word) => (actions.get(word) ?? []).length > 0);
  pending = keys === null ? event.key : "";
  pendingUntil = Date.now() + 1_000;
  const action = keys === null ? undefined : actions.get(keys)?.at(-1);
  if (action) {
    event.preventDefault();
    action();
  }
}

window.addEventListener("keydown", onKey);
