/** Documents from text that may come from anywhere. */

import type { Document } from "./document";

/** The document that a text holds; null when it is anything else. */
export function parsedDocument(text: string): Document | null {
  if (!text.trimStart().startsWith("{")) return null;
  try {
    const value: unknown = JSON.parse(text);
    return isDocument(value) ? value : null;
  } catch {
    return null;
  }
}

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === "object" && value !== null;
const isPoint = (value: unknown): boolean =>
  value == null || (Array.isArray(value) && value.length === 2 && value.every(Number.isFinite));

function isDocument(value: unknown): value is Document {
  if (!isObject(value) || value.format !== "latentloom/1" || !isObject(value.nodes ?? {})) return false;
  const all = (list: unknown, isGood: (item: Record<string, unknown>) => boolean): boolean =>
    Array.isArray(list ?? []) && ((list ?? []) as unknown[]).every((item) => isObject(item) && isGood(item));
  const isNode = (item: Record<string, unknown>) =>
    typeof item.type === "string" && isPoint(item.position) && isObject(item.fields ?? {});
  const isWire = (wire: Record<string, unknown>) =>
    typeof wire.from === "string" && typeof wire.to === "string" && all(wire.via, (point) => isPoint(point));
  const isGraph = (graph: Record<string, unknown>) => all(Object.values(graph.nodes ?? {}), isNode) && all(graph.wires, isWire);
  return (
    isGraph(value) &&
    all(value.groups, (group) => isPoint(group.position) && Array.isArray(group.nodes ?? [])) &&
    all(value.notes, (note) => typeof note.text === "string" && isPoint(note.position)) &&
    isObject(value.subgraphs ?? {}) &&
    all(Object.values(value.subgraphs ?? {}), isGraph)
  );
}
