/** Every command by name, with its keys: for shortcuts, menus and the command palette alike. */

import type { text } from "../text/en";
import { cancelShown, closeWithUndo, download, runCurrent, runToSelected, saveCurrent } from "./actions";
import { currentTab, leaveTo, openEmpty, redoEdit, select, undoEdit, useEditor } from "./editor";
import * as graph from "./graphActions";
import { openDialog, prefer, useUi } from "./ui";
import { view } from "./view";

export interface Command {
  id: string;
  /** `Mod` is Ctrl, or Cmd on a Mac. */
  keys: string;
  run: () => unknown;
}

const make = (id: keyof typeof text.commands, keys: string, run: () => unknown): Command => ({ id, keys, run });
const side = (name: "node" | "run" | "queue") => () => prefer({ side: useUi.getState().side === name ? null : name });

export const COMMANDS: Command[] = [
  make("addNode", "Space", () => openDialog({ kind: "search", request: { at: view.center() } })),
  make("commandPalette", "Mod+K", () => openDialog({ kind: "commands" })),
  make("run", "Mod+Enter", () => runCurrent()),
  make("runToSelected", "Mod+Shift+Enter", runToSelected),
  make("cancelRun", "Mod+.", cancelShown),
  make("save", "Mod+S", saveCurrent),
  make("saveAs", "Mod+Shift+S", () => openDialog({ kind: "saveAs" })),
  make("download", "", download),
  make("newTab", "Alt+N", openEmpty),
  make("closeTab", "Alt+W", () => closeWithUndo(useEditor.getState().current)),
  make("templates", "Alt+T", () => openDialog({ kind: "templates" })),
  make("open", "Mod+O", () => openDialog({ kind: "workflows" })),
  make("undo", "Mod+Z", undoEdit),
  make("redo", "Mod+Shift+Z", redoEdit),
  make("cut", "Mod+X", graph.cutSelected),
  make("copy", "Mod+C", graph.copySelected),
  make("paste", "Mod+V", graph.pasteFromClipboard),
  make("duplicate", "Mod+D", () => graph.duplicateSelected(false)),
  make("duplicateWired", "Mod+Shift+D", () => graph.duplicateSelected(true)),
  make("remove", "Delete", graph.removeSelected),
  make("selectAll", "Mod+A", graph.selectAll),
  make("selectNone", "Escape", () => select([])),
  make("mute", "M", () => graph.toggleMode("muted")),
  make("bypass", "B", () => graph.toggleMode("bypassed")),
  make("collapse", "C", graph.toggleCollapsed),
  make("replace", "Shift+R", replaceSelected),
  make("reroute", "R", graph.addReroute),
  make("group", "Mod+G", graph.groupSelected),
  make("note", "N", () => graph.placeNote()),
  make("subgraph", "Mod+Shift+G", graph.collapseSelected),
  make("ungroupSubgraph", "Mod+Shift+U", graph.expandSelected),
  make("enterSubgraph", "Enter", graph.enterSelected),
  make("leaveSubgraph", "Backspace", () => leaveTo((currentTab()?.inside.length ?? 1) - 1)),
  make("arrange", "L", graph.arrange),
  make("alignLeft", "Shift+ArrowLeft", () => graph.alignSelected("left")),
  make("alignRight", "Shift+ArrowRight", () => graph.alignSelected("right")),
  make("alignTop", "Shift+ArrowUp", () => graph.alignSelected("top")),
  make("alignBottom", "Shift+ArrowDown", () => graph.alignSelected("bottom")),
  make("alignCenter", "", () => graph.alignSelected("center")),
  make("alignMiddle", "", () => graph.alignSelected("middle")),
  make("distributeHorizontally", "Shift+H", () => graph.distributeSelected("horizontal")),
  make("distributeVertically", "Shift+V", () => graph.distributeSelected("vertical")),
  make("fit", "F", () => view.fit()),
  make("zoomIn", "+", () => view.zoom(1.25)),
  make("zoomOut", "-", () => view.zoom(0.8)),
  make("find", "Mod+F", () => openDialog({ kind: "find" })),
  make("minimap", "", () => prefer({ minimap: !useUi.getState().minimap })),
  make("nodePanel", "1", side("node")),
  make("runPanel", "2", side("run")),
  make("queuePanel", "3", side("queue")),
  make("theme", "", nextTheme),
  make("shortcuts", "?", () => openDialog({ kind: "shortcuts" })),
];

function nextTheme(): void {
  const order = ["system", "dark", "light"] as const;
  prefer({ theme: order[(order.indexOf(useUi.getState().theme) + 1) % 3] ?? "system" });
}

function replaceSelected(): void {
  const id = graph.selectedNodes()[0];
  if (id !== undefined) openDialog({ kind: "search", request: { at: view.center(), replace: id } });
}

export const keysOf = (command: Command): string => useUi.getState().keys[command.id] ?? command.keys;

/** A key press as it is written in the list, such as `Mod+Shift+Z`. */
export function pressed(event: KeyboardEvent): string {
  const key = event.key === " " ? "Space" : event.key.length === 1 ? event.key.toUpperCase() : event.key;
  const isShiftPart = event.shiftKey && (/^[A-Z]$/.test(key) || event.key.length > 1);
  return [event.ctrlKey || event.metaKey ? "Mod" : "", event.altKey ? "Alt" : "", isShiftPart ? "Shift" : "", key]
    .filter(Boolean)
    .join("+");
}

const TYPING = "input, textarea, select, [contenteditable=true]";
const CONTROLS = `${TYPING}, button, a, [role=tab], [role=menuitem], [role=slider]`;

/** Carry out the command that a key press names; text fields, controls and dialogs keep their own keys. */
export function handleKey(event: KeyboardEvent): void {
  const target = event.target as HTMLElement;
  const keys = pressed(event);
  if (useUi.getState().dialog || event.defaultPrevented) return;
  const isModified = event.ctrlKey || event.metaKey || event.altKey;
  if (target.closest(TYPING) && !["Mod+Enter", "Mod+S", "Mod+K", "Mod+Shift+Enter"].includes(keys)) return;
  if (!isModified && ["Enter", "Space", "ArrowLeft", "ArrowRight"].includes(event.key) && target.closest(CONTROLS)) return;
  if (keys === "Space" && target.closest(CONTROLS)) return;
  const command = COMMANDS.find((each) => keysOf(each) === keys || (each.id === "remove" && keys === "Backspace" && !isInside()));
  if (!command || command.id === "paste") return; // pasting needs no permission when it is left to the browser's own event
  if (["copy", "cut"].includes(command.id) && !hasNodesToCopy()) return;
  event.preventDefault();
  event.stopPropagation();
  void command.run();
}

/** Text that is marked on the page is copied by the browser. */
const hasNodesToCopy = () => (getSelection()?.isCollapsed ?? true) && graph.copiedText() !== null;

const isInside = () => (currentTab()?.inside.length ?? 0) > 0;
