/** Open dialogs and panels, and the user's preferences. */

import { create } from "zustand";
import type { End, Point } from "../graph/document";
import type { Dropped } from "../graph/dropped";

export type Theme = "system" | "dark" | "light";
export type Side = "node" | "run" | "queue";

/** The position of a new node, and the socket to wire it to. */
export interface SearchRequest {
  at: Point;
  from?: End & { isOutput: boolean };
  /** The node that is to be replaced. */
  replace?: string;
}

export interface Picture {
  src: string;
  caption: string;
  /** Pictures of one group have the same prompt, by several models. */
  group?: string;
}

export interface PictureRequest {
  pictures: Picture[];
  index: number;
}

/** The node that gets the folder of a new dataset: an existing one, or a new one at a position. */
export interface DataSetUse {
  tab: string;
  node: string | null;
  at: Point;
}

export interface FilesRequest {
  kind: "files";
  wanted: "workspace-folder" | "workspace-file" | "workspace-path" | "model";
  start: string;
  /** The node whose pictures these are to be; null where no pictures are wanted. */
  pictures: string | null;
  choose: (path: string) => void;
}

export type Dialog =
  | { kind: "templates" }
  | { kind: "workflows" }
  | { kind: "saveAs" }
  | { kind: "commands" }
  | { kind: "shortcuts" }
  | { kind: "find" }
  | { kind: "search"; request: SearchRequest }
  | FilesRequest
  | { kind: "newDataSet"; files: Dropped[]; use: DataSetUse }
  | { kind: "dataset"; node: string; folder: string }
  | { kind: "pictures"; request: PictureRequest }
  | { kind: "conflict"; path: string };

export interface Toast {
  id: number;
  text: string;
  /** A busy one stays until it is updated. */
  level: "info" | "warning" | "error" | "busy";
  action?: { label: string; run: () => void };
}

interface UiState {
  dialog: Dialog | null;
  side: Side | null;
  theme: Theme;
  toasts: Toast[];
  /** The end from which a wire is being dragged. */
  wiring: (End & { isOutput: boolean }) | null;
  minimap: boolean;
  keys: Record<string, string>;
}

const stored = <T>(name: string, otherwise: T): T => {
  try {
    const text = localStorage.getItem(`latentloom.${name}`);
    return text === null ? otherwise : (JSON.parse(text) as T);
  } catch {
    return otherwise;
  }
};

export const useUi = create<UiState>(() => ({
  dialog: null,
  side: stored<Side | null>("side", "node"),
  theme: stored<Theme>("theme", "system"),
  toasts: [],
  wiring: null,
  minimap: stored("minimap", true),
  keys: stored<Record<string, string>>("keys", {}),
}));

const set = useUi.setState;

/** Change a preference and remember it in this browser. */
export function prefer(change: Partial<Pick<UiState, "side" | "theme" | "minimap" | "keys">>): void {
  set(change);
  for (const [name, value] of Object.entries(change)) localStorage.setItem(`latentloom.${name}`, JSON.stringify(value));
}

export const openDialog = (dialog: Dialog | null): void => set({ dialog });
export const setWiring = (wiring: UiState["wiring"]): void => set({ wiring });

let count = 0;

/** Show a message; return the number by which it can be updated. */
export function toast(text: string, level: Toast["level"] = "info", action?: Toast["action"]): number {
  const id = ++count;
  set((state) => ({ toasts: [...state.toasts.slice(-3), { id, text, level, action }] }));
  if (level !== "error" && level !== "busy") setTimeout(() => dismiss(id), action ? 10_000 : 5_000);
  return id;
}

/** Say something else in the place of a message; it is there again if it was closed. */
export function retell(id: number, text: string, level: Toast["level"]): void {
  const isThere = useUi.getState().toasts.some((item) => item.id === id);
  if (isThere) set((state) => ({ toasts: state.toasts.map((item) => (item.id === id ? { ...item, text, level } : item)) }));
  else if (level !== "busy") toast(text, level);
  if (isThere && level === "info") setTimeout(() => dismiss(id), 5_000);
}

/** Errors are about what was tried before. */
export const dismissErrors = (): void => set((state) => ({ toasts: state.toasts.filter((item) => item.level !== "error") }));

/** A message that is true no longer. */
export const dismissSaying = (text: string): void =>
  set((state) => ({ toasts: state.toasts.filter((item) => item.text !== text) }));

export const dismiss = (id: number): void => set((state) => ({ toasts: state.toasts.filter((item) => item.id !== id) }));
