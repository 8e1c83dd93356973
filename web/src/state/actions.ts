/** Actions on whole documents and runs. */

import { api, Refused } from "../api/client";
import type { PublishedArtifact, Run } from "../api/types";
import { type Document, nodesOf } from "../graph/document";
import { embeddedWorkflow } from "../graph/embeddedWorkflow";
import { record } from "../graph/history";
import { roundedNumbers } from "../graph/numbers";
import { samplingDocument } from "../graph/sampling";
import { text } from "../text/en";
import { changeTab, closeTab, currentTab, isDirty, makeTab, openTab, runId, showTab, type Tab, useEditor } from "./editor";
import { placeOf } from "./facts";
import { selectedNodes } from "./graphActions";
import { askToNotify } from "./notify";
import { dropRun, isOpen, keepRuns, useRuns } from "./runs";
import { follow } from "./sync";
import { dismissErrors, openDialog, prefer, toast } from "./ui";

/** Say on the screen why something did not work. */
export async function attempt<T>(work: Promise<T>): Promise<T | undefined> {
  try {
    return await work;
  } catch (error) {
    toast(error instanceof Refused ? error.message : text.serverAway, "error");
    return undefined;
  }
}

/** Queue a run of the whole document, or of what `targets` need. */
export async function runCurrent(targets: string[] = []): Promise<void> {
  const tab = currentTab();
  if (!tab) return;
  if (Object.keys(nodesOf(tab.history.present)).length === 0) return void toast(text.nothingToRun, "warning");
  askToNotify();
  try {
    const run = await api.startRun(tab.history.present, targets);
    keepRuns([run]);
    dismissErrors();
    changeTab(tab.id, { run: run.id });
    follow(run.id);
  } catch (error) {
    if (!(error instanceof Refused)) return void toast(text.serverAway, "error");
    changeTab(tab.id, { problems: error.problems });
    toast(text.problems(error.problems.length), "error", { label: text.show, run: () => prefer({ side: "node" }) });
  }
}

/** Queue a run of what the selected nodes need. */
export async function runToSelected(): Promise<void> {
  const targets = selectedNodes().map((id) => runId(currentTab(), id));
  if (targets.length === 0) return void toast(text.nothingSelected, "warning");
  await runCurrent(targets);
}

/** Stop what the current tab shows. */
export async function cancelShown(): Promise<void> {
  const run = useRuns.getState().runs[currentTab()?.run ?? ""];
  if (run && isOpen(run)) await cancel(run.id);
}

export async function cancel(id: string): Promise<void> {
  const run = await attempt(api.cancelRun(id));
  if (run) keepRuns([run]);
}

export async function retry(id: string): Promise<void> {
  const run = await attempt(api.retryRun(id));
  if (!run) return;
  keepRuns([run]);
  dismissErrors();
  const tab = useEditor.getState().tabs.find((each) => each.run === id);
  if (tab) changeTab(tab.id, { run: run.id });
  follow(run.id);
}

export async function move(run: Run, by: number): Promise<void> {
  const list = await attempt(api.moveRun(run.id, Math.max(0, (run.position ?? 0) + by)));
  if (list) keepRuns(list.runs);
}

/** Take a run out of the history. */
export async function forget(id: string): Promise<void> {
  const isGone = await attempt(api.removeRun(id).then(() => true));
  if (isGone) dropRun(id);
}

/** Load what ended before these runs; false when there was no more. */
export async function loadEarlier(runs: Run[]): Promise<boolean> {
  const list = await attempt(api.runs(Math.min(...runs.flatMap((run) => run.finished ?? []))));
  keepRuns(list?.runs ?? []);
  return list?.runs.length !== 0;
}

/** Open the document that a run has carried out, with the run's curves and pictures. */
export async function reopenRun(id: string): Promise<void> {
  const open = useEditor.getState().tabs.find((tab) => tab.run === id);
  if (open) return showTab(open.id);
  const details = await attempt(api.readRun(id));
  if (details) openDocument(details.document, { run: id });
}

/** Open a graph that loads a file which a run has saved, and samples with it. */
export async function sampleFile(run: string, { node, path }: PublishedArtifact): Promise<void> {
  const details = await attempt(api.readRun(run));
  if (!details) return;
  const place = placeOf(path);
  if (place === null) return void toast(text.outsideWorkspace(path), "warning");
  const beside = details.run.artifacts.filter((each) => each.node === node).flatMap((each) => placeOf(each.path) ?? []);
  const { palette } = useEditor.getState();
  const document = samplingDocument(details.document, palette, { node, path: place, paths: beside }, text.otherBase);
  if (document) openDocument(document);
  else toast(text.cannotSample, "warning");
}

/** Show a document that comes from outside the page in a new tab. */
function openDocument(document: Document, change: Partial<Tab> = {}): void {
  openTab(makeTab(document, change));
  const places = roundedNumbers(document);
  if (places.length > 0) toast(text.rounded(places), "error");
}

export async function openTemplate(name: string): Promise<void> {
  const found = await attempt(api.readTemplate(name));
  if (found) openDocument(found.document);
}

export async function openWorkflow(path: string): Promise<void> {
  const open = useEditor.getState().tabs.find((tab) => tab.path === path);
  if (open) return showTab(open.id);
  const found = await attempt(api.readWorkflow(path));
  if (found) openDocument(found.document, { path, savedRevision: found.revision });
}

/** Save under the tab's own path; the first time, ask for a name. */
export async function saveCurrent(): Promise<void> {
  const tab = currentTab();
  if (!tab) return;
  if (tab.path) await save(tab.id, tab.history.present, tab.path, tab.savedRevision);
  else openDialog({ kind: "saveAs" });
}

/** Save under a new name; an existing file is not replaced. */
export async function saveAs(name: string): Promise<boolean> {
  const tab = currentTab();
  if (!tab) return false;
  const path = name.endsWith(".json") ? name : `${name}.json`;
  const { present } = tab.history;
  const named: Document = { ...present, name: name.replace(/\.json$/, "") };
  if (!(await save(tab.id, named, path, null))) return false;
  changeTab(tab.id, ({ history }) => {
    const edited = { ...history.present, name: named.name }; // the person may have gone on while the file was written
    return { history: record(history, history.present === present ? named : edited) };
  });
  return true;
}

async function save(tab: string, document: Document, path: string, revision: string | null): Promise<boolean> {
  try {
    const saved = await api.saveWorkflow(path, document, revision);
    changeTab(tab, { path, savedRevision: saved.revision, saved: document });
    toast(text.saved(path));
    return true;
  } catch (error) {
    if (error instanceof Refused && error.status === 409 && revision !== null) openDialog({ kind: "conflict", path });
    else toast(error instanceof Refused ? error.message : text.serverAway, "error");
    return false;
  }
}

/** After another page has saved the same file: write over it all the same. */
export async function saveOver(path: string): Promise<void> {
  const tab = currentTab();
  const there = await attempt(api.readWorkflow(path).catch(nullWhenRemoved));
  if (tab && there !== undefined) await save(tab.id, tab.history.present, path, there?.revision ?? null);
}

function nullWhenRemoved(error: unknown): null {
  if (error instanceof Refused && error.status === 404) return null;
  throw error;
}

/** After another page has saved the same file: open what it has saved beside this one. */
export async function openTheirs(path: string): Promise<void> {
  const tab = currentTab();
  const there = await attempt(api.readWorkflow(path));
  if (!there || !tab) return;
  changeTab(tab.id, { path: "", savedRevision: "" });
  openDocument(there.document, { path, savedRevision: there.revision });
}

/** Close a tab; unsaved work can be brought back for a while. */
export function closeWithUndo(id: string): void {
  const tab = useEditor.getState().tabs.find((each) => each.id === id);
  if (!tab) return;
  closeTab(id);
  const { notes, groups } = tab.history.present;
  const isEmpty = Object.keys(nodesOf(tab.history.present)).length + (notes?.length ?? 0) + (groups?.length ?? 0) === 0;
  const isWorthKeeping = (isDirty(tab) || !tab.path) && !isEmpty;
  if (isWorthKeeping)
    toast(text.tabClosed(tab.history.present.name ?? ""), "info", { label: text.bringBack, run: () => openTab(tab) });
}

/** Open the graphs that files hold or were made by; one message names those that carry none. */
export async function openFiles(files: File[]): Promise<void> {
  const without: string[] = [];
  for (const file of files) {
    const carried = await embeddedWorkflow(file).catch(() => null);
    if (carried === null) without.push(file.name);
    else await openForeign(carried, file.name);
  }
  if (without.length > 0) toast(text.carriesNothing(without), "warning");
}

/** Open a document from outside if the server can read its form; problems inside it are shown on its nodes. */
export async function openForeign(carried: unknown, name: string): Promise<void> {
  const reply = await attempt(api.open(carried));
  if (!reply) return;
  if (!reply.document) return void toast(text.notAWorkflow(name, reply.problems[0]?.message ?? ""), "error");
  openDocument(reply.document);
  toast(text.opened(name));
}

/** Hand the document over as a file. */
export function download(): void {
  const tab = currentTab();
  if (!tab) return;
  const blob = new Blob([`${JSON.stringify(tab.history.present, null, 2)}\n`], { type: "application/json" });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = `${tab.history.present.name ?? "workflow"}.json`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
