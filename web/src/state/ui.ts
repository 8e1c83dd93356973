/** What is open on the screen besides the documents, and what the person prefers. */

import { create } from "zustand";
import type { End, Point } from "../graph/document";

export type Theme = "system" | "dark" | "light";
export type Side = "node" | "run" | "queue";

/** Where a new node goes, and the socket that it should be wired to. */
export interface SearchRequest {
  at: Point;
  from?: End & { isOutput: boolean };
  /** The node that is to be replaced. */
  replace?: string;
}

export interface PictureRequest {
  /** Addresses and captions; two or more can be compared. */
  pictures: { src: string; caption: string }[];
  index: number;
}

export type Dialog =
  | { kind: "templates" }
  | { kind: "workflows" }
  | { kind: "saveAs" }
  | { kind: "commands" }
  | { kind: "shortcuts" }
  | { kind: "find" }
  | { kind: "search"; request: SearchRequest }
  | { kind: "files"; wanted: "workspace-folder" | "workspace-file" | "model"; start: string; choose: (path: string) => void }
  | { kind: "dataset"; node: string; folder: string }
  | { kind: "pictures"; request: PictureRequest }
  | { kind: "conflict"; path: string };

export interface Toast {
  id: number;
  text: string;
  level: "info" | "warning" | "error";
  action?: { label: string; run: () => void };
}

interface UiState {
  dialog: Dialog | null;
  side: Side | null;
  theme: Theme;
  toasts: Toast[];
  /** The end from which a wire is being drawn. */
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

export function toast(text: string, level: Toast["level"] = "info", action?: Toast["action"]): void {
  const id = ++count;
  set((state) => ({ toasts: [...state.toasts.slice(-3), { id, text, level, action }] }));
  if (level !== "error") setTimeout(() => dismiss(id), action ? 10_000 : 5_000);
}

/** Errors are about what was tried before. */
export const dismissErrors = (): void => set((state) => ({ toasts: state.toasts.filter((item) => item.level !== "error") }));

export const dismiss = (id: number): void => set((state) => ({ toasts: state.toasts.filter((item) => item.id !== id) }));
