/** The ids that runs and problems give to nodes inside subgraphs. */

import { type Document, nodesOf } from "./document";
import { sha256 } from "./sha256";
import { subgraphOf } from "./subgraphUse";

const MAX_ID = 64;
const DIGITS = 32;
const MAX_NODES = 100_000;

/** For every node as runs and problems name it, the ids that lead to it: a node of the document, then of the subgraph that this stands for, and so on. */
export function expandedIds(document: Document): Map<string, string[]> {
  const paths = new Map<string, string[]>();
  let room = MAX_NODES;
  const add = (nodes: Document["nodes"], outer: string, path: string[], within: string[]): void => {
    for (const [name, entry] of Object.entries(nodes ?? {})) {
      if (room-- <= 0) return;
      const id = joined(outer, name);
      const subgraph = subgraphOf(entry);
      paths.set(id, [...path, name]);
      if (subgraph !== null && !within.includes(subgraph)) {
        add(document.subgraphs?.[subgraph]?.nodes, id, [...path, name], [...within, subgraph]);
      }
    }
  };
  add(nodesOf(document), "", [], []);
  return paths;
}

/** The id of a node inside a subgraph, as `graph_runtime/subgraphs.py` makes it: what would be too long ends in a digest. */
export function joined(outer: string, inner: string): string {
  const id = outer ? `${outer}--${inner}` : inner;
  const letters = [...id];
  return letters.length <= MAX_ID ? id : `${letters.slice(0, MAX_ID - DIGITS - 1).join("")}-${sha256(id).slice(0, DIGITS)}`;
}
