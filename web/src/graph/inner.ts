/** Editing the content of a subgraph. */

import { type Document, end, endText, groupsOf, nodesOf, notesOf, type Wire, wiresOf } from "./document";
import { type Subgraphs, subgraphOf } from "./subgraphUse";

/** The document with another content of a subgraph; sockets follow nodes that were renamed, into subgraphs made inside, and go with those that were removed. */
export function withInner(document: Document, subgraphId: string, inner: Document): Document {
  const before = document.subgraphs?.[subgraphId];
  if (!before) return document;
  const newIds = followed(before.nodes ?? {}, nodesOf(inner));
  const definition = {
    ...before,
    name: inner.name ?? "",
    nodes: nodesOf(inner),
    wires: wiresOf(inner),
    groups: groupsOf(inner),
    notes: notesOf(inner),
    inputs: kept(before.inputs ?? {}, newIds, swallowed(inner, "inputs")),
    outputs: kept(before.outputs ?? {}, newIds, swallowed(inner, "outputs")),
  };
  const subgraphs: Subgraphs = { ...document.subgraphs, ...inner.subgraphs, [subgraphId]: definition };
  const changed = { ...document, subgraphs };
  const isGone = (own: Record<string, string>, other: Record<string, string>) =>
    Object.keys(own).some((name) => !(name in other));
  const hasLost = isGone(before.inputs ?? {}, definition.inputs) || isGone(before.outputs ?? {}, definition.outputs);
  return hasLost ? withoutLooseWires(changed, subgraphId) : changed;
}

/** For every earlier node its id now: that of the entry that is the same object when its own is gone. */
function followed(before: Record<string, object>, after: Record<string, object>): Map<string, string> {
  const moved = new Map(Object.entries(after).map(([id, entry]) => [entry, id]));
  return new Map(
    Object.entries(before).flatMap(([id, entry]): [string, string][] => {
      const now = id in after ? id : moved.get(entry);
      return now === undefined ? [] : [[id, now]];
    }),
  );
}

/** Sockets that are now one subgraph deeper, by their former name, and the socket that leads there. */
function swallowed(inner: Document, side: "inputs" | "outputs"): Map<string, string> {
  const found = new Map<string, string>();
  for (const [id, entry] of Object.entries(nodesOf(inner))) {
    const definition = inner.subgraphs?.[subgraphOf(entry) ?? ""];
    for (const [name, text] of Object.entries(definition?.[side] ?? {})) found.set(text, endText({ node: id, name }));
  }
  return found;
}

function kept(sockets: Record<string, string>, newIds: Map<string, string>, deeper: Map<string, string>): Record<string, string> {
  const entries = Object.entries(sockets).flatMap(([name, text]) => {
    const node = newIds.get(end(text).node);
    const now = node === undefined ? deeper.get(text) : endText({ node, name: end(text).name });
    return now === undefined ? [] : [[name, now]];
  });
  return Object.fromEntries(entries);
}

/** Remove the wires at sockets that the subgraph no longer has, wherever it is placed. */
function withoutLooseWires(document: Document, subgraphId: string): Document {
  const { inputs = {}, outputs = {} } = document.subgraphs?.[subgraphId] ?? {};
  const attached = (nodes: Document["nodes"], wires: Wire[]) => {
    const isPlaced = (id: string) => subgraphOf(nodes?.[id]) === subgraphId;
    return wires.filter(({ from, to }) => {
      const [source, target] = [end(from), end(to)];
      return (!isPlaced(source.node) || source.name in outputs) && (!isPlaced(target.node) || target.name in inputs);
    });
  };
  const subgraphs = Object.entries(document.subgraphs ?? {}).map(([id, definition]) => {
    const wires = attached(definition.nodes, definition.wires ?? []);
    return [id, wires.length === definition.wires?.length ? definition : { ...definition, wires }];
  });
  return { ...document, wires: attached(document.nodes, wiresOf(document)), subgraphs: Object.fromEntries(subgraphs) };
}
