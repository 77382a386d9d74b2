import { computed, ref, watchEffect } from "vue";
import { useStored } from "./stored";

/** Owns whether the page is dark. `public/theme.js` sets the class before the first paint. */
export const THEMES = ["system", "light", "dark"] as const;
export type Theme = (typeof THEMES)[number];

export const theme = useStored<Theme>("theme", "system", THEMES);

const system = matchMedia("(prefers-color-scheme: dark)");
const systemIsDark = ref(system.matches);
system.addEventListener("change", (event) => (systemIsDark.value = event.matches));

export const isDark = computed(() =>
  theme.value === "system" ? systemIsDark.value : theme.value === "dark",
);

watchEffect(() => document.documentElement.classList.toggle("dark", isDark.value));

/** The next theme in the row, for the key `l`. */
export function nextTheme(): void {
  theme.value = isDark.value ? "light" : "dark";
}
