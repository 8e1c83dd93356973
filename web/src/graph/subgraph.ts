/** Several nodes as one, and back. */

import { type Document, end, endText, freshId, groupsOf, type NodeEntry, nodesOf, notesOf, type Point, type Wire, wiresOf } from "./document";
import { describe } from "./describe";
import { untaken, untakenName } from "./freshIds";
import type { Palette } from "./palette";
import { SUBGRAPH, subgraphOf, usedSubgraphs } from "./subgraphUse";
import { reaches } from "./verdicts";

export { describeSubgraph } from "./describe";
export { withInner } from "./inner";
export { innerDocument, SUBGRAPH, subgraphOf } from "./subgraphUse";

/**
 * The document with the chosen nodes, and those between them, as one Subgraph node, and its id.
 *
 * Wires across the border become sockets, as do inner inputs that need a wire and outputs that have none.
 */
export function collapse(document: Document, palette: Palette, ids: ReadonlySet<string>, name: string): { document: Document; id: string } {
  const inside = withBetween(document, ids);
  const all = Object.entries(nodesOf(document));
  const inner = Object.fromEntries(all.filter(([id]) => inside.has(id)));
  const outer = Object.fromEntries(all.filter(([id]) => !inside.has(id)));
  const id = freshId(nodesOf(document), SUBGRAPH);
  const subgraph = freshId(document.subgraphs ?? {}, SUBGRAPH);
  const [inputs, outputs] = [new Sockets(id), new Sockets(id)];
  const [innerWires, outerWires]: [Wire[], Wire[]] = [[], []];
  for (const wire of wiresOf(document)) {
    const [leaves, arrives] = [inside.has(end(wire.from).node), inside.has(end(wire.to).node)];
    if (leaves && arrives) innerWires.push(wire);
    else if (arrives) outerWires.push({ ...wire, to: inputs.at(wire.to) });
    else outerWires.push(leaves ? { ...wire, from: outputs.at(wire.from) } : wire);
  }
  for (const node of inside) exposeLoose(document, palette, node, inputs, outputs);
  const isInside = (members: string[] | undefined) => !!members?.length && members.every((member) => inside.has(member));
  const definition = {
    name,
    nodes: inner,
    wires: innerWires,
    inputs: inputs.inner(),
    outputs: outputs.inner(),
    groups: groupsOf(document).filter((group) => isInside(group.nodes)),
  };
  const entry: NodeEntry = { type: SUBGRAPH, fields: { subgraph }, position: topLeft(Object.values(inner)) };
  const groups = groupsOf(document)
    .filter((group) => !isInside(group.nodes))
    .map((group) => ({ ...group, nodes: [...new Set(group.nodes?.map((member) => (inside.has(member) ? id : member)))] }));
  const subgraphs = { ...document.subgraphs, [subgraph]: definition };
  return { document: { ...document, nodes: { ...outer, [id]: entry }, wires: outerWires, groups, subgraphs }, id };
}

/** The document with the nodes inside a Subgraph node in its place, and their ids; a definition that nothing uses any more goes. */
export function expand(document: Document, id: string): { document: Document; ids: string[] } {
  const entry = nodesOf(document)[id];
  const definition = document.subgraphs?.[subgraphOf(entry) ?? ""];
  if (!entry || !definition) return { document, ids: [] };
  const { [id]: _, ...nodes } = nodesOf(document);
  const corner = topLeft(Object.values(definition.nodes ?? {})) ?? [0, 0];
  const moved = ([x, y]: Point): Point => [x + (entry.position?.[0] ?? corner[0]) - corner[0], y + (entry.position?.[1] ?? corner[1]) - corner[1]];
  const shifted = <T extends { position?: Point | null }>(thing: T): T => (thing.position ? { ...thing, position: moved(thing.position) } : thing);
  const newIds = new Map<string, string>();
  for (const [inner, node] of Object.entries(definition.nodes ?? {})) {
    const fresh = untaken(nodes, inner);
    newIds.set(inner, fresh);
    nodes[fresh] = { ...shifted(node), ...(entry.mode && entry.mode !== "active" && { mode: entry.mode }) };
  }
  const there = (text: string | undefined) => (text === undefined ? "" : endText({ node: newIds.get(end(text).node) ?? "", name: end(text).name }));
  const innerWires = (definition.wires ?? []).map((wire) => ({ ...wire, from: there(wire.from), to: there(wire.to), ...(wire.via && { via: wire.via.map(moved) }) }));
  const outerWires = wiresOf(document).map((wire) => {
    const [from, to] = [end(wire.from), end(wire.to)];
    if (from.node === id) return { ...wire, from: there(definition.outputs?.[from.name]) };
    return to.node === id ? { ...wire, to: there(definition.inputs?.[to.name]) } : wire;
  });
  const wires = [...innerWires, ...outerWires].filter((wire) => end(wire.from).node in nodes && end(wire.to).node in nodes);
  const members = (list: string[] | undefined) => list?.flatMap((member) => (member === id ? [...newIds.values()] : [member]));
  const own = (definition.groups ?? []).map((group) => ({ ...shifted(group), nodes: group.nodes?.flatMap((member) => newIds.get(member) ?? []) }));
  const groups = [...groupsOf(document).map((group) => ({ ...group, nodes: members(group.nodes) })), ...own];
  const notes = [...notesOf(document), ...(definition.notes ?? []).map(shifted)];
  const subgraphs = usedSubgraphs(document.subgraphs ?? {}, nodes);
  return { document: { ...document, nodes, wires, groups, notes, subgraphs }, ids: [...newIds.values()] };
}

/** Sockets of a Subgraph node, one for every inner end that is asked for. */
class Sockets {
  private readonly names = new Map<string, string>();
  private readonly ends = new Map<string, string>();

  constructor(private readonly id: string) {}

  at(inner: string): string {
    const name = this.ends.get(inner) ?? untakenName(this.names, end(inner).name);
    this.names.set(name, inner);
    this.ends.set(inner, name);
    return endText({ node: this.id, name });
  }

  inner(): Record<string, string> {
    return Object.fromEntries(this.names);
  }
}

function exposeLoose(document: Document, palette: Palette, node: string, inputs: Sockets, outputs: Sockets): void {
  const description = describe(document, palette, node);
  const wires = wiresOf(document);
  for (const { name, required } of description?.inputs ?? []) {
    const place = endText({ node, name });
    if (required && !wires.some((wire) => wire.to === place)) inputs.at(place);
  }
  for (const { name } of description?.outputs ?? []) {
    const place = endText({ node, name });
    if (!wires.some((wire) => wire.from === place)) outputs.at(place);
  }
}

/** The nodes and all that lie on a way from one of them to another; without these the one node would depend on itself. */
function withBetween(document: Document, ids: ReadonlySet<string>): Set<string> {
  const all = Object.keys(nodesOf(document));
  const chosen = all.filter((id) => ids.has(id));
  const isBetween = (id: string) => chosen.some((one) => reaches(document, one, id)) && chosen.some((one) => reaches(document, id, one));
  return new Set(all.filter((id) => ids.has(id) || isBetween(id)));
}

function topLeft(nodes: NodeEntry[]): Point | null {
  const places = nodes.flatMap(({ position }) => (position ? [position] : []));
  return places.length ? [Math.min(...places.map(([x]) => x)), Math.min(...places.map(([, y]) => y))] : null;
}
