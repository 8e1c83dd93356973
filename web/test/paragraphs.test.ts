import { expect, test } from "vitest";
import { fieldsOf } from "../src/graph/palette";
import { paragraphs } from "../src/graph/paragraphs";
import { palette } from "./graphs";

test.each([
  ["one line", "one line"],
  ["left out;\nof an animated one", "left out; of an animated one"],
  ["Short.\n\nA paragraph \n  of three\nlines.\n", "Short.\n\nA paragraph of three lines."],
  ["One of\n- this\n- or that,\n  which is long", "One of\n- this\n- or that, which is long"],
  ["a\n\n\nb", "a\n\n\nb"],
])("the lines of each paragraph of %j are joined", (docstring, text) => {
  expect(paragraphs(docstring)).toBe(text);
});

test("no help of a node or field breaks inside a sentence", () => {
  const helps = [...palette.values()].flatMap((node) => [node.description, ...fieldsOf(node).map((field) => field.help)]);
  expect(helps.length).toBeGreaterThan(300);
  expect(helps.filter((help) => /\S\n\S/.test(help))).toEqual([]);
  expect(palette.get("LoadImages")?.description).toContain("reported and left out; of an animated picture");
});
