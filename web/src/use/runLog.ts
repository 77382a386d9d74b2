import { onScopeDispose, ref, watch, type Ref } from "vue";
import { readLog } from "@/api/runs";
import { backoff } from "./connection";

/** The log of a run, part by part, as long as it runs. */
export function useRunLog(run: Ref<string>) {
  const text = ref("");
  const isRunning = ref(true);
  const error = ref<unknown>(null);
  let timer: ReturnType<typeof setTimeout> | undefined;
  let asked = "";

  async function read(id: string, after: number, attempt: number): Promise<void> {
    if (id !== asked) return;
    try {
      const part = await readLog(id, after);
      if (id !== asked) return;
      text.value += part.text;
      isRunning.value = part.running;
      error.value = null;
      if (part.more) return await read(id, part.after, 0);
      if (part.running) timer = setTimeout(() => void read(id, part.after, 0), 1_000);
    } catch (reason) {
      error.value = reason;
      timer = setTimeout(() => void read(id, after, attempt + 1), backoff(attempt));
    }
  }
  watch(
    run,
    (id) => {
      clearTimeout(timer);
      asked = id;
      text.value = "";
      isRunning.value = true;
      void read(id, -1, 0);
    },
    { immediate: true },
  );
  onScopeDispose(() => {
    asked = "";
    clearTimeout(timer);
  });
  return { text, isRunning, error };
}
