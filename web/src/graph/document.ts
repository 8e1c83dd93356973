/** The document and every edit of it: pure functions that return a new document and share what did not change. */

import type { Group, NodeEntry, Note, Wire, Workflow } from "../api/types";

export type { Group, NodeEntry, Note, Wire };
export type Document = Workflow;
export type Point = [number, number];

/** One end of a wire. */
export interface End {
  node: string;
  name: string;
}

export const NODE_WIDTH = 272;

export function emptyDocument(name = "untitled"): Document {
  return { format: "latentloom/1", name, nodes: {}, wires: [] };
}

export const nodesOf = (document: Document): Record<string, NodeEntry> => document.nodes ?? {};
export const wiresOf = (document: Document): Wire[] => document.wires ?? [];
export const notesOf = (document: Document): Note[] => document.notes ?? [];
export const groupsOf = (document: Document): Group[] => document.groups ?? [];

export function end(text: string): End {
  const dot = text.indexOf(".");
  return { node: text.slice(0, dot), name: text.slice(dot + 1) };
}

export const endText = (place: End): string => `${place.node}.${place.name}`;

/** An id that is not taken: the class name in words, numbered from the second on. */
export function freshId(taken: Record<string, unknown>, type: string): string {
  const base = type
    .replace("LoRA", "Lora")
    .replace(/([a-z])([A-Z])/g, "$1_$2")
    .replace(/([A-Z])([A-Z][a-z])/g, "$1_$2")
    .toLowerCase()
    .slice(0, 48);
  let id = base;
  for (let number = 2; id in taken; number++) id = `${base}_${number}`;
  return id;
}

export function addNode(document: Document, entry: NodeEntry): [Document, string] {
  const id = freshId(nodesOf(document), entry.type);
  return [{ ...document, nodes: { ...nodesOf(document), [id]: entry } }, id];
}

export function changeNode(document: Document, id: string, change: Partial<NodeEntry>): Document {
  const entry = nodesOf(document)[id];
  return entry ? { ...document, nodes: { ...nodesOf(document), [id]: { ...entry, ...change } } } : document;
}

export function changeNodes(document: Document, ids: Iterable<string>, change: Partial<NodeEntry>): Document {
  let changed = document;
  for (const id of ids) changed = changeNode(changed, id, change);
  return changed;
}

/** Give a field a value; undefined takes it back to its default. */
export function setField(document: Document, id: string, field: string, value: unknown): Document {
  const entry = nodesOf(document)[id];
  if (!entry) return document;
  const fields = { ...entry.fields };
  if (value === undefined) delete fields[field];
  else fields[field] = value;
  return changeNode(document, id, { fields });
}

/** Remove nodes with their wires; groups forget them. */
export function removeNodes(document: Document, ids: ReadonlySet<string>): Document {
  const kept = Object.fromEntries(Object.entries(nodesOf(document)).filter(([id]) => !ids.has(id)));
  const wires = wiresOf(document).filter((wire) => !ids.has(end(wire.from).node) && !ids.has(end(wire.to).node));
  const groups = groupsOf(document).map((group) => {
    const members = (group.nodes ?? []).filter((id) => !ids.has(id));
    return members.length === (group.nodes ?? []).length ? group : { ...group, nodes: members };
  });
  return { ...document, nodes: kept, wires, groups };
}

/** Lay a wire; where `many` is false it takes the place of the wire that ends there. */
export function connect(document: Document, from: End, to: End, many: boolean): Document {
  const [source, target] = [endText(from), endText(to)];
  const wires = wiresOf(document).filter((wire) => (many ? wire.from !== source || wire.to !== target : wire.to !== target));
  return { ...document, wires: [...wires, { from: source, to: target }] };
}

export function removeWires(document: Document, isDoomed: (wire: Wire) => boolean): Document {
  const wires = wiresOf(document).filter((wire) => !isDoomed(wire));
  return wires.length === wiresOf(document).length ? document : { ...document, wires };
}

export function changeWire(document: Document, from: string, to: string, change: Partial<Wire>): Document {
  const wires = wiresOf(document).map((wire) => (wire.from === from && wire.to === to ? { ...wire, ...change } : wire));
  return { ...document, wires };
}

/** For wires that share an input, their order there: `a`, `b`, and so on; after `z` numbers. */
export function wireOrders(wires: Wire[]): Map<Wire, string> {
  const totals = new Map<string, number>();
  for (const wire of wires) totals.set(wire.to, (totals.get(wire.to) ?? 0) + 1);
  const [orders, counts] = [new Map<Wire, string>(), new Map<string, number>()];
  for (const wire of wires) {
    const index = counts.get(wire.to) ?? 0;
    counts.set(wire.to, index + 1);
    if ((totals.get(wire.to) ?? 0) > 1) orders.set(wire, orderName(index));
  }
  return orders;
}

const orderName = (index: number): string => (index < 26 ? String.fromCharCode(97 + index) : String(index + 1));

export function addNote(document: Document, note: Note): Document {
  return { ...document, notes: [...notesOf(document), note] };
}

export function changeNote(document: Document, index: number, change: Partial<Note>): Document {
  return { ...document, notes: notesOf(document).map((note, at) => (at === index ? { ...note, ...change } : note)) };
}

export function removeNotes(document: Document, indices: ReadonlySet<number>): Document {
  return { ...document, notes: notesOf(document).filter((_, at) => !indices.has(at)) };
}

export function addGroup(document: Document, group: Group): Document {
  return { ...document, groups: [...groupsOf(document), group] };
}

export function changeGroup(document: Document, index: number, change: Partial<Group>): Document {
  return { ...document, groups: groupsOf(document).map((group, at) => (at === index ? { ...group, ...change } : group)) };
}

export function removeGroups(document: Document, indices: ReadonlySet<number>): Document {
  return { ...document, groups: groupsOf(document).filter((_, at) => !indices.has(at)) };
}

/** Give another id to a node, its wires and its groups; the document as it is when the id is taken or of no use. */
export function renameNode(document: Document, id: string, wanted: string): Document {
  const nodes = nodesOf(document);
  if (!(id in nodes) || wanted in nodes || !/^[\w-]{1,64}$/.test(wanted)) return document;
  const rename = (text: string) => {
    const place = end(text);
    return place.node === id ? endText({ node: wanted, name: place.name }) : text;
  };
  return {
    ...document,
    nodes: Object.fromEntries(Object.entries(nodes).map(([key, entry]) => [key === id ? wanted : key, entry])),
    wires: wiresOf(document).map((wire) => ({ ...wire, from: rename(wire.from), to: rename(wire.to) })),
    groups: groupsOf(document).map((group) => ({
      ...group,
      nodes: (group.nodes ?? []).map((key) => (key === id ? wanted : key)),
    })),
  };
}
