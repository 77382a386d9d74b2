import { expect, it } from "vitest";
import { deskOf, STEPS, touring } from "@/use/tour";

it("follows the demo's link alone, and only to this machine", () => {
  expect(deskOf("#tour=http://127.0.0.1:41234&lang=zh-CN")).toBe("http://127.0.0.1:41234");
  for (const hash of ["", "#lang=en", "#tour=https://example.com", "#tour=http://127.0.0.1:1@example.com", "#tour=javascript:0"]) {
    expect(deskOf(hash)).toBeNull();
  }
});

it("is not there without one", () => {
  touring.go(STEPS.length);
  expect([touring.desk.value, touring.step.value]).toEqual([undefined, 0]);
});
