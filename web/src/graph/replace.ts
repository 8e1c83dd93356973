/** Another class in a node's place. */

import { describe } from "./describe";
import { type Document, end, endText, nodesOf, type Wire, wiresOf } from "./document";
import {
  type FieldSpec,
  faultOf,
  fieldSocketOf,
  fieldsOf,
  inputOf,
  type NodeDescription,
  outputOf,
  type Palette,
  versionOf,
} from "./palette";

interface Socket {
  name: string;
  accepts: string[];
  many: boolean;
}

/** Sockets that incoming wires have by name, and those that were given away. */
interface Places {
  named: Set<string>;
  taken: Set<string>;
}

/** The document with another class in a node's place, its wires on sockets of the same name or else of a fitting type, and the wires that found none. */
export function replaceNode(
  document: Document,
  palette: Palette,
  id: string,
  newType: string,
): { document: Document; lost: Wire[] } {
  const [entry, described] = [nodesOf(document)[id], palette.get(newType)];
  if (!entry || !described) return { document, lost: [] };
  const nodes = {
    ...nodesOf(document),
    [id]: { ...entry, type: newType, ...versionOf(described), fields: kept(entry.fields ?? {}, described) },
  };
  const incoming = wiresOf(document).filter((wire) => end(wire.to).node === id);
  const places: Places = { named: new Set(incoming.map((wire) => end(wire.to).name)), taken: new Set() };
  const moved = wiresOf(document).map((wire) => {
    if (end(wire.to).node === id) return ending(wire, document, palette, described, places);
    return end(wire.from).node === id ? beginning(wire, document, palette, described) : wire;
  });
  const lost = wiresOf(document).filter((_, index) => moved[index] === null);
  return { document: { ...document, nodes, wires: moved.filter((wire) => wire !== null) }, lost };
}

function kept(fields: Record<string, unknown>, described: NodeDescription): Record<string, unknown> {
  const specs = new Map(fieldsOf(described).map((spec) => [spec.name, spec]));
  const fitting = Object.entries(fields).filter(([name, value]) => {
    const spec = specs.get(name);
    return spec && ((value === null && spec.default === null) || (isOfKind(spec, value) && faultOf(spec, value) === null));
  });
  return Object.fromEntries(fitting);
}

function isOfKind({ kind }: FieldSpec, value: unknown): boolean {
  if (kind === "choice") return true;
  if (kind === "switch") return typeof value === "boolean";
  return kind === "integer" || kind === "number" || kind === "seed" ? typeof value === "number" : typeof value === "string";
}

function ending(wire: Wire, document: Document, palette: Palette, described: NodeDescription, places: Places): Wire | null {
  const [from, to] = [end(wire.from), end(wire.to)];
  const source = describe(document, palette, from.node);
  const type = source && outputOf(source, from.name)?.type;
  const fields = described.field_sockets.filter((socket) => !socket.refuses).map((socket) => ({ ...socket, many: false }));
  const fits = (socket: Socket) => (!type || socket.accepts.includes(type)) && (socket.many || !places.taken.has(socket.name));
  const isNamesake = (socket: Socket) => socket.name === to.name && fits(socket);
  const isFree = (socket: Socket) => fits(socket) && (socket.many || !places.named.has(socket.name));
  const found = [...described.inputs, ...fields].find(isNamesake) ?? (type ? described.inputs.find(isFree) : undefined);
  if (!found) return null;
  places.taken.add(found.name);
  return found.name === to.name ? wire : { ...wire, to: endText({ node: to.node, name: found.name }) };
}

function beginning(wire: Wire, document: Document, palette: Palette, described: NodeDescription): Wire | null {
  const [from, to] = [end(wire.from), end(wire.to)];
  const target = describe(document, palette, to.node);
  const accepts = target && (inputOf(target, to.name) ?? fieldSocketOf(target, to.name))?.accepts;
  const fits = (type: string) => !accepts || accepts.includes(type);
  const namesake = outputOf(described, from.name);
  const found = namesake && fits(namesake.type) ? namesake : accepts && described.outputs.find((socket) => fits(socket.type));
  if (!found) return null;
  return found.name === from.name ? wire : { ...wire, from: endText({ node: from.node, name: found.name }) };
}
