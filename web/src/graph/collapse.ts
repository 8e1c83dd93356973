/** Several nodes as one. */

import { describe } from "./describe";
import { type Document, end, endText, freshId, groupsOf, type NodeEntry, nodesOf, type Wire, wiresOf } from "./document";
import { untakenName } from "./freshIds";
import { topLeft } from "./geometry";
import type { Palette } from "./palette";
import { SUBGRAPH } from "./subgraphUse";
import { reaches } from "./verdicts";

/**
 * The document with the chosen nodes, and those between them, as one Subgraph node, and its id.
 *
 * Wires across the border become sockets, as do inner inputs that need a wire and outputs that have none.
 */
export function collapse(
  document: Document,
  palette: Palette,
  ids: ReadonlySet<string>,
  name: string,
): { document: Document; id: string } {
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
  const isBetween = (id: string) =>
    chosen.some((one) => reaches(document, one, id)) && chosen.some((one) => reaches(document, id, one));
  return new Set(all.filter((id) => ids.has(id) || isBetween(id)));
}
