import { expect, test } from "vitest";
import { controlOf, hasOwn } from "../src/fields/controls";
import { type FieldSpec, fieldsOf } from "../src/graph/palette";
import { fieldOf, own } from "./graphs";

const sample = (type: string, name: string, widget: string): FieldSpec => {
  const field = fieldOf(type, name);
  if (!field) throw new Error(`${type} has no ${name}`);
  return { ...field, widget };
};

test("every widget that our own nodes name has its row", () => {
  const named = own.flatMap((node) => fieldsOf(node)).filter((field) => field.widget !== "");
  expect(named.length).toBeGreaterThan(10);
  expect(named.filter((field) => !hasOwn(field)).map((field) => field.widget)).toEqual([]);
});

test("a widget that the editor has not falls back to the control of its kind of value", () => {
  for (const widget of ["stars", "constructor", ""]) {
    const [count, mode] = [sample("TrainLoRA", "max_steps", widget), sample("TrainLoRA", "optimizer", widget)];
    expect(hasOwn(count)).toBe(false);
    expect(controlOf(count)).toBe(controlOf({ ...count, widget: "integer" }));
    expect(controlOf(mode)).toBe(controlOf({ ...mode, widget: "choice" }));
  }
});
