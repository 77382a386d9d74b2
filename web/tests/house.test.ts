import { readFileSync, readdirSync, statSync } from "node:fs";
import { join, relative } from "node:path";
import { describe, expect, it } from "vitest";
import en from "../src/locales/en.json";
import zh from "../src/locales/zh-CN.json";
import { PAGES } from "../src/app/pages";

/** The rules that every file of the console keeps. */

const SRC = join(process.cwd(), "src");
const files = (folder: string): string[] =>
  readdirSync(folder).flatMap((name) => {
    const path = join(folder, name);
    return statSync(path).isDirectory() ? files(path) : [path];
  });
const own = files(SRC)
  .filter((path) => /\.(vue|ts)$/.test(path) && !path.endsWith("schema.d.ts"))
  .map((path) => ({ name: relative(SRC, path), text: readFileSync(path, "utf8") }));
const broken = (pattern: RegExp, where = /./) =>
  own.filter(({ name, text }) => where.test(name) && pattern.test(text)).map(({ name }) => name);

function keys(catalogue: object, head = ""): Map<string, string> {
  const found = new Map<string, string>();
  for (const [name, value] of Object.entries(catalogue)) {
    if (typeof value === "string") found.set(head + name, value);
    else for (const [key, text] of keys(value as object, `${head}${name}.`)) found.set(key, text);
  }
  return found;
}
const holes = (text: string) => [...text.matchAll(/\{(\w+)\}/g)].map((match) => match[1]).sort();

describe("languages", () => {
  it("have the same keys", () => expect([...keys(zh).keys()].sort()).toEqual([...keys(en).keys()].sort()));
  it("have the same holes", () => {
    const other = keys(zh);
    expect([...keys(en)].filter(([key, text]) => String(holes(text)) !== String(holes(other.get(key) ?? "")))).toEqual([]);
  });
  it("have every key that is used", () => {
    const used = own.flatMap(({ text }) => [...text.matchAll(/\bt\(\s*["']([\w.-]+)["']/g)].map((match) => match[1]!));
    expect([...new Set(used)].filter((key) => !keys(en).has(key))).toEqual([]);
  });
});

describe("files", () => {
  it("are short", () => expect(own.filter(({ text }) => text.split("\n").length > 201).map(({ name }) => name)).toEqual([]));
  it("have no any, no v-html, no inline style", () => {
    expect(broken(/:\s*any\b|as any\b|<any>|v-html|\sstyle="|:style=/)).toEqual([]);
  });
  it("write no DTO by hand", () => expect(broken(/interface .*(VO|DTO|Response)\b/)).toEqual([]));
  it("use Element Plus in ui alone", () => expect(broken(/from "element-plus/, /^(?!ui\/)/)).toEqual([]));
  it("let ui know neither api nor pages", () => expect(broken(/from "@\/(api|pages|app)\//, /^ui\//)).toEqual([]));
});

it("has a name for every page", () => {
  expect(PAGES.filter(({ name }) => !keys(en).has(`pages.${name}`))).toEqual([]);
});
