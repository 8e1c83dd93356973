import { expect, test } from "vitest";
import { parsedDocument } from "../src/graph/documentText";
import { numberOf, roundedNumbers } from "../src/graph/numbers";

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

test("numbers that were rounded while they were read are found, also in lists and in subgraphs", () => {
  const document = parsedDocument(`{"format": "latentloom/1",
    "nodes": {"train": {"type": "TrainLoRA", "fields": {"seed": 9007199254740993, "rank": 8, "strength": 0.5}}},
    "subgraphs": {"part": {"nodes": {"deep": {"type": "X", "fields": {"seeds": [1, 9223372036854775807]}}}}}}`);
  expect(document && roundedNumbers(document)).toEqual(["train.seed", "deep.seeds"]);
});
