import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { copyOf, duplicate, paste } from "../src/graph/clipboard";
import { addGroup, addNote, changeWire, type Document, emptyDocument, end, nodesOf, wiresOf } from "../src/graph/document";
import { collapse } from "../src/graph/subgraph";
import { documents, graph, palette, selections } from "./graphs";

const CHAIN = graph({ a: "Number", b: "Scale", c: "Scale" }, ["a.output>b.numbers", "b.output>c.numbers"]);
const inner = (document: Document, ids: Set<string>) =>
  wiresOf(document).filter((wire) => ids.has(end(wire.from).node) && ids.has(end(wire.to).node));

describe("a pasted copy", () => {
  test("has fresh ids, all wires between its nodes, and changes nothing that was there", () => {
    fc.assert(
      fc.property(selections, documents, ([document, ids], target) => {
        const result = paste(target, copyOf(document, ids), [100, 200]);
        expect(result).not.toBeNull();
        const { document: after, ids: pasted } = result ?? { document: target, ids: [] };
        for (const [id, entry] of Object.entries(nodesOf(target))) expect(nodesOf(after)[id]).toBe(entry);
        wiresOf(target).forEach((wire, index) => {
          expect(wiresOf(after)[index]).toBe(wire);
        });
        expect(pasted.some((id) => id in nodesOf(target))).toBe(false);
        expect(new Set(pasted).size).toBe(ids.size);
        expect(inner(after, new Set(pasted))).toHaveLength(inner(document, ids).length);
        const places = pasted.map((id): [number, number] => nodesOf(after)[id]?.position ?? [0, 0]);
        expect([Math.min(...places.map(([x]) => x)), Math.min(...places.map(([, y]) => y))]).toEqual([100, 200]);
      }),
    );
  });

  test("of everything into nothing is the same graph", () => {
    fc.assert(
      fc.property(documents, (document) => {
        const all = new Set(Object.keys(nodesOf(document)));
        const result = paste(emptyDocument(), copyOf(document, all), [0, 0]);
        expect(Object.keys(nodesOf(result?.document ?? emptyDocument()))).toEqual([...all]);
        expect(result?.document.wires).toEqual(document.wires);
      }),
    );
  });

  test("brings notes, whole groups and bends along, moved as the nodes are", () => {
    const bent = changeWire(CHAIN, "a.output", "b.numbers", { via: [[150, 10]] });
    const full = addGroup(
      addGroup(addNote(bent, { text: "hi", position: [0, -50] }), { nodes: ["a", "b"], position: [0, -10] }),
      {
        nodes: ["b", "c"],
      },
    );
    const { document } = paste(full, copyOf(full, new Set(["a", "b"]), new Set([0])), [1000, 1000]) ?? { document: full };
    expect(document.notes?.[1]).toEqual({ text: "hi", position: [1000, 1000] });
    expect(nodesOf(document).a_2?.position).toEqual([1000, 1050]);
    expect(document.groups?.slice(2)).toEqual([{ nodes: ["a_2", "b_2"], position: [1000, 1040] }]);
    expect(wiresOf(document).at(-1)).toEqual({ from: "a_2.output", to: "b_2.numbers", via: [[1150, 1060]] });
  });

  test("of a document without places stands in a row", () => {
    const text = JSON.stringify({ format: "latentloom/1", nodes: { a: { type: "Number" }, b: { type: "Number" } } });
    const { document } = paste(emptyDocument(), text, [10, 20]) ?? { document: CHAIN };
    expect(Object.values(nodesOf(document)).map((node) => node.position)).toEqual([
      [10, 20],
      [330, 20],
    ]);
  });

  test("brings its subgraphs along, under another id where one of that name differs", () => {
    const { document, id } = collapse(CHAIN, palette, new Set(["b", "c"]), "pair");
    const text = copyOf(document, new Set([id]));
    const same = paste(document, text, [0, 0])?.document;
    expect(Object.keys(same?.subgraphs ?? {})).toEqual(["subgraph"]);
    const other = collapse(CHAIN, palette, new Set(["c"]), "one").document;
    const { document: mixed, ids } = paste(other, text, [0, 0]) ?? { document: other, ids: [] };
    expect(Object.keys(mixed.subgraphs ?? {})).toEqual(["subgraph", "subgraph_2"]);
    expect(mixed.subgraphs?.subgraph).toBe(other.subgraphs?.subgraph);
    expect(nodesOf(mixed)[ids[0] ?? ""]?.fields).toEqual({ subgraph: "subgraph_2" });
  });

  test.each([
    ["", "no text"],
    ["hello", "words"],
    ["{", "half"],
    ["[]", "a list"],
    ["{}", "no format"],
    ['{"format": "latentloom/1", "nodes": []', "half a document"],
    ['{"format": "latentloom/2", "nodes": {}}', "another format"],
    ['{"format": "latentloom/1", "nodes": {"a": {"fields": {}}}}', "a node without type"],
    ['{"format": "latentloom/1", "nodes": {"a": {"type": "X", "position": ["1", 2]}}}', "a place of words"],
    ['{"format": "latentloom/1", "nodes": {}, "wires": [{"from": 1, "to": "a.b"}]}', "a wire from a number"],
    ['{"format": "latentloom/1", "nodes": {}, "wires": {}}', "wires that are no list"],
    ['{"format": "latentloom/1", "nodes": {}, "subgraphs": {"s": {"nodes": {"a": 1}}}}', "a damaged subgraph"],
  ])("%s is none: %s", (text) => {
    expect(paste(CHAIN, text, [0, 0])).toBeNull();
  });

  test("survives ids that are special to JavaScript or to us", () => {
    const text =
      '{"format": "latentloom/1", "nodes": {"__proto__": {"type": "X"}, "constructor": {"type": "X"}, "a.b": {"type": "X"}}}';
    const { document, ids } = paste(emptyDocument(), text, [0, 0]) ?? { document: CHAIN, ids: [] };
    expect(ids).toHaveLength(3);
    for (const id of ids) expect(Object.hasOwn(nodesOf(document), id) && /^[\w-]{1,64}$/.test(id)).toBe(true);
  });
});

describe("a duplicate", () => {
  test("shares what comes in from outside only when asked to", () => {
    fc.assert(
      fc.property(selections, ([document, ids]) => {
        const incoming = wiresOf(document).filter((wire) => !ids.has(end(wire.from).node) && ids.has(end(wire.to).node));
        const [alone, shared] = [false, true].map((withIncomingWires) => duplicate(document, ids, { withIncomingWires }));
        const count = wiresOf(document).length + inner(document, ids).length;
        expect(wiresOf(alone?.document ?? document)).toHaveLength(count);
        expect(wiresOf(shared?.document ?? document)).toHaveLength(count + incoming.length);
        expect(alone?.ids).toHaveLength(ids.size);
      }),
    );
  });
});
