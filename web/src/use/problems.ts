import { useI18n } from "vue-i18n";
import { NO_ANSWER, Problem } from "./problem";

/** What is said of an error in the reader's language; the server's own words where there are none. */
export function useProblems() {
  const { t, te } = useI18n();
  function say(error: unknown): string {
    if (!(error instanceof Problem)) return String(error instanceof Error ? error.message : error);
    if (error.code === NO_ANSWER) return t("problem.noAnswer");
    const key = `errors.${error.code}`;
    return te(key) ? t(key, { ...shown(error.params), detail: error.message }) : error.message;
  }
  return { say };
}

/** Lists as text, so that a sentence can hold them. */
function shown(params: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(params).map(([name, value]) => [
      name,
      Array.isArray(value) ? value.join(", ") : value,
    ]),
  );
}
