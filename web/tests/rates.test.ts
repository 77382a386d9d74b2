import { expect, it } from "vitest";
import { failureRates } from "@/use/rates";

it("shows what failed most, and leaves out what never did", () => {
  const line = (name: string, values: (number | null)[]) => ({ name, other: false, values });
  const found = failureRates([line("good", [1, 1]), line("some", [0.5, null]), line("bad", [0, 0])]);
  expect(found.map(({ name, values }) => [name, values])).toEqual([["bad", [1, 1]], ["some", [0.5, null]]]);
  expect(failureRates([line("a", [0]), line("b", [0.5])], 1).map(({ name }) => name)).toEqual(["a"]);
});
