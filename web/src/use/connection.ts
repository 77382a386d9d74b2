import { computed, ref } from "vue";

/** Whether the server answers. The client tells it, the banner shows it. */

const lastAnswer = ref<number | null>(null);
const lost = ref(false);

export const connection = {
  lost: computed(() => lost.value),
  /** When the server answered last (milliseconds). */
  lastAnswer: computed(() => lastAnswer.value),
  answered(): void {
    lost.value = false;
    lastAnswer.value = Date.now();
  },
  failed(): void {
    lost.value = true;
  },
};

/** Milliseconds until the next attempt: 1, 2, 4, 8, then 10 s. */
export function backoff(attempt: number): number {
  return Math.min(10_000, 1_000 * 2 ** attempt);
}
