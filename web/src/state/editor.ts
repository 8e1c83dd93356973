/** The open documents: tabs, their history, and what is selected. */

import { create } from "zustand";
import type { PaletteReply, Problem } from "../api/types";
import { type Document, emptyDocument, nodesOf } from "../graph/document";
import { joined } from "../graph/expandedIds";
import { begin, type History, record, redo, undo } from "../graph/history";
import { makePalette, type Palette } from "../graph/palette";
import { innerDocument, subgraphOf, withInner } from "../graph/subgraph";

export interface Tab {
  id: string;
  /** The saved workflow that it belongs to; empty when it was never saved. */
  path: string;
  savedRevision: string;
  /** The document as last saved or opened; any other is unsaved work. */
  saved: Document;
  history: History<Document>;
  /** Nodes whose subgraphs were entered, outermost first. */
  inside: string[];
  /** Canvas ids: node ids, `note:N`, `group:N`. */
  selected: ReadonlySet<string>;
  selectedWires: ReadonlySet<string>;
  run: string;
  problems: Problem[];
  /** Nodes that will not run, or (with a field) run without a wire, because others are muted or bypassed. */
  warnings: Problem[];
  plan: Record<string, "run" | "cached" | "skipped">;
}

interface EditorState {
  palette: Palette;
  /** Names of the widgets that node packages bring. */
  widgets: ReadonlySet<string>;
  tabs: Tab[];
  current: string;
}

export const useEditor = create<EditorState>(() => ({ palette: new Map(), widgets: new Set(), tabs: [], current: "" }));

const NONE: ReadonlySet<string> = new Set();
const get = useEditor.getState;
const set = useEditor.setState;

export function setPalette(reply: PaletteReply): void {
  set({ palette: makePalette(reply.nodes), widgets: new Set(reply.widgets) });
}

/** `crypto.randomUUID` does not exist where the page comes from another machine over plain HTTP. */
export function randomId(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export function makeTab(document: Document, change: Partial<Tab> = {}): Tab {
  return {
    id: randomId(),
    path: "",
    savedRevision: "",
    saved: document,
    history: begin(document),
    inside: [],
    selected: NONE,
    selectedWires: NONE,
    run: "",
    problems: [],
    warnings: [],
    plan: {},
    ...change,
  };
}

/** Show a new tab; an untouched empty one makes room. */
export function openTab(tab: Tab): void {
  const kept = get().tabs.filter((other) => !isPristine(other));
  set({ tabs: [...kept, tab], current: tab.id });
}

function isPristine(tab: Tab): boolean {
  return !tab.path && !isDirty(tab) && Object.keys(nodesOf(tab.history.present)).length === 0;
}

export function openEmpty(): void {
  const tab = makeTab(emptyDocument());
  set({ tabs: [...get().tabs, tab], current: tab.id });
}

export function closeTab(id: string): void {
  const { tabs, current } = get();
  const at = tabs.findIndex((tab) => tab.id === id);
  const rest = tabs.filter((tab) => tab.id !== id);
  const next = rest[Math.min(at, rest.length - 1)];
  set({ tabs: rest, current: current === id ? (next?.id ?? "") : current });
  if (rest.length === 0) openEmpty();
}

export const showTab = (id: string): void => set({ current: id });

export function currentTab(state: EditorState = get()): Tab | undefined {
  return state.tabs.find((tab) => tab.id === state.current);
}

export function changeTab(id: string, change: Partial<Tab> | ((tab: Tab) => Partial<Tab>)): void {
  set((state) => ({
    tabs: state.tabs.map((tab) => (tab.id === id ? { ...tab, ...(typeof change === "function" ? change(tab) : change) } : tab)),
  }));
}

const changeCurrent = (change: (tab: Tab) => Partial<Tab>) => changeTab(get().current, change);

export const isDirty = (tab: Tab): boolean => tab.history.present !== tab.saved;

/** The subgraph that the canvas shows; undefined for the whole document, also when the entered node is gone. */
function shownSubgraph(document: Document, inside: string[]): string | undefined {
  let [shown, found] = [document, undefined as string | undefined];
  for (const node of inside) {
    const subgraph = subgraphOf(nodesOf(shown)[node]);
    if (subgraph === null) return found;
    found = subgraph;
    shown = innerDocument(document, subgraph);
  }
  return found;
}

/** The document on the canvas: the tab's, or that of the subgraph that was entered. */
export function shownDocument(tab: Tab): Document {
  const inner = shownSubgraph(tab.history.present, tab.inside);
  return inner === undefined ? tab.history.present : innerDocument(tab.history.present, inner);
}

/** The name under which the subgraph that was entered shows a socket of an inner node outside; empty for a socket that it keeps. */
export function outerName(tab: Tab | undefined, place: string, side: "in" | "out"): string {
  const id = tab && tab.inside.length > 0 ? shownSubgraph(tab.history.present, tab.inside) : undefined;
  const subgraph = id === undefined ? undefined : tab?.history.present.subgraphs?.[id];
  const sockets = (side === "in" ? subgraph?.inputs : subgraph?.outputs) ?? {};
  return Object.keys(sockets).find((name) => sockets[name] === place) ?? "";
}

/** The id by which runs and problems name a node of the canvas. */
export const runId = (tab: Tab | undefined, id: string): string => joined((tab?.inside ?? []).reduce(joined, ""), id);

/** Returns whether `named` is the node `id`, or one inside it. */
export const concerns = (named: string, id: string): boolean => named === id || named.startsWith(`${id}--`);

/** Edit the document on the canvas, or in another tab; edits with the same key in a row are undone at once. */
export function edit(change: (document: Document) => Document, key = "", tab = get().current): void {
  changeTab(tab, (tab) => {
    const before = shownDocument(tab);
    const after = change(before);
    if (after === before) return {};
    const inner = shownSubgraph(tab.history.present, tab.inside);
    const whole = inner === undefined ? after : withInner(tab.history.present, inner, after);
    return { history: record(tab.history, whole, key) };
  });
}

export const undoEdit = (): void => changeCurrent((tab) => ({ history: undo(tab.history) }));
export const redoEdit = (): void => changeCurrent((tab) => ({ history: redo(tab.history) }));

export function select(nodes: Iterable<string>, wires: Iterable<string> = []): void {
  changeCurrent(() => ({ selected: new Set(nodes), selectedWires: new Set(wires) }));
}

/** Enter the subgraph that a node stands for. */
export function enter(node: string): void {
  changeCurrent((tab) => ({ inside: [...tab.inside, node], selected: NONE, selectedWires: NONE }));
}

/** Leave to `depth` subgraphs deep. */
export function leaveTo(depth: number): void {
  changeCurrent((tab) => ({ inside: tab.inside.slice(0, depth), selected: NONE, selectedWires: NONE }));
}

export const EMPTY = emptyDocument();

/** The document on the canvas, for components. */
export function useDocument(): Document {
  return useEditor((state) => {
    const tab = currentTab(state);
    return tab ? shownDocumentOnce(tab) : EMPTY;
  });
}

let last: { document: Document; inside: string[]; shown: Document } | null = null;

/** The same object as long as nothing has changed. */
function shownDocumentOnce(tab: Tab): Document {
  if (last?.document !== tab.history.present || last.inside !== tab.inside) {
    last = { document: tab.history.present, inside: tab.inside, shown: shownDocument(tab) };
  }
  return last.shown;
}
