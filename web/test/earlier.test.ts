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

const graph = {
  format: "latentloom/1" as const,
  nodes: {
    m: { type: "LoadModel" },
    t: { type: "TrainCLIP" },
    g: { type: "XYGrid", fields: { x: "t.max_steps", x_values: "m.gone of it" } },
  },
  wires: [{ from: "m.output", to: "t.model" }],
};

test("wires and sweeps of names of today need no second look", () => {
  expect(mayBeEarlier(graph, palette)).toBe(false);
  expect(mayBeEarlier({ ...graph, wires: [{ from: "m.output", to: "t.max_steps" }] }, palette)).toBe(false);
});

test.each([
  ["a wire to a field that was removed", { wires: [{ from: "m.output", to: "t.snr_gamma" }] }],
  ["a wire from an output that has another name", { wires: [{ from: "m.trained", to: "t.model" }] }],
  ["a sweep of a field that was removed", { nodes: { ...graph.nodes, g: { type: "XYGrid", fields: { x: " t.snr_gamma" } } } }],
  ["a socket of a field that was removed", { inputs: { gamma: "t.snr_gamma" } }],
  ["a socket of an output that has another name", { outputs: { out: "m.trained" } }],
])("the server looks at a subgraph with %s", (_, change) => {
  const subgraphs = { s: { ...graph, ...change } };
  expect(mayBeEarlier({ format: "latentloom/1", subgraphs }, palette)).toBe(true);
});

test("a new node stores which names it uses", () => {
  expect(versionOf(palette.get("TrainTI"))).toEqual({ schema_version: 1 });
  expect(versionOf(undefined)).toEqual({});
});
