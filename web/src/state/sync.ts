/** Keeps the page and the server in step: drafts, problems, plans, and the stream of events. */

import { api, openSession, Refused } from "../api/client";
import type { AnyEvent, ServerMessage, Workflow } from "../api/types";
import { emptyDocument } from "../graph/document";
import { EMPTY_RUN } from "../graph/runView";
import { text } from "../text/en";
import { changeTab, currentTab, isDirty, makeTab, openEmpty, setPalette, type Tab, useEditor } from "./editor";
import { notifyWhenDone } from "./notify";
import { dropRun, isOpen, keepEvents, keepRuns, useRuns } from "./runs";
import { toast } from "./ui";

const DRAFT_MS = 400;
const CHECK_MS = 250;

/** Load what the page needs, bring the drafts back, and begin to listen. */
export async function start(): Promise<void> {
  await openSession();
  const [palette, drafts, runs] = await Promise.all([api.palette(), api.drafts(), api.runs()]);
  setPalette(palette);
  for (const problem of palette.problems) toast(problem.message, "warning");
  keepRuns(runs.runs);
  const tabs = drafts.drafts.map(({ id, draft, revision }) => {
    kept.set(id, { document: draft.document, revision, signature: signature(draft.path, draft.run) });
    const saved = draft.dirty ? emptyDocument() : draft.document;
    const { path, saved_revision: savedRevision, run } = draft;
    return makeTab(draft.document, { id, path, savedRevision, run, saved });
  });
  useEditor.setState({ tabs, current: tabs.find((tab) => tab.id === remembered())?.id ?? tabs.at(-1)?.id ?? "" });
  if (tabs.length === 0) openEmpty();
  useEditor.subscribe(watch);
  watch(useEditor.getState());
  listen();
  addEventListener("pagehide", () => void saveDrafts());
}

const remembered = () => localStorage.getItem("latentloom.tab");

let shown: { tab: string; document: Workflow | null; run: string } = { tab: "", document: null, run: "" };
const timers: Record<string, ReturnType<typeof setTimeout>> = {};

function later(name: string, ms: number, work: () => Promise<void>): void {
  clearTimeout(timers[name]);
  timers[name] = setTimeout(() => void work(), ms);
}

function watch(state: { tabs: Tab[]; current: string }): void {
  const tab = currentTab(useEditor.getState());
  if (state.tabs.some((each) => isUnkept(each)) || [...kept.keys()].some((id) => !state.tabs.some((each) => each.id === id))) {
    later("drafts", DRAFT_MS, saveDrafts);
  }
  if (!tab) return;
  const next = { tab: tab.id, document: tab.history.present, run: tab.run };
  if (next.tab !== shown.tab) localStorage.setItem("latentloom.tab", tab.id);
  if (next.tab !== shown.tab || next.document !== shown.document) later("check", CHECK_MS, checkCurrent);
  if (next.run !== shown.run && next.run) follow(next.run);
  shown = next;
}

const kept = new Map<string, { document: Workflow; revision: string; signature: string }>();
const signature = (path: string, run: string) => `${path} ${run}`;

function isUnkept(tab: Tab): boolean {
  const before = kept.get(tab.id);
  if (!before) return Object.keys(tab.history.present.nodes ?? {}).length > 0 || isDirty(tab) || tab.run !== "";
  return before.document !== tab.history.present || before.signature !== signature(tab.path, tab.run);
}

let saving: Promise<void> = Promise.resolve();

/** Keep every changed tab on the server, one request after the other; a draft that another page has changed becomes a copy. */
export function saveDrafts(): Promise<void> {
  saving = saving.then(async () => {
    const { tabs } = useEditor.getState();
    for (const tab of tabs) if (isUnkept(tab)) await saveDraft(tab);
    for (const id of [...kept.keys()]) if (!tabs.some((tab) => tab.id === id)) await removeDraft(id);
  });
  return saving;
}

async function saveDraft(tab: Tab): Promise<void> {
  const { present } = tab.history;
  const draft = { document: present, path: tab.path, saved_revision: tab.savedRevision, dirty: isDirty(tab), run: tab.run };
  try {
    const { revision } = await api.saveDraft(tab.id, draft, kept.get(tab.id)?.revision ?? null);
    kept.set(tab.id, { document: present, revision, signature: signature(tab.path, tab.run) });
  } catch (error) {
    if (error instanceof Refused && error.status === 409) becomeCopy(tab);
    else if (error instanceof Refused) toast(error.message, "error");
    else later("drafts", 3_000, saveDrafts); // the server is away: try again
  }
}

function becomeCopy(tab: Tab): void {
  const id = crypto.randomUUID();
  kept.delete(tab.id);
  useEditor.setState((state) => ({
    tabs: state.tabs.map((each) => (each.id === tab.id ? { ...each, id } : each)),
    current: state.current === tab.id ? id : state.current,
  }));
  toast(text.draftCopied, "warning");
}

async function removeDraft(id: string): Promise<void> {
  const revision = kept.get(id)?.revision ?? "";
  kept.delete(id);
  await api.removeDraft(id, revision).catch(() => undefined); // what another page has changed since then stays
}

/** Ask the server what is wrong with the document, and if nothing is, what a run would do. */
export async function checkCurrent(): Promise<void> {
  const tab = currentTab();
  if (!tab) return;
  const document = tab.history.present;
  const isCurrent = () => useEditor.getState().tabs.find((each) => each.id === tab.id)?.history.present === document;
  try {
    const { problems } = await api.validate(document);
    if (isCurrent()) changeTab(tab.id, { problems, ...(problems.length > 0 && { plan: {} }) });
    if (problems.length > 0 || Object.keys(document.nodes ?? {}).length === 0) return;
    const plan = await api.plan(document, []);
    if (isCurrent()) changeTab(tab.id, { plan: plan.nodes, problems: plan.problems });
  } catch (error) {
    if (error instanceof Refused) toast(error.message, "error");
  }
}

let socket: WebSocket | null = null;
let wait = 500;
let arrived: Record<string, AnyEvent[]> = {};

function listen(): void {
  socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/api/events`);
  socket.onopen = () => {
    wait = 500;
    useRuns.setState({ connected: true });
    for (const id of followed) sendFollow(id);
    void refresh();
  };
  socket.onmessage = (message) => receive(JSON.parse(message.data as string) as ServerMessage);
  socket.onclose = () => {
    useRuns.setState({ connected: false });
    setTimeout(listen, wait);
    wait = Math.min(wait * 2, 8_000);
  };
}

async function refresh(): Promise<void> {
  await openSession().catch(() => undefined);
  const list = await api.runs().catch(() => null);
  if (list) keepRuns(list.runs);
}

function receive(message: ServerMessage): void {
  switch (message.type) {
    case "event":
      if (Object.keys(arrived).length === 0) requestAnimationFrame(deliver);
      arrived[message.run] = [...(arrived[message.run] ?? []), message.event];
      break;
    case "run": {
      const before = useRuns.getState().runs[message.run.id];
      keepRuns([message.run]);
      if (isOpen(before) && !isOpen(message.run)) ended(message.run);
      break;
    }
    case "removed":
      dropRun(message.run);
      break;
    case "device":
      useRuns.setState({ device: message.device });
      break;
    case "draft":
      if (message.revision === "" && kept.delete(message.path)) watch(useEditor.getState()); // keep the open tab anew
      break;
    case "workflow":
      break;
  }
}

function deliver(): void {
  const batch = arrived;
  arrived = {};
  for (const [run, events] of Object.entries(batch)) keepEvents(run, events);
  const tab = currentTab();
  const done = tab && batch[tab.run]?.some((event) => event.type === "node_finished");
  if (done) later("check", 1_000, checkCurrent);
}

function ended(run: Parameters<typeof notifyWhenDone>[0]): void {
  notifyWhenDone(run);
  later("check", CHECK_MS, checkCurrent);
}

const followed = new Set<string>();

/** Receive a run's events: those of the past first, then new ones. */
export function follow(run: string): void {
  if (followed.has(run)) return;
  followed.add(run);
  sendFollow(run);
}

function sendFollow(run: string): void {
  const after = useRuns.getState().views[run]?.seq ?? EMPTY_RUN.seq;
  if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ follow: run, after }));
}
