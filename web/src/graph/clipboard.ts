/** Copies of parts of a document: as text for the clipboard, and side by side with what they were copied from. */

import {
  type Document,
  end,
  groupsOf,
  NODE_WIDTH,
  type NodeEntry,
  nodesOf,
  notesOf,
  type Point,
  type Wire,
  wiresOf,
} from "./document";
import { parsedDocument } from "./documentText";
import { untaken } from "./freshIds";
import { shifted, topLeft } from "./geometry";
import { type Subgraphs, subgraphOf, usedSubgraphs } from "./subgraphUse";

const SHIFT: Point = [40, 40];
const GAP = 48;

/** The chosen nodes and notes, with the wires, groups and subgraphs that belong to them alone, as the text of a document. */
export function copyOf(document: Document, nodeIds: ReadonlySet<string>, noteIndices: ReadonlySet<number> = new Set()): string {
  return JSON.stringify(fragment(document, nodeIds, noteIndices), null, 2);
}

/** The document with the one that `text` holds added, its top left at `at`, and the new ids; null when the text is no document. */
export function paste(document: Document, text: string, at: Point): { document: Document; ids: string[] } | null {
  const pasted = parsedDocument(text);
  if (!pasted) return null;
  const corner = topLeft([...Object.values(nodesOf(pasted)), ...notesOf(pasted), ...groupsOf(pasted)]) ?? [0, 0];
  return graft(document, placed(pasted, corner), [Math.round(at[0] - corner[0]), Math.round(at[1] - corner[1])]);
}

/** The document with a copy of the chosen nodes a little lower, and the new ids; the copies may share what comes in from outside. */
export function duplicate(
  document: Document,
  ids: ReadonlySet<string>,
  { withIncomingWires }: { withIncomingWires: boolean },
): { document: Document; ids: string[] } {
  const { document: added, ids: copies, renamed } = graft(document, fragment(document, ids, new Set()), SHIFT);
  if (!withIncomingWires) return { document: added, ids: copies };
  const incoming = wiresOf(document).flatMap((wire): Wire[] => {
    const to = end(wire.to);
    const copy = ids.has(end(wire.from).node) ? undefined : renamed.get(to.node);
    return copy ? [{ from: wire.from, to: `${copy}.${to.name}` }] : [];
  });
  return { document: { ...added, wires: [...wiresOf(added), ...incoming] }, ids: copies };
}

function fragment(document: Document, ids: ReadonlySet<string>, noteIndices: ReadonlySet<number>): Document {
  const nodes = Object.fromEntries(Object.entries(nodesOf(document)).filter(([id]) => ids.has(id)));
  const isInside = (text: string) => end(text).node in nodes;
  const groups = groupsOf(document).filter(({ nodes: members = [] }) => members.length > 0 && members.every((id) => id in nodes));
  const notes = notesOf(document).filter((_, index) => noteIndices.has(index));
  const subgraphs = usedSubgraphs(document.subgraphs ?? {}, nodes);
  return {
    format: "latentloom/1",
    name: document.name ?? "",
    nodes,
    wires: wiresOf(document).filter((wire) => isInside(wire.from) && isInside(wire.to)),
    ...(groups.length && { groups }),
    ...(notes.length && { notes }),
    ...(Object.keys(subgraphs).length && { subgraphs }),
  };
}

/** Places nodes without a position in a row from the top left. */
function placed(document: Document, [left, top]: Point): Document {
  let column = 0;
  const nodes = Object.entries(nodesOf(document)).map(([id, node]) => {
    const position: Point = node.position ?? [left + column++ * (NODE_WIDTH + GAP), top];
    return [id, { ...node, position }];
  });
  return { ...document, nodes: Object.fromEntries(nodes) };
}

function graft(
  document: Document,
  part: Document,
  shift: Point,
): { document: Document; ids: string[]; renamed: Map<string, string> } {
  const moved = ([x, y]: Point): Point => [x + shift[0], y + shift[1]];
  const { subgraphs, renamed: definitions } = united(document.subgraphs ?? {}, part.subgraphs ?? {});
  const nodes = { ...nodesOf(document) };
  const renamed = new Map<string, string>();
  for (const [id, node] of Object.entries(nodesOf(part))) {
    const fresh = untaken(nodes, id);
    renamed.set(id, fresh);
    nodes[fresh] = shifted(repointed(node, definitions), shift);
  }
  const there = (text: string) => `${renamed.get(end(text).node)}.${end(text).name}`;
  const wires = wiresOf(part)
    .filter((wire) => renamed.has(end(wire.from).node) && renamed.has(end(wire.to).node))
    .map((wire) => ({ ...wire, from: there(wire.from), to: there(wire.to), ...(wire.via && { via: wire.via.map(moved) }) }));
  const groups = groupsOf(part).map((group) => ({
    ...shifted(group, shift),
    nodes: group.nodes?.flatMap((id) => renamed.get(id) ?? []),
  }));
  const changed: Document = { ...document, nodes, wires: [...wiresOf(document), ...wires] };
  if (groups.length) changed.groups = [...groupsOf(document), ...groups];
  if (part.notes?.length) changed.notes = [...notesOf(document), ...part.notes.map((note) => shifted(note, shift))];
  if (Object.keys(subgraphs).length) changed.subgraphs = subgraphs;
  return { document: changed, ids: [...renamed.values()], renamed };
}

/** Merges two sets of definitions; one that differs from its namesake gets another id, also in the nodes that use it. */
function united(own: Subgraphs, others: Subgraphs): { subgraphs: Subgraphs; renamed: Map<string, string> } {
  const clashing = (id: string) => id in own && JSON.stringify(own[id]) !== JSON.stringify(others[id]);
  const renamed = new Map<string, string>();
  const taken: Record<string, unknown> = { ...own, ...others };
  for (const id of Object.keys(others).filter(clashing)) {
    const fresh = untaken(taken, id);
    taken[fresh] = true;
    renamed.set(id, fresh);
  }
  const added = Object.entries(others).map(([id, definition]) => {
    const nodes = Object.entries(definition.nodes ?? {}).map(([inner, node]) => [inner, repointed(node, renamed)]);
    return [renamed.get(id) ?? id, renamed.size ? { ...definition, nodes: Object.fromEntries(nodes) } : definition];
  });
  return { subgraphs: { ...own, ...Object.fromEntries(added) }, renamed };
}

function repointed(node: NodeEntry, renamed: Map<string, string>): NodeEntry {
  const fresh = renamed.get(subgraphOf(node) ?? "");
  return fresh ? { ...node, fields: { ...node.fields, subgraph: fresh } } : node;
}
