/** Checks of new wires, with the reason of a refusal. */

import { describe } from "./describe";
import { type Document, type End, end, endText, wiresOf } from "./document";
import { fieldSocketOf, inputOf, type NodeDescription, outputOf, type Palette } from "./palette";

export type Refusal =
  | { code: "unknown" }
  | { code: "sameNode" }
  | { code: "circle" }
  | { code: "there" }
  | { code: "fieldRefuses"; reason: string }
  | { code: "type"; offered: string; needed: string };

export type Verdict = { fits: true; many: boolean } | { fits: false; refusal: Refusal };

const refuse = (refusal: Refusal): Verdict => ({ fits: false, refusal });

export function verdict(document: Document, palette: Palette, from: End, to: End): Verdict {
  const [source, target] = [describe(document, palette, from.node), describe(document, palette, to.node)];
  const output = source && outputOf(source, from.name);
  const input = target && (inputOf(target, to.name) ?? fieldSocketOf(target, to.name));
  if (!output || !input) return refuse({ code: "unknown" });
  if (from.node === to.node) return refuse({ code: "sameNode" });
  if ("refuses" in input && input.refuses) return refuse({ code: "fieldRefuses", reason: input.refuses });
  if (!input.accepts.includes(output.type)) return refuse({ code: "type", offered: output.type, needed: input.type });
  if (wiresOf(document).some((wire) => wire.from === endText(from) && wire.to === endText(to))) return refuse({ code: "there" });
  if (reaches(document, to.node, from.node)) return refuse({ code: "circle" });
  return { fits: true, many: "many" in input && input.many };
}

/** Returns whether `goal` depends on `start`. */
export function reaches(document: Document, start: string, goal: string): boolean {
  const onward = new Map<string, string[]>();
  for (const wire of wiresOf(document)) {
    const source = end(wire.from).node;
    const list = onward.get(source);
    if (list) list.push(end(wire.to).node);
    else onward.set(source, [end(wire.to).node]);
  }
  const [seen, open] = [new Set<string>(), [start]];
  for (let id = open.pop(); id !== undefined; id = open.pop()) {
    if (id === goal) return true;
    if (!seen.has(id)) {
      seen.add(id);
      open.push(...(onward.get(id) ?? []));
    }
  }
  return false;
}

/** Returns whether a bypassed node of this class has an input that can replace one of its outputs. */
export function handsOn(node: NodeDescription | undefined): boolean {
  const inputs = [...(node?.inputs ?? []), ...(node?.field_sockets ?? [])];
  return !node || node.outputs.some((output) => inputs.some((input) => input.accepts.includes(output.type)));
}

/** Of a new node's sockets, the one that a wire from `place` would best end at or come from; null when none fits. */
export function matchingSocket(
  document: Document,
  palette: Palette,
  place: End,
  isOutput: boolean,
  candidate: string,
): { name: string; many: boolean } | null {
  const described = palette.get(candidate);
  const there = describe(document, palette, place.node);
  if (!described || !there) return null;
  if (isOutput) {
    const type = outputOf(there, place.name)?.type ?? "";
    const input = described.inputs.find((socket) => socket.accepts.includes(type));
    if (input) return { name: input.name, many: input.many };
    const field = described.field_sockets.find((socket) => !socket.refuses && socket.accepts.includes(type));
    return field ? { name: field.name, many: false } : null;
  }
  const input = inputOf(there, place.name) ?? fieldSocketOf(there, place.name);
  const output = described.outputs.find((socket) => input?.accepts.includes(socket.type));
  return output && input ? { name: output.name, many: "many" in input && input.many } : null;
}
