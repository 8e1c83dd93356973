import { expect, test } from "vitest";
import { numberOf } from "../src/graph/numbers";

test.each([
  ["1,000", true, 1000],
  ["12 000 000", true, 12_000_000],
  ["1e3", true, 1000],
  ["-4", true, -4],
  ["1.500", true, null],
  ["1,5", true, null],
  ["0x10", true, null],
  ["", true, null],
  ["0,5", false, 0.5],
  ["1e-4", false, 1e-4],
  [".5", false, 0.5],
  ["1,000.5", false, null],
  ["many", false, null],
] as const)("%j as a whole number (%s) means %s", (typed, isWhole, meant) => {
  expect(numberOf(typed, isWhole)).toBe(meant);
});
