import { expect, test } from "vitest";
import { collapse } from "../src/graph/subgraph";
import { makeTab, outerName } from "../src/state/editor";
import { graph, palette } from "./graphs";

const CHAIN = graph({ a: "Number", b: "Scale", c: "Scale", d: "Scale" }, [
  "a.output>b.numbers",
  "b.output>c.numbers",
  "c.output>d.numbers",
]);

test("inside a subgraph its sockets have the names that they have outside", () => {
  const { document, id } = collapse(CHAIN, palette, new Set(["b", "c"]), "pair");
  const inside = makeTab(document, { inside: [id] });
  expect(outerName(inside, "b.numbers", "in")).not.toBe("");
  expect(outerName(inside, "c.output", "out")).not.toBe("");
  expect(outerName(inside, "c.numbers", "in")).toBe("");
  expect(outerName(makeTab(document), "b.numbers", "in")).toBe("");
});
