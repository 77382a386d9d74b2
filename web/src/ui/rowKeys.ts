import { onBeforeUnmount, type ShallowRef } from "vue";
import { onShortcut } from "@/use/shortcuts";

/** Walks through a list by keys: `j` and `k` to a row, `Enter` opens it, `x` selects it. */
export function useRowKeys(selected: ShallowRef<ReadonlySet<string>>): void {
  const rows = () => [...document.querySelectorAll<HTMLElement>(".data tbody tr")];
  const links = () => rows().map((row) => row.querySelector<HTMLElement>("a, button, input"));
  const current = () => rows().findIndex((row) => row.contains(document.activeElement));

  function go(step: number): void {
    const at = Math.max(0, Math.min(rows().length - 1, current() + step));
    const link = rows()[at]?.querySelector<HTMLElement>("a") ?? links()[at];
    link?.focus();
  }
  function select(): void {
    const key = rows()[current()]?.dataset.key;
    if (key === undefined) return;
    const next = new Set(selected.value);
    if (!next.delete(key)) next.add(key);
    selected.value = next;
  }
  function search(): void {
    document.querySelector<HTMLElement>("[data-search]")?.focus();
  }
  function filter(): void {
    document.querySelector<HTMLElement>(".filters input, .filters summary")?.focus();
  }
  const stops = [
    onShortcut("j", () => go(1)),
    onShortcut("k", () => go(-1)),
    onShortcut("x", select),
    onShortcut("/", search),
    onShortcut("f", filter),
  ];
  onBeforeUnmount(() => stops.forEach((stop) => stop()));
}
