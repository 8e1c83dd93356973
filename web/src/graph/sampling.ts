/** A graph that draws with what another graph has trained. */

import { addNode, connect, type Document, end, nodesOf, removeNodes, wiresOf } from "./document";

const GAP = 320;

/** What the saved node's input needs, and nodes that draw with it; null when nothing is wired to the node. */
export function samplingDocument(document: Document, saved: string): Document | null {
  const wire = wiresOf(document).find((each) => end(each.to).node === saved);
  if (!wire) return null;
  const source = end(wire.from);
  const needed = upstream(document, source.node);
  const pruned = removeNodes(document, new Set(Object.keys(nodesOf(document)).filter((id) => !needed.has(id))));
  const [x, y] = nodesOf(document)[source.node]?.position ?? [0, 0];
  const [drawing, sample] = addNode(pruned, {
    type: "SampleImages",
    fields: samplerFields(document, wire.from),
    position: [x + GAP, y],
  });
  const [saving, pictures] = addNode(drawing, { type: "SaveImages", position: [x + 2 * GAP, y] });
  const sampled = connect(saving, source, { node: sample, name: "models" }, true);
  const whole = connect(sampled, { node: sample, name: "output" }, { node: pictures, name: "images" }, false);
  return { ...whole, name: `${document.name ?? "workflow"} samples` };
}

/** The settings with which the graph itself draws, if it does. */
function samplerFields(document: Document, from: string): Record<string, unknown> {
  const fed = new Set(wiresOf(document).flatMap((wire) => (wire.from === from ? [end(wire.to).node] : [])));
  const sampler = Object.entries(nodesOf(document)).find(([id, entry]) => entry.type === "SampleImages" && fed.has(id));
  return sampler?.[1].fields ?? {};
}

/** A node and all that it depends on. */
export function upstream(document: Document, id: string): Set<string> {
  const [found, open] = [new Set([id]), [id]];
  for (let each = open.pop(); each !== undefined; each = open.pop()) {
    for (const wire of wiresOf(document)) {
      const source = end(wire.from).node;
      if (end(wire.to).node !== each || found.has(source)) continue;
      found.add(source);
      open.push(source);
    }
  }
  return found;
}
