/** A graph that draws with what another graph has trained. */

import { addNode, connect, type Document, end, nodesOf, removeNodes, wiresOf } from "./document";
import { expand } from "./expand";
import { expandedIds } from "./expandedIds";
import { innerDocument, subgraphOf } from "./subgraphUse";

const GAP = 320;

/** What the input of a saving node needs, and nodes that draw with it; null when nothing is wired to the node, which is named as runs name it. */
export function samplingDocument(whole: Document, saving: string): Document | null {
  const { document, id } = unpacked(whole, expandedIds(whole).get(saving) ?? []);
  const wire = wiresOf(document).find((each) => end(each.to).node === id);
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
  const [keeping, pictures] = addNode(drawing, { type: "SaveImages", position: [x + 2 * GAP, y] });
  const sampled = connect(keeping, source, { node: sample, name: "models" }, true);
  const finished = connect(sampled, { node: sample, name: "output" }, { node: pictures, name: "images" }, false);
  return { ...finished, name: `${document.name ?? "workflow"} samples` };
}

/** The document with the subgraphs that lead to a node taken apart, and the id that the node has then. */
function unpacked(document: Document, [id = "", inner, ...further]: string[]): { document: Document; id: string } {
  if (inner === undefined) return { document, id };
  const members = Object.keys(nodesOf(innerDocument(document, subgraphOf(nodesOf(document)[id]) ?? "")));
  const { document: flat, ids } = expand(document, id);
  return unpacked(flat, [ids[members.indexOf(inner)] ?? "", ...further]);
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
