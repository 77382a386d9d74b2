/** What the first page loads, and the charts' chunk, must stay small (gzip). */
import { readFileSync, readdirSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { fileURLToPath } from "node:url";

const console_ = fileURLToPath(new URL("../../src/taskyard/console/", import.meta.url));
const FIRST = 230 * 1024;
const CHART = 190 * 1024;
const size = (file) => gzipSync(readFileSync(console_ + file)).length;
const assets = readdirSync(`${console_}assets`).map((name) => `assets/${name}`);
const entry = /src="\.\/(assets\/index-[^"]+\.js)"/.exec(readFileSync(`${console_}index.html`, "utf8"))[1];

/** A chunk and all that it imports at once, not what it may load later. */
function closure(file, seen = new Set()) {
  if (seen.has(file)) return seen;
  seen.add(file);
  const text = readFileSync(console_ + file, "utf8");
  for (const [, name] of text.matchAll(/(?:from|import)\s*"\.\/([^"]+\.js)"/g)) closure(`assets/${name}`, seen);
  return seen;
}

const first = closure(entry);
for (const page of ["AppShell", "ListView"]) {
  const chunk = assets.find((name) => name.startsWith(`assets/${page}-`) && name.endsWith(".js"));
  if (chunk) closure(chunk, first);
}
const largest = assets
  .filter((name) => /assets\/(List|Overview)-.*\.js$/.test(name))
  .map((name) => [...closure(name, new Set(first))].reduce((sum, file) => sum + size(file), 0));
const styles = assets.filter((name) => name.endsWith(".css")).reduce((sum, name) => sum + size(name), 0);
const words = Math.max(...assets.filter((name) => /assets\/(en|zh-CN)-/.test(name)).map(size));
const page = Math.max(...largest) + styles + words;
const chart = Math.max(0, ...assets.filter((name) => name.includes("LineChart")).map(size));
const kib = (bytes) => `${(bytes / 1024).toFixed(1)} KiB`;

console.log(`first page ${kib(page)} of ${kib(FIRST)}; chart ${kib(chart)} of ${kib(CHART)}`);
if (page > FIRST || chart > CHART) process.exit(1);
