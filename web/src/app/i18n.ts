import { createI18n } from "vue-i18n";
import { watch } from "vue";
import { useStored } from "@/use/stored";

/** The languages, and which one is spoken: the one chosen, else the browser's. */
export const LOCALES = { en: "English", "zh-CN": "中文" } as const;
export type Locale = keyof typeof LOCALES;

const catalogues: Record<Locale, () => Promise<{ default: Record<string, unknown> }>> = {
  en: () => import("@/locales/en.json"),
  "zh-CN": () => import("@/locales/zh-CN.json"),
};

const known = Object.keys(LOCALES) as Locale[];
const spoken: Locale = navigator.languages.some((tag) => tag.toLowerCase().startsWith("zh"))
  && !navigator.languages[0]?.toLowerCase().startsWith("en")
  ? "zh-CN"
  : "en";

export const locale = useStored<Locale>("locale", spoken, known);

/** A link may ask for a language ("#lang=zh-CN"); a fragment outlives the redirect of a sign-in. */
const asked = known.find((one) => location.hash === `#lang=${one}`);
if (asked) locale.value = asked;

/** Keys that no catalogue has; a test reads it. */
export const missing: string[] = [];

export const i18n = createI18n({
  legacy: false,
  locale: locale.value as string,
  messages: {},
  missing: (_, key) => {
    missing.push(key);
    return key;
  },
});

async function load(wanted: Locale): Promise<void> {
  if (!(i18n.global.availableLocales as string[]).includes(wanted)) {
    const catalogue = await catalogues[wanted]();
    i18n.global.setLocaleMessage(wanted, catalogue.default as never);
  }
  i18n.global.locale.value = wanted;
  document.documentElement.lang = wanted;
}

/** Load the language before the first paint; later choices are followed. */
export async function startLanguage(): Promise<void> {
  await load(locale.value);
  watch(locale, (wanted) => void load(wanted));
}
