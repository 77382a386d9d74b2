import { shallowRef } from "vue";

/** Asks before something is done: the title is verb, object and count, the body its consequence. */

export interface Question {
  title: string;
  text: string;
  verb: string;
  /** Cannot be taken back: Cancel has the focus. */
  danger?: boolean;
  /** What has to be typed first, where it cannot be undone at all. */
  typed?: string;
  answer(yes: boolean): void;
}

export const question = shallowRef<Question | null>(null);

export function confirm(asked: Omit<Question, "answer">): Promise<boolean> {
  question.value?.answer(false);
  return new Promise((resolve) => {
    question.value = {
      ...asked,
      answer(yes) {
        question.value = null;
        resolve(yes);
      },
    };
  });
}
