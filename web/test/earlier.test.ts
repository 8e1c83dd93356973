import { expect, test } from "vitest";
import { mayBeEarlier } from "../src/graph/earlier";
import { makePalette, type NodeDescription, versionOf } from "../src/graph/palette";
import shipped from "./palette.json";

const palette = makePalette(shipped.nodes as unknown as NodeDescription[]);
const document = (entry: object) => ({ format: "latentloom/1" as const, nodes: { a: { type: "TrainTI", ...entry } } });

test("a document with the names of today needs no second look", () => {
  expect(mayBeEarlier(document({ fields: { placeholder_token: "<x>" } }), palette)).toBe(false);
  expect(mayBeEarlier(document({ schema_version: 1 }), palette)).toBe(false);
});

test.each([
  ["a field that the class no longer has", { fields: { placeholder: "<x>" } }],
  ["a class that is not there", { type: "TrainTextualInversion" }],
  ["another version", { schema_version: 2 }],
])("the server looks at a document with %s", (_, entry) => {
  expect(mayBeEarlier(document(entry), palette)).toBe(true);
  const subgraphs = { s: { nodes: document(entry).nodes } };
  expect(mayBeEarlier({ format: "latentloom/1", subgraphs }, palette)).toBe(true);
});

test("a new node stores which names it uses", () => {
  expect(versionOf(palette.get("TrainTI"))).toEqual({ schema_version: 1 });
  expect(versionOf(undefined)).toEqual({});
});
