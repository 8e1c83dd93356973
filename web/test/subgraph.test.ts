import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  addGroup,
  changeNode,
  connect,
  type Document,
  end,
  nodesOf,
  removeNodes,
  renameNode,
  wiresOf,
} from "../src/graph/document";
import { expandedIds, joined } from "../src/graph/expandedIds";
import { collapse, describeSubgraph, expand, innerDocument, withInner } from "../src/graph/subgraph";
import { verdict } from "../src/graph/verdicts";
import { graph, isAcyclic, palette, selections } from "./graphs";

const CHAIN = graph({ a: "Number", b: "Scale", c: "Scale", d: "Scale" }, [
  "a.output>b.numbers",
  "b.output>c.numbers",
  "b.output>d.numbers",
  "a.output>c.factor",
  "c.output>d.factor",
]);
const PAIR = collapse(CHAIN, palette, new Set(["b", "c"]), "pair");
const wireSet = (document: Document) => new Set(wiresOf(document).map((wire) => `${wire.from}>${wire.to}`));

describe("collapsed", () => {
  test("then expanded, it is the same graph", () => {
    fc.assert(
      fc.property(selections, ([document, ids]) => {
        const { document: small, id } = collapse(document, palette, ids, "part");
        const { document: again } = expand(small, id);
        expect(nodesOf(again)).toEqual(nodesOf(document));
        expect(wireSet(again)).toEqual(wireSet(document));
        expect(again.subgraphs).toEqual({});
      }),
    );
  });

  test("there is still no circle, and every wire still fits", () => {
    fc.assert(
      fc.property(selections, ([document, ids]) => {
        const { document: small } = collapse(document, palette, ids, "part");
        expect(isAcyclic(small)).toBe(true);
        for (const wire of wiresOf(small)) {
          const without = { ...small, wires: wiresOf(small).filter((other) => other !== wire) };
          expect(verdict(without, palette, end(wire.from), end(wire.to)).fits).toBe(true);
        }
      }),
    );
  });

  test("several wires from one inner output share a socket; each inner input has its own", () => {
    expect(PAIR.document.subgraphs?.subgraph).toMatchObject({
      name: "pair",
      inputs: { numbers: "b.numbers", factor: "c.factor" },
      outputs: { output: "b.output", output_2: "c.output" },
    });
    expect(wireSet(PAIR.document)).toEqual(
      new Set([
        "a.output>subgraph.numbers",
        "a.output>subgraph.factor",
        "subgraph.output>d.numbers",
        "subgraph.output_2>d.factor",
      ]),
    );
  });

  test("what lies between the chosen nodes comes along", () => {
    const { document } = collapse(CHAIN, palette, new Set(["a", "d"]), "ends");
    expect(Object.keys(nodesOf(document))).toEqual(["subgraph"]);
  });

  test("a whole group goes inside, of others the new node becomes a member; both come back", () => {
    const grouped = addGroup(addGroup(CHAIN, { title: "in", nodes: ["b", "c"] }), { title: "out", nodes: ["a", "b"] });
    const { document, id } = collapse(grouped, palette, new Set(["b", "c"]), "pair");
    expect(document.groups).toEqual([{ title: "out", nodes: ["a", id] }]);
    expect(expand(document, id).document.groups).toEqual([
      { title: "out", nodes: ["a", "b", "c"] },
      { title: "in", nodes: ["b", "c"] },
    ]);
  });

  test("inputs that need a wire and outputs that have none can be reached from outside", () => {
    const { document, id } = collapse(graph({ t: "TrainLoRA" }), palette, new Set(["t"]), "train");
    const described = describeSubgraph(document, palette, id);
    expect(described.inputs.map(({ name, required }) => [name, required])).toEqual([
      ["model", true],
      ["latents", true],
    ]);
    expect(described.outputs).toEqual([{ name: "output", type: "DiffusionModel" }]);
    expect(described.title).toBe("train");
  });
});

describe("expanded", () => {
  test("nodes move with the node they were in, and take its mode", () => {
    const moved = changeNode(PAIR.document, PAIR.id, { position: [1000, 1000], mode: "muted" });
    const { document, ids } = expand(moved, PAIR.id);
    expect(ids.map((id) => nodesOf(document)[id]?.position)).toEqual([
      [1000, 1000],
      [1300, 1000],
    ]);
    expect(ids.map((id) => nodesOf(document)[id]?.mode)).toEqual(["muted", "muted"]);
  });

  test("a definition that another node uses stays; a plain node is left alone", () => {
    const entry = nodesOf(PAIR.document)[PAIR.id];
    const twice = { ...PAIR.document, nodes: { ...nodesOf(PAIR.document), twin: { ...entry, type: "Subgraph" } } };
    const { document, ids } = expand(expand(twice, PAIR.id).document, "twin");
    expect(Object.keys(expand(twice, PAIR.id).document.subgraphs ?? {})).toEqual(["subgraph"]);
    expect(ids).toEqual(["b_2", "c_2"]);
    expect(expand(document, "a")).toEqual({ document, ids: [] });
  });
});

describe("nested", () => {
  const outer = collapse(PAIR.document, palette, new Set([PAIR.id, "d"]), "all");
  const inner = innerDocument(outer.document, "subgraph_2");

  test("sockets are described through all levels", () => {
    const described = describeSubgraph(outer.document, palette, outer.id);
    expect(described.inputs.map(({ name, type, many }) => [name, type, many])).toEqual([
      ["numbers", "int", true],
      ["factor", "int", false],
    ]);
    expect(describeSubgraph(outer.document, palette, outer.id)).toBe(described);
  });

  test("runs and problems name nodes by the way to them", () => {
    expect(Object.fromEntries(expandedIds(outer.document))).toEqual({
      a: ["a"],
      subgraph_2: ["subgraph_2"],
      "subgraph_2--subgraph": ["subgraph_2", "subgraph"],
      "subgraph_2--subgraph--b": ["subgraph_2", "subgraph", "b"],
      "subgraph_2--subgraph--c": ["subgraph_2", "subgraph", "c"],
      "subgraph_2--d": ["subgraph_2", "d"],
    });
    expect(joined("n".repeat(60), "i".repeat(60))).toBe(`${"n".repeat(31)}-e61fac5d25aa3260853d79fbf2ff2653`);
  });

  test("an inner document can be collapsed further and put back", () => {
    const deeper = collapse(inner, palette, new Set(["d"]), "last");
    const back = withInner(outer.document, "subgraph_2", deeper.document);
    expect(Object.keys(back.subgraphs ?? {})).toEqual(["subgraph", "subgraph_2", "subgraph_3"]);
    expect(nodesOf(back)).toBe(nodesOf(outer.document));
  });

  test("a subgraph inside itself is described without end and without sockets", () => {
    const recursive = {
      ...PAIR.document,
      subgraphs: { subgraph: { nodes: { i: { type: "Subgraph", fields: { subgraph: "subgraph" } } }, inputs: { x: "i.x" } } },
    };
    expect(describeSubgraph(recursive, palette, PAIR.id).inputs).toMatchObject([{ name: "x", accepts: [] }]);
    expect([...expandedIds(recursive).keys()].sort()).toEqual(["a", "d", "subgraph", "subgraph--i"]);
    expect(describeSubgraph({ ...PAIR.document, subgraphs: {} }, palette, PAIR.id).inputs).toEqual([]);
  });
});

describe("edited inside", () => {
  const inner = innerDocument(PAIR.document, "subgraph");

  test("what is put back is there, and nothing else changes", () => {
    const after = withInner(PAIR.document, "subgraph", changeNode(inner, "b", { title: "mine" }));
    expect(innerDocument(after, "subgraph").nodes?.b?.title).toBe("mine");
    expect([after.nodes, after.wires]).toEqual([PAIR.document.nodes, PAIR.document.wires]);
    expect(after.subgraphs?.subgraph?.inputs).toEqual(PAIR.document.subgraphs?.subgraph?.inputs);
    expect(withInner(PAIR.document, "gone", inner)).toBe(PAIR.document);
  });

  test("sockets follow a renamed node", () => {
    const after = withInner(PAIR.document, "subgraph", renameNode(inner, "b", "begin"));
    expect(after.subgraphs?.subgraph?.inputs).toEqual({ numbers: "begin.numbers", factor: "c.factor" });
    expect(wireSet(after)).toEqual(wireSet(PAIR.document));
  });

  test("sockets go with a removed node, and so do the wires at them", () => {
    const after = withInner(PAIR.document, "subgraph", removeNodes(inner, new Set(["c"])));
    expect(after.subgraphs?.subgraph?.outputs).toEqual({ output: "b.output" });
    expect(wireSet(after)).toEqual(new Set(["a.output>subgraph.numbers", "subgraph.output>d.numbers"]));
  });
});

test("wires to and from a subgraph are judged by what lies inside", () => {
  const document = {
    ...PAIR.document,
    nodes: { ...nodesOf(PAIR.document), model: { type: "LoadModel" }, n: { type: "Number" } },
  };
  const place = (text: string) => end(text);
  expect(verdict(document, palette, place("n.output"), place("subgraph.numbers"))).toEqual({ fits: true, many: true });
  expect(verdict(document, palette, place("n.output"), place("subgraph.factor"))).toEqual({ fits: true, many: false });
  expect(verdict(document, palette, place("model.output"), place("subgraph.numbers"))).toMatchObject({
    refusal: { code: "type" },
  });
  expect(verdict(document, palette, place("d.output"), place("subgraph.numbers"))).toMatchObject({ refusal: { code: "circle" } });
  expect(wireSet(connect(document, place("n.output"), place("subgraph.factor"), false))).not.toContain(
    "a.output>subgraph.factor",
  );
});
