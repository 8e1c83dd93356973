/** Estimated sizes of nodes, before the browser has measured them. */

import type { NodeEntry } from "./document";
import { type FieldSpec, fieldsOf, type NodeDescription } from "./palette";

const [HEADER, ROW, SOCKET, FOLD, PADDING] = [52, 30, 24, 28, 12];
const SHOWN = 5;

/** The fields that a node shows at once; the others are folded. */
export function mainFields(description: NodeDescription, entry: NodeEntry): FieldSpec[] {
  const plain = fieldsOf(description).filter((field) => field.group === "");
  return plain.filter((field, index) => index < SHOWN || field.required || entry.fields?.[field.name] !== undefined);
}

/** Fields that are folded, by heading; those without a group of their own come under an empty heading. */
export function foldedFields(description: NodeDescription, entry: NodeEntry): [string, FieldSpec[]][] {
  const main = new Set(mainFields(description, entry));
  const folded = new Map<string, FieldSpec[]>();
  for (const field of fieldsOf(description)) {
    if (!main.has(field)) folded.set(field.group, [...(folded.get(field.group) ?? []), field]);
  }
  return [...folded];
}

export interface Spot {
  id: string;
  type: "source" | "target";
  y: number;
}

/** Returns the estimated positions of a node's sockets: the middle of each, in pixels from the node's top. */
export function estimatedSockets(description: NodeDescription | undefined): Spot[] {
  const row = (name: string, index: number, type: Spot["type"]): Spot => ({
    id: name,
    type,
    y: HEADER + 4 + SOCKET * (index + 0.5),
  });
  return [
    ...(description?.inputs ?? []).map((socket, index) => row(socket.name, index, "target")),
    ...(description?.outputs ?? []).map((socket, index) => row(socket.name, index, "source")),
  ];
}

export function estimatedHeight(description: NodeDescription | undefined, entry: NodeEntry): number {
  if (!description || entry.collapsed) return HEADER;
  const sockets = Math.max(description.inputs.length, description.outputs.length) * SOCKET;
  const prompts = mainFields(description, entry).filter((field) => field.widget === "prompt").length;
  const fields = mainFields(description, entry).length * ROW + prompts * 48;
  return HEADER + sockets + fields + (foldedFields(description, entry).length > 0 ? FOLD : 0) + PADDING;
}
