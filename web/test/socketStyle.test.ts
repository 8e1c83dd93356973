import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { addTag, removeTag, replaceText } from "../src/graph/captions";
import { fieldsOf } from "../src/graph/palette";
import { estimatedHeight, foldedFields, mainFields } from "../src/graph/size";
import { smoothed } from "../src/graph/smoothing";
import { nameWords, oneOf, styleOf, typeWords } from "../src/graph/socketStyle";
import { own } from "./graphs";

test("every type has a look, always the same, and its own words", () => {
  for (const type of own.flatMap((node) => node.outputs.map((output) => output.type)))
    expect(styleOf(type)).toEqual(styleOf(type));
  expect(styleOf("Tomorrow").shape).toBeTruthy();
  expect(styleOf("Checkpoint or Tomorrow")).toEqual(styleOf("Checkpoint"));
  expect([typeWords("LatentDataset"), oneOf("ImageDataset"), typeWords("int"), nameWords("learning_rate")]).toEqual([
    "latent dataset",
    "an image dataset",
    "whole number",
    "learning rate",
  ]);
});

describe("sizes", () => {
  test.each(own.map((node) => [node.name, node] as const))("every field of %s is shown or folded, once", (_, node) => {
    const entry = { type: node.name };
    const folded = foldedFields(node, entry).flatMap(([, fields]) => fields);
    expect(new Set([...mainFields(node, entry), ...folded]).size).toBe(fieldsOf(node).length);
    expect(mainFields(node, entry).length + folded.length).toBe(fieldsOf(node).length);
    expect(estimatedHeight(node, entry)).toBeGreaterThanOrEqual(estimatedHeight(node, { ...entry, collapsed: true }));
  });
});

describe("captions", () => {
  test("a tag is added once and removed again", () => {
    expect(addTag("cat, sitting", " dog ")).toBe("cat, sitting, dog");
    expect(addTag("cat, dog", "dog")).toBe("cat, dog");
    expect(removeTag("cat, dog, cat", "cat")).toBe("dog");
    expect(removeTag("cat,dog", "fish")).toBe("cat,dog");
  });

  test("a text is replaced wherever it stands", () => {
    expect(replaceText("a cat, cats", "cat", "dog")).toBe("a dog, dogs");
    expect(replaceText("cat", "", "dog")).toBe("cat");
  });
});

test("a smoothed curve starts at its first value and stays between its extremes", () => {
  const numbers = fc.array(fc.integer({ min: -1000, max: 1000 }), { minLength: 1 });
  fc.assert(
    fc.property(numbers, fc.double({ min: 0, max: 0.99, noNaN: true }), (values, weight) => {
      const curve = smoothed(values, weight);
      expect(curve[0]).toBeCloseTo(values[0] ?? 0);
      for (const value of curve) {
        expect(value).toBeGreaterThanOrEqual(Math.min(...values) - 1e-6);
        expect(value).toBeLessThanOrEqual(Math.max(...values) + 1e-6);
      }
    }),
  );
});
