/** Documents that an earlier release may have written, with names that a class no longer has. */

import { type Document, end, type NodeEntry, nodesOf, wiresOf } from "./document";
import { fieldsOf, type NodeDescription, type Palette } from "./palette";

/** A document, or a subgraph with the sockets that lead into it. */
type Graph = Document & { inputs?: Record<string, string>; outputs?: Record<string, string> };
type Names = ReadonlySet<string>;

/** Returns whether the server must migrate a document before it is shown: a class, version or name in it is not current. */
export function mayBeEarlier(document: Document, palette: Palette): boolean {
  const graphs = [document, ...Object.values(document.subgraphs ?? {})] as Graph[];
  return graphs.some((graph) => hasOtherClasses(graph, palette) || hasOtherNames(graph, palette));
}

function hasOtherClasses(graph: Graph, palette: Palette): boolean {
  return Object.values(nodesOf(graph)).some(({ type, schema_version }) => {
    const described = palette.get(type);
    return !described || (schema_version ?? 1) !== described.schema_version;
  });
}

/** Returns whether a field, wire, socket or sweep names what a class does not have. */
function hasOtherNames(graph: Graph, palette: Palette): boolean {
  const entries = Object.entries(nodesOf(graph));
  const targets = new Map(entries.map(([id, entry]) => [id, namesOf(entry, palette, targetsOf)]));
  const sources = new Map(entries.map(([id, entry]) => [id, namesOf(entry, palette, sourcesOf)]));
  const wires = wiresOf(graph);
  const isOther = (names: Map<string, Names>) => (text: string) => {
    const { node, name } = end(text);
    return names.has(node) && !names.get(node)?.has(name);
  };
  return (
    entries.some(([id, { fields }]) => Object.keys(fields ?? {}).some((name) => !targets.get(id)?.has(name))) ||
    [...wires.map(({ to }) => to), ...Object.values(graph.inputs ?? {}), ...sweptBy(entries)].some(isOther(targets)) ||
    [...wires.map(({ from }) => from), ...Object.values(graph.outputs ?? {})].some(isOther(sources))
  );
}

const namesOf = (entry: NodeEntry, palette: Palette, names: (described: NodeDescription) => string[]): Names => {
  const described = palette.get(entry.type);
  return new Set(described ? names(described) : []);
};

const targetsOf = (described: NodeDescription) => [...fieldsOf(described), ...described.inputs].map(({ name }) => name);
const sourcesOf = (described: NodeDescription) => described.outputs.map(({ name }) => name);

/** Returns the texts in the form of the `node.field` that a node sweeps: any field may name one. */
const sweptBy = (entries: [string, NodeEntry][]): string[] =>
  entries
    .flatMap(([, { fields }]) => Object.values(fields ?? {}))
    .map((value) => (typeof value === "string" ? value.trim() : ""))
    .filter((value) => /^[\w-]+\.\w+$/.test(value));
