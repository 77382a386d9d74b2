import { createI18n } from "vue-i18n";
import { watch } from "vue";
import { locale, type Locale } from "@/use/language";

/** The texts: loaded as they are needed, and which ones lack. */
const catalogues: Record<Locale, () => Promise<{ default: Record<string, unknown> }>> = {
  en: () => import("@/locales/en.json"),
  "zh-CN": () => import("@/locales/zh-CN.json"),
};

const root = document.documentElement;
/** Keys that no catalogue has; their number stands on the page, where tests read it. */
const missing = new Set<string>();
root.dataset.missingTexts = "0";

export const i18n = createI18n({
  legacy: false,
  locale: locale.value as string,
  messages: {},
  missing: (_, key) => {
    missing.add(key);
    root.dataset.missingTexts = String(missing.size);
    return key;
  },
});

async function load(wanted: Locale): Promise<void> {
  if (!(i18n.global.availableLocales as string[]).includes(wanted)) {
    const catalogue = await catalogues[wanted]();
    i18n.global.setLocaleMessage(wanted, catalogue.default as never);
  }
  i18n.global.locale.value = wanted;
  root.lang = wanted;
}

/** Load the language before the first paint; later choices are followed. */
export async function startLanguage(): Promise<void> {
  await load(locale.value);
  watch(locale, (wanted) => void load(wanted));
}
