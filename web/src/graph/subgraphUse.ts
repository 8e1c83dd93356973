/** The subgraphs of Subgraph nodes, and their content. */

import type { Document, NodeEntry } from "./document";

export type Subgraphs = NonNullable<Document["subgraphs"]>;

export const SUBGRAPH = "Subgraph";

/** The id of the subgraph that a node stands for; null when it is a plain node. */
export function subgraphOf(node: NodeEntry | undefined): string | null {
  const id = node?.type === SUBGRAPH ? node.fields?.subgraph : undefined;
  return typeof id === "string" ? id : null;
}

/** Returns the definitions that nodes use, also those used inside definitions. */
export function usedSubgraphs(definitions: Subgraphs, nodes: Record<string, NodeEntry>): Subgraphs {
  const used = new Set<string>();
  const open = Object.values(nodes);
  for (let node = open.pop(); node; node = open.pop()) {
    const id = subgraphOf(node);
    const definition = id === null ? undefined : definitions[id];
    if (id === null || !definition || used.has(id)) continue;
    used.add(id);
    open.push(...Object.values(definition.nodes ?? {}));
  }
  return Object.fromEntries(Object.entries(definitions).filter(([id]) => used.has(id)));
}

/** Returns a subgraph's content as a document, which shares the definitions of all subgraphs. */
export function innerDocument(document: Document, subgraphId: string): Document {
  const { name = "", nodes = {}, wires = [], groups = [], notes = [] } = document.subgraphs?.[subgraphId] ?? {};
  return { format: "latentloom/1", name, nodes, wires, groups, notes, subgraphs: document.subgraphs ?? {} };
}
