import { ref, watch, type Ref } from "vue";

/** A choice that is kept in this browser; where storage is forbidden it holds until reload. */
export function useStored<T extends string>(name: string, fallback: T, known?: readonly T[]): Ref<T> {
  const key = `taskyard.${name}`;
  const choice = ref(read(key, fallback, known)) as Ref<T>;
  watch(choice, (value) => {
    try {
      localStorage.setItem(key, value);
    } catch {
      // Forbidden or full: nothing to be done, and nothing lost but the memory of a choice.
    }
  });
  return choice;
}

function read<T extends string>(key: string, fallback: T, known?: readonly T[]): T {
  try {
    const text = localStorage.getItem(key) as T | null;
    return text !== null && (known === undefined || known.includes(text)) ? text : fallback;
  } catch {
    return fallback;
  }
}
