/** Palettes and random documents for tests. */

import fc from "fast-check";
import type { NodeDescription } from "../src/api/types";
import { addNode, connect, type Document, emptyDocument, end, nodesOf, wiresOf } from "../src/graph/document";
import { fieldSocketOf, fieldsOf, makePalette, type Palette } from "../src/graph/palette";
import { verdict } from "../src/graph/verdicts";
import reply from "./palette.json";

const BLANK: NodeDescription = {
  name: "",
  title: "",
  category: "toys",
  package: "toys",
  version: 1,
  schema_version: 1,
  description: "",
  synonyms: [],
  side_effects: false,
  one_of: [],
  inputs: [],
  field_sockets: [],
  outputs: [],
  fields: {},
};

export const nodeClass = (name: string, more: Partial<NodeDescription>): NodeDescription => ({
  ...BLANK,
  name,
  title: name,
  ...more,
});

/** A number may be wired to the fields of toys; our own nodes offer none. */
const TOYS = [
  nodeClass("Number", { outputs: [{ name: "output", type: "int" }] }),
  nodeClass("Scale", {
    inputs: [{ name: "numbers", type: "int", accepts: ["int"], many: true, required: false }],
    field_sockets: [
      { name: "factor", type: "int", accepts: ["int"], refuses: "" },
      { name: "path", type: "str", accepts: ["int"], refuses: "known before anything runs" },
    ],
    outputs: [{ name: "output", type: "int" }],
    fields: { properties: { factor: { type: "integer" }, path: { type: "string" } }, required: ["factor"] },
  }),
];

export const own: NodeDescription[] = reply.nodes;
export const palette: Palette = makePalette([...own, ...TOYS]);

/** A document of nodes by id and class, with wires written as `a.output>b.input`. */
export function graph(nodes: Record<string, string>, wires: string[] = []): Document {
  const entries = Object.entries(nodes).map(([id, type], index) => [id, { type, fields: {}, position: [index * 300, 0] }]);
  const laid = wires.map((wire) => ({ from: wire.split(">")[0] ?? "", to: wire.split(">")[1] ?? "" }));
  return { ...emptyDocument(), nodes: Object.fromEntries(entries), wires: laid };
}

/** Documents as a person could have made them: every wire was laid because the verdict allowed it. */
export const documents: fc.Arbitrary<Document> = fc
  .record({
    types: fc.array(fc.constantFrom(...palette.keys()), { minLength: 1, maxLength: 12 }),
    wires: fc.array(fc.tuple(fc.nat(), fc.nat(), fc.nat(), fc.nat()), { maxLength: 60 }),
    places: fc.array(fc.tuple(fc.integer({ min: -5000, max: 5000 }), fc.integer({ min: -5000, max: 5000 })), {
      minLength: 12,
      maxLength: 12,
    }),
  })
  .map(({ types, wires, places }) => {
    let document = emptyDocument();
    types.forEach((type, index) => {
      [document] = addNode(document, { type, fields: {}, position: places[index] });
    });
    for (const choice of wires) document = wired(document, choice);
    return document;
  });

/** A document with some of its nodes. */
export const selections: fc.Arbitrary<[Document, Set<string>]> = documents.chain((document) =>
  fc.tuple(
    fc.constant(document),
    fc.subarray(Object.keys(nodesOf(document)), { minLength: 1 }).map((ids) => new Set(ids)),
  ),
);

function wired(document: Document, [source, output, target, input]: [number, number, number, number]): Document {
  const ids = Object.keys(nodesOf(document));
  const pick = <T>(list: T[], number: number): T | undefined => list[number % list.length];
  const [from, to] = [pick(ids, source) ?? "", pick(ids, target) ?? ""];
  const classOf = (id: string) => palette.get(nodesOf(document)[id]?.type ?? "");
  const out = pick(classOf(from)?.outputs ?? [], output);
  const place = pick([...(classOf(to)?.inputs ?? []), ...(classOf(to)?.field_sockets ?? [])], input);
  if (!out || !place) return document;
  const ends = [
    { node: from, name: out.name },
    { node: to, name: place.name },
  ] as const;
  const found = verdict(document, palette, ...ends);
  return found.fits ? connect(document, ...ends, found.many) : document;
}

/** Whether nothing depends on itself, by taking away what depends on nothing until nothing is left. */
export function isAcyclic(document: Document): boolean {
  let wires = wiresOf(document);
  for (;;) {
    const targets = new Set(wires.map((wire) => end(wire.to).node));
    const left = wires.filter((wire) => targets.has(end(wire.from).node));
    if (left.length === wires.length) return wires.length === 0;
    wires = left;
  }
}

export const fieldOf = (type: string, name: string) => fieldsOf(palette.get(type) ?? BLANK).find((field) => field.name === name);
export const socketOf = (type: string, name: string) => fieldSocketOf(palette.get(type) ?? BLANK, name);
