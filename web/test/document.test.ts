import fc from "fast-check";
import { describe, expect, test } from "vitest";
import * as edit from "../src/graph/document";
import { nodesOf, wireOrders, wiresOf } from "../src/graph/document";
import { documents, graph, selections } from "./graphs";

const CHAIN = graph({ a: "Number", b: "Scale", c: "Scale" }, ["a.output>b.numbers", "b.output>c.numbers"]);

describe("edits share what did not change", () => {
  test("of one node, all others and the wires stay the same objects", () => {
    fc.assert(
      fc.property(documents, fc.nat(), (document, number) => {
        const ids = Object.keys(nodesOf(document));
        const id = ids[number % ids.length] ?? "";
        const after = edit.setField(document, id, "factor", number);
        expect(after.wires).toBe(document.wires);
        for (const other of ids) if (other !== id) expect(nodesOf(after)[other]).toBe(nodesOf(document)[other]);
        expect(nodesOf(after)[id]?.fields?.factor).toBe(number);
      }),
    );
  });

  test("frozen documents can be edited", () => {
    const deep = <T>(value: T): T => {
      if (typeof value === "object" && value !== null) Object.values(Object.freeze(value)).forEach(deep);
      return value;
    };
    fc.assert(
      fc.property(selections, ([document, ids]) => {
        deep(document);
        const id = [...ids][0] ?? "";
        edit.removeNodes(document, ids);
        edit.changeNodes(document, ids, { mode: "muted" });
        edit.renameNode(document, id, "another-name");
        edit.setField(document, id, "factor", undefined);
        edit.addGroup(edit.addNote(document, { text: "x" }), { nodes: [...ids] });
      }),
    );
  });

  test("an edit of what is not there is none", () => {
    expect(edit.changeNode(CHAIN, "z", { title: "x" })).toBe(CHAIN);
    expect(edit.setField(CHAIN, "z", "f", 1)).toBe(CHAIN);
    expect(edit.removeWires(CHAIN, () => false)).toBe(CHAIN);
    expect(edit.renameNode(CHAIN, "z", "y")).toBe(CHAIN);
  });
});

describe("nodes", () => {
  test.each([
    ["LoadModel", "load_model"],
    ["InjectLoRA", "inject_lora"],
    ["TrainTI", "train_ti"],
  ])("the id of a %s says what it is", (type, id) => {
    expect(edit.freshId({}, type)).toBe(id);
    expect(edit.freshId({ [id]: 1, [`${id}_2`]: 1 }, type)).toBe(`${id}_3`);
  });

  test("a removed node takes its wires along, and groups forget it", () => {
    const grouped = edit.addGroup(edit.addGroup(CHAIN, { nodes: ["a", "b"] }), { nodes: ["c"] });
    const after = edit.removeNodes(grouped, new Set(["b"]));
    expect(Object.keys(nodesOf(after))).toEqual(["a", "c"]);
    expect(wiresOf(after)).toEqual([]);
    expect(after.groups?.map((group) => group.nodes)).toEqual([["a"], ["c"]]);
    expect(after.groups?.[1]).toBe(grouped.groups?.[1]);
  });

  test("a field goes back to its default", () => {
    const set = edit.setField(CHAIN, "a", "value", 3);
    expect(nodesOf(edit.setField(set, "a", "value", undefined)).a?.fields).toEqual({});
  });

  test("a renamed node keeps its place, wires and groups; a name that is taken or impossible is refused", () => {
    const after = edit.renameNode(edit.addGroup(CHAIN, { nodes: ["b"] }), "b", "middle");
    expect(Object.keys(nodesOf(after))).toEqual(["a", "middle", "c"]);
    expect(wiresOf(after).map((wire) => `${wire.from}>${wire.to}`)).toEqual([
      "a.output>middle.numbers",
      "middle.output>c.numbers",
    ]);
    expect(after.groups?.[0]?.nodes).toEqual(["middle"]);
    for (const wanted of ["a", "", "with space", "x".repeat(65), "a.b"]) expect(edit.renameNode(CHAIN, "b", wanted)).toBe(CHAIN);
  });
});

describe("wires", () => {
  const [from, to] = [
    { node: "a", name: "output" },
    { node: "c", name: "factor" },
  ];

  test("one that ends where another ended replaces it, unless there is room for many", () => {
    const other = { node: "b", name: "output" };
    const once = edit.connect(edit.connect(CHAIN, other, to, false), from, to, false);
    expect(wiresOf(once).filter((wire) => wire.to === "c.factor")).toEqual([{ from: "a.output", to: "c.factor" }]);
    const many = edit.connect(edit.connect(CHAIN, other, to, true), from, to, true);
    expect(wiresOf(many).filter((wire) => wire.to === "c.factor")).toHaveLength(2);
    expect(wiresOf(edit.connect(many, from, to, true)).filter((wire) => wire.to === "c.factor")).toHaveLength(2);
  });

  test("change and removal", () => {
    const bent = edit.changeWire(CHAIN, "a.output", "b.numbers", { via: [[1, 2]] });
    expect(wiresOf(bent)[0]).toEqual({ from: "a.output", to: "b.numbers", via: [[1, 2]] });
    expect(wiresOf(bent)[1]).toBe(wiresOf(CHAIN)[1]);
    expect(wiresOf(edit.removeWires(CHAIN, (wire) => wire.to === "b.numbers"))).toHaveLength(1);
    expect(edit.endText(edit.end("a.output"))).toBe("a.output");
  });
});

test("notes and groups are added, changed and removed by their place in the list", () => {
  const noted = edit.addNote(edit.addNote(CHAIN, { text: "one" }), { text: "two" });
  expect(edit.changeNote(noted, 1, { text: "2" }).notes).toEqual([{ text: "one" }, { text: "2" }]);
  expect(edit.removeNotes(noted, new Set([0])).notes).toEqual([{ text: "two" }]);
  const grouped = edit.addGroup(edit.addGroup(CHAIN, { title: "A" }), { title: "B" });
  expect(edit.changeGroup(grouped, 0, { title: "C" }).groups).toEqual([{ title: "C" }, { title: "B" }]);
  expect(edit.removeGroups(grouped, new Set([1])).groups).toEqual([{ title: "A" }]);
});

test("wires that share an input have an order there", () => {
  const wires = ["a.output", "b.output", "c.output"].map((from, index) => ({ from, to: index < 2 ? "m.models" : "m.other" }));
  expect([...wireOrders(wires).values()]).toEqual(["a", "b"]);
});
