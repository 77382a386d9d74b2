/** The path under which a reverse proxy shows the console: "" or "/jobs". */
export const prefix =
  document.querySelector<HTMLMetaElement>('meta[name="taskyard-prefix"]')?.content ?? "";
