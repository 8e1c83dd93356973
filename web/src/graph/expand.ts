/** A node that stands for a subgraph as the nodes inside it. */

import { type Document, end, endText, groupsOf, nodesOf, notesOf, type Point, wiresOf } from "./document";
import { untaken } from "./freshIds";
import { shifted, topLeft } from "./geometry";
import { subgraphOf, usedSubgraphs } from "./subgraphUse";

/** Returns the document with a Subgraph node replaced by the nodes inside, and their ids; unused definitions are removed. */
export function expand(document: Document, id: string): { document: Document; ids: string[] } {
  const entry = nodesOf(document)[id];
  const definition = document.subgraphs?.[subgraphOf(entry) ?? ""];
  if (!entry || !definition) return { document, ids: [] };
  const { [id]: _, ...nodes } = nodesOf(document);
  const corner = topLeft(Object.values(definition.nodes ?? {})) ?? [0, 0];
  const [left, top] = entry.position ?? corner;
  const shift: Point = [left - corner[0], top - corner[1]];
  const moved = ([x, y]: Point): Point => [x + shift[0], y + shift[1]];
  const newIds = new Map<string, string>();
  for (const [inner, node] of Object.entries(definition.nodes ?? {})) {
    const fresh = untaken(nodes, inner);
    newIds.set(inner, fresh);
    nodes[fresh] = { ...shifted(node, shift), ...(entry.mode && entry.mode !== "active" && { mode: entry.mode }) };
  }
  const there = (text: string | undefined) =>
    text === undefined ? "" : endText({ node: newIds.get(end(text).node) ?? "", name: end(text).name });
  const innerWires = (definition.wires ?? []).map((wire) => ({
    ...wire,
    from: there(wire.from),
    to: there(wire.to),
    ...(wire.via && { via: wire.via.map(moved) }),
  }));
  const outerWires = wiresOf(document).map((wire) => {
    const [from, to] = [end(wire.from), end(wire.to)];
    if (from.node === id) return { ...wire, from: there(definition.outputs?.[from.name]) };
    return to.node === id ? { ...wire, to: there(definition.inputs?.[to.name]) } : wire;
  });
  const wires = [...innerWires, ...outerWires].filter((wire) => end(wire.from).node in nodes && end(wire.to).node in nodes);
  const members = (list: string[] | undefined) => list?.flatMap((member) => (member === id ? [...newIds.values()] : [member]));
  const own = (definition.groups ?? []).map((group) => ({
    ...shifted(group, shift),
    nodes: group.nodes?.flatMap((member) => newIds.get(member) ?? []),
  }));
  const groups = [...groupsOf(document).map((group) => ({ ...group, nodes: members(group.nodes) })), ...own];
  const notes = [...notesOf(document), ...(definition.notes ?? []).map((note) => shifted(note, shift))];
  const subgraphs = usedSubgraphs(document.subgraphs ?? {}, nodes);
  return { document: { ...document, nodes, wires, groups, notes, subgraphs }, ids: [...newIds.values()] };
}
