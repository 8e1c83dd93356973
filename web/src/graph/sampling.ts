/** A graph that samples with a file that another graph has saved. */

import { addNote, type Document, end, type NodeEntry, nodesOf, wiresOf } from "./document";
import { expand } from "./expand";
import { expandedIds } from "./expandedIds";
import { samplingGraph } from "./loaders";
import { fieldsOf, type Palette, valueOf, versionOf } from "./palette";
import { innerDocument, subgraphOf } from "./subgraphUse";

/** A finished file: the node that saved it, as runs name it, and its path in the workspace beside those that came with it. */
export interface Finished {
  node: string;
  path: string;
  paths: string[];
}

/** Returns nodes that load a saved file and sample with it as its graph did; null if there are none. */
export function samplingDocument(
  whole: Document,
  palette: Palette,
  { node, path, paths }: Finished,
  note: string,
): Document | null {
  const known = expandedIds(whole);
  const { document, id } = unpacked(whole, known.get(node) ?? known.get(node.slice(0, node.lastIndexOf("--"))) ?? []);
  const wire = wiresOf(document).find((each) => end(each.to).node === id);
  const saver = nodesOf(document)[id];
  if (!wire || !saver) return null;
  const source = end(wire.from);
  const chain = modelChain(document, source.node);
  const order = [id, ...chain, ...upstream(document, source.node)];
  const output = palette.get(nodesOf(document)[source.node]?.type ?? "")?.outputs.find(({ name }) => name === source.name);
  const made = samplingGraph({
    saver: saver.type,
    isCheckpoint: output?.type === "Checkpoint",
    path,
    paths,
    words: wordsOf(document, palette, order),
    used: (type) => used(document, order, wire.from, saver, type),
  });
  const named = made && { ...withVersions(made, palette), name: `${document.name ?? "workflow"} samples` };
  const trainings = chain.filter((each) => isTraining(palette, nodesOf(document)[each]));
  const isWhole = Object.values(named?.nodes ?? {}).some((each) => each.fields?.model === path);
  return named && trainings.length > 1 && !isWhole ? addNote(named, { text: note, position: [0, 480], size: [272, 160] }) : named;
}

function withVersions(document: Document, palette: Palette): Document {
  const nodes = Object.entries(nodesOf(document)).map(([id, node]) => [id, { ...node, ...versionOf(palette.get(node.type)) }]);
  return { ...document, nodes: Object.fromEntries(nodes) };
}

/** The node, and those before it through which its model comes. */
function modelChain(document: Document, from: string): string[] {
  const chain = new Set<string>();
  for (let id: string | undefined = from; id !== undefined && !chain.has(id); ) {
    chain.add(id);
    const wire = wiresOf(document).find((each) => each.to === `${id}.model`);
    id = wire && end(wire.from).node;
  }
  return [...chain];
}

/** The document with the subgraphs that lead to a node taken apart, and the id that the node has then. */
function unpacked(document: Document, [id = "", inner, ...further]: string[]): { document: Document; id: string } {
  if (inner === undefined) return { document, id };
  const members = Object.keys(nodesOf(innerDocument(document, subgraphOf(nodesOf(document)[id]) ?? "")));
  const { document: flat, ids } = expand(document, id);
  return unpacked(flat, [ids[members.indexOf(inner)] ?? "", ...further]);
}

const isTraining = (palette: Palette, entry: NodeEntry | undefined): boolean =>
  palette.get(entry?.type ?? "")?.category === "methods";

/** The words that the graph trains, nearest first. */
function wordsOf(document: Document, palette: Palette, order: string[]): string[] {
  return order.flatMap((id) => {
    const entry = nodesOf(document)[id];
    const description = palette.get(entry?.type ?? "");
    const field = description && fieldsOf(description).find(({ name }) => name === "placeholder_token");
    const word = field && isTraining(palette, entry) ? valueOf(field, entry?.fields) : undefined;
    return typeof word === "string" ? [word] : [];
  });
}

/** Returns the fields of the node of a class that sampled with the file, that is upstream of it, or that is in the graph. */
function used(document: Document, order: string[], from: string, saver: NodeEntry, type: string): Record<string, unknown> {
  const all = Object.entries(nodesOf(document)).filter(([, entry]) => entry.type === type);
  const fed = new Set(wiresOf(document).flatMap((wire) => (wire.from === from ? [end(wire.to).node] : [])));
  const near = order.find((id) => nodesOf(document)[id]?.type === type);
  const found = all.find(([id]) => fed.has(id))?.[1] ?? nodesOf(document)[near ?? ""] ?? all[0]?.[1];
  if (found) return found.fields ?? {};
  const trigger = saver.fields?.trigger_phrase;
  if (type === "SampleImages" && trigger) return { prompts: trigger };
  const first = order.flatMap((id) => nodesOf(document)[id]?.fields?.path ?? [])[0];
  return type === "LoadModel" && first !== undefined ? { model: first } : {};
}

/** A node and all that it depends on, nearest first. */
export function upstream(document: Document, id: string): Set<string> {
  const found = new Set([id]);
  for (const each of found) {
    for (const wire of wiresOf(document)) if (end(wire.to).node === each) found.add(end(wire.from).node);
  }
  return found;
}
