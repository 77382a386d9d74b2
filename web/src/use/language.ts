import { useStored } from "./stored";

/** The languages, and which one is spoken: the one chosen, else the browser's. */
export const LOCALES = { en: "English", "zh-CN": "中文" } as const;
export type Locale = keyof typeof LOCALES;

const known = Object.keys(LOCALES) as Locale[];
const spoken: Locale = navigator.languages.some((tag) => tag.toLowerCase().startsWith("zh"))
  && !navigator.languages[0]?.toLowerCase().startsWith("en")
  ? "zh-CN"
  : "en";

export const locale = useStored<Locale>("locale", spoken, known);

/** A link may ask for a language ("#lang=zh-CN"); a fragment outlives the redirect of a sign-in. */
const asked = known.find((one) => location.hash.slice(1).split("&").includes(`lang=${one}`));
if (asked) locale.value = asked;
