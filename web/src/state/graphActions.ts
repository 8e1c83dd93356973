/** Edits of the document on the canvas that need the selection, sizes on the screen, or the palette. */

import { api } from "../api/client";
import { type Alignment, align, type Box, clearOf, distribute } from "../graph/arrange";
import { copyOf, duplicate, paste } from "../graph/clipboard";
import { describe } from "../graph/describe";
import {
  addGroup,
  addNode,
  addNote,
  changeNode,
  changeNodes,
  changeNote,
  connect,
  type Document,
  type End,
  NODE_WIDTH,
  nodesOf,
  notesOf,
  type Point,
  removeGroups,
  removeNodes,
  removeNotes,
  removeWires,
  wiresOf,
} from "../graph/document";
import { parsedDocument } from "../graph/documentText";
import { mayBeEarlier } from "../graph/earlier";
import { expandedIds } from "../graph/expandedIds";
import { versionOf } from "../graph/palette";
import { replaceNode } from "../graph/replace";
import { estimatedHeight } from "../graph/size";
import { collapse, expand, SUBGRAPH } from "../graph/subgraph";
import { handsOn, matchingSocket, verdict } from "../graph/verdicts";
import { text } from "../text/en";
import { readClipboard, writeClipboard } from "./clipboard";
import { changeTab, currentTab, edit, enter, select, shownDocument, useEditor } from "./editor";
import { toast } from "./ui";
import { view } from "./view";

export const wireId = (wire: { from: string; to: string }): string => `${wire.from}>${wire.to}`;

const GAP = 40;

const shown = (): Document | null => {
  const tab = currentTab();
  return tab ? shownDocument(tab) : null;
};

/** Ids of the selected nodes, without notes and groups. */
export function selectedNodes(): string[] {
  const [tab, document] = [currentTab(), shown()];
  return tab && document ? [...tab.selected].filter((id) => id in nodesOf(document)) : [];
}

const indices = (prefix: string): Set<number> => {
  const found = [...(currentTab()?.selected ?? [])].filter((id) => id.startsWith(prefix));
  return new Set(found.map((id) => Number(id.slice(prefix.length))));
};

/** Show a node by the id that runs and problems give it; one inside a subgraph is shown there, for a copy what was copied. */
export function goTo(id: string): void {
  const tab = currentTab();
  const known = tab && expandedIds(tab.history.present);
  const path = known?.get(id) ?? known?.get(id.slice(0, id.lastIndexOf("--")));
  if (!tab || !path) return;
  changeTab(tab.id, { inside: path.slice(0, -1) });
  const last = path.at(-1);
  if (last !== undefined) setTimeout(() => view.show(last), 50); // after the canvas has the other nodes, and has fitted them
}

/** Place a node, wired to `from` when a socket fits; a class that is placed between two ends is chosen by the person. */
export function place(type: string, at: Point, from?: End & { isOutput: boolean }): void {
  const { palette } = useEditor.getState();
  const before = shown();
  if (!before) return;
  const isBefore = from && !from.isOutput; // a node for an input is placed to its left, so that its outputs are at the place
  const corner: Point = isBefore ? [at[0] - NODE_WIDTH, at[1]] : at;
  const position = freePlace(before, corner, estimatedHeight(palette.get(type), { type }));
  const [added, id] = addNode(before, { type, position, ...versionOf(palette.get(type)) });
  const socket = from && matchingSocket(before, palette, from, from.isOutput, type);
  const own = socket && { node: id, name: socket.name };
  const wired = own && (from.isOutput ? connect(added, from, own, socket.many) : connect(added, own, from, socket.many));
  edit(() => wired || added);
  select([id]);
  view.reveal(id);
}

/** The place itself, or the next one down where a node of this height covers no other. */
function freePlace(document: Document, [x, y]: Point, height: number): Point {
  const boxes = Object.values(view.boxes(Object.keys(nodesOf(document))));
  const place: Point = [Math.round(x), Math.round(y)];
  for (let box = covered(boxes, place, height); box; box = covered(boxes, place, height)) {
    place[1] = Math.ceil(box.y + box.height) + GAP;
  }
  return place;
}

const covered = (boxes: Box[], [x, y]: Point, height: number): Box | undefined =>
  boxes.find((box) => box.x < x + NODE_WIDTH && x < box.x + box.width && box.y < y + height && y < box.y + box.height);

/** Lay a wire if it fits; say why if it does not. */
export function wire(from: End, to: End): boolean {
  const document = shown();
  if (!document) return false;
  const found = verdict(document, useEditor.getState().palette, from, to);
  if (found.fits) edit((now) => connect(now, from, to, found.many));
  else toast(text.refusal(found.refusal), "warning");
  return found.fits;
}

export function removeSelected(): void {
  const tab = currentTab();
  if (!tab) return;
  edit((document) => {
    const wires = removeWires(document, (each) => tab.selectedWires.has(wireId(each)));
    return removeGroups(removeNotes(removeNodes(wires, new Set(selectedNodes())), indices("note:")), indices("group:"));
  });
  select([]);
}

/** The selected nodes and notes as text; null when there are none. */
export function copiedText(): string | null {
  const document = shown();
  const ids = selectedNodes();
  if (!document || ids.length + indices("note:").size === 0) return null;
  return copyOf(document, new Set(ids), indices("note:"));
}

export async function copySelected(): Promise<void> {
  const content = copiedText();
  if (content !== null) await writeClipboard(content);
}

export async function cutSelected(): Promise<void> {
  await copySelected();
  removeSelected();
}

/** Paste what the browser lets the page read without a key press. */
export async function pasteFromClipboard(): Promise<void> {
  const content = await readClipboard();
  if (content === null) toast(text.pasteByKeys, "warning");
  else pasteText(content);
}

/** Paste a graph that was copied here, in another tab, or as JSON text from anywhere; one of an earlier release after a moment. */
export function pasteText(content: string, at?: Point): boolean {
  const pasted = parsedDocument(content);
  if (!pasted || !shown()) return false;
  if (!mayBeEarlier(pasted, useEditor.getState().palette)) return pasteCurrent(content, at);
  const current = api.open(pasted).catch(() => ({ document: null }));
  void current.then(({ document }) => pasteCurrent(document ? JSON.stringify(document) : content, at));
  return true;
}

function pasteCurrent(content: string, at?: Point): boolean {
  const document = shown();
  const result = document && paste(document, content, at ?? view.center());
  if (!result) return false;
  edit(() => result.document);
  select(result.ids);
  return true;
}

export function duplicateSelected(withIncomingWires: boolean): void {
  const document = shown();
  const ids = selectedNodes();
  if (!document || ids.length === 0) return;
  const result = duplicate(document, new Set(ids), { withIncomingWires });
  edit(() => result.document);
  select(result.ids);
}

/** Mute or bypass the selection, or make it active again when it is so already. */
export function toggleMode(mode: "muted" | "bypassed"): void {
  setMode(selectedNodes(), mode, true);
}

/** Set the mode of nodes; those without a fitting input for an output cannot be bypassed. */
export function setMode(wanted: string[], mode: "active" | "muted" | "bypassed", isToggled = false): void {
  const { palette } = useEditor.getState();
  const before = shown();
  if (!before) return;
  const refused = mode === "bypassed" ? wanted.filter((id) => !handsOn(describe(before, palette, id))) : [];
  if (refused.length > 0) {
    const titles = refused.map((id) => nodesOf(before)[id]?.title || describe(before, palette, id)?.title || id);
    toast(text.noBypass(titles.join(", ")), "warning");
  }
  const ids = wanted.filter((id) => !refused.includes(id));
  edit((document) => {
    const all = isToggled && ids.every((id) => nodesOf(document)[id]?.mode === mode);
    return changeNodes(document, ids, { mode: all ? "active" : mode });
  });
}

export function toggleCollapsed(): void {
  const ids = selectedNodes();
  edit((document) => {
    const all = ids.every((id) => nodesOf(document)[id]?.collapsed);
    return changeNodes(document, ids, { collapsed: !all });
  });
}

export function alignSelected(how: Alignment): void {
  moveTo(align(view.boxes(selectedNodes()), how));
}

export function distributeSelected(along: "horizontal" | "vertical"): void {
  moveTo(distribute(view.boxes(selectedNodes()), along));
}

export function moveTo(positions: Record<string, Point>, key = ""): void {
  edit((document) => withNodesAt(document, positions), key);
}

function withNodesAt(document: Document, positions: Record<string, Point>): Document {
  let changed = document;
  for (const [id, position] of Object.entries(positions)) changed = changeNode(changed, id, { position });
  return changed;
}

function withNotesAt(document: Document, positions: Map<number, Point>): Document {
  let changed = document;
  for (const [index, position] of positions) changed = changeNote(changed, index, { position });
  return changed;
}

/** Lay out the selection, or everything, from left to right along the wires (ELK's layered algorithm). */
export async function arrange(): Promise<void> {
  const document = shown();
  if (!document) return;
  const chosen = selectedNodes();
  const ids = chosen.length > 1 ? chosen : Object.keys(nodesOf(document));
  const { layered } = await import("./layout");
  const boxes = view.boxes(ids);
  const places = await layered(document, boxes);
  const cards = Object.entries({ ...view.boxes(Object.keys(nodesOf(document))), ...boxes });
  const placed = cards.map(([id, box]) => ({ ...box, ...(places[id] && { x: places[id][0], y: places[id][1] }) }));
  const notes = notesOf(document).map((_, index) => view.boxes([`note:${index}`])[`note:${index}`]);
  edit((now) => withNotesAt(withNodesAt(now, places), clearOf(placed, notes)));
  if (chosen.length < 2) setTimeout(() => view.fit(), 80); // after the canvas has taken the places over
}

export function groupSelected(): void {
  const ids = selectedNodes();
  if (ids.length > 0) edit((document) => addGroup(document, { title: text.newGroup, nodes: ids }));
}

export function placeNote(at: Point = view.center()): void {
  edit((document) =>
    addNote(document, { text: text.newNote, position: [Math.round(at[0]), Math.round(at[1])], size: [280, 140] }),
  );
}

export function collapseSelected(): void {
  const ids = selectedNodes();
  const document = shown();
  if (!document || ids.length === 0) return;
  const result = collapse(document, useEditor.getState().palette, new Set(ids), text.newSubgraph);
  edit(() => result.document);
  select([result.id]);
}

export function expandSelected(): void {
  const document = shown();
  const id = selectedNodes().find((each) => document && nodesOf(document)[each]?.type === SUBGRAPH);
  if (!document || id === undefined) return;
  const result = expand(document, id);
  edit(() => result.document);
  select(result.ids);
}

export function enterSelected(): void {
  const document = shown();
  const id = selectedNodes().find((each) => document && nodesOf(document)[each]?.type === SUBGRAPH);
  if (id !== undefined) enter(id);
}

export function replaceWith(id: string, type: string): void {
  const document = shown();
  if (!document) return;
  const result = replaceNode(document, useEditor.getState().palette, id, type);
  edit(() => result.document);
  if (result.lost.length > 0) toast(text.wiresLost(result.lost.length), "warning");
}

export function selectAll(): void {
  const document = shown();
  if (!document) return;
  const notes = (document.notes ?? []).map((_, index) => `note:${index}`);
  select([...Object.keys(nodesOf(document)), ...notes], wiresOf(document).map(wireId));
}

/** Put a bend into the selected wires, halfway. */
export function addReroute(): void {
  const tab = currentTab();
  const document = shown();
  if (!tab || !document) return;
  for (const each of wiresOf(document)) {
    if (!tab.selectedWires.has(wireId(each))) continue;
    const middle = view.middleOf(each);
    edit((now) => ({
      ...now,
      wires: wiresOf(now).map((other) =>
        wireId(other) === wireId(each) ? { ...other, via: [...(other.via ?? []), middle] } : other,
      ),
    }));
  }
}
