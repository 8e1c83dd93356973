/** Keeps the page and the server in step: problems, plans, and the stream of events. */

import { api, openSession, Refused } from "../api/client";
import type { AnyEvent, ServerMessage, Workflow } from "../api/types";
import { EMPTY_RUN } from "../graph/runView";
import { text } from "../text/en";
import { draftRemoved, keepDrafts, restoredTabs, saveDraftsNow } from "./drafts";
import { changeTab, currentTab, openEmpty, setPalette, useEditor } from "./editor";
import { setFacts } from "./facts";
import { notifyWhenDone } from "./notify";
import { dropRun, isOpen, keepEvents, keepRuns, refreshRuns, useRuns } from "./runs";
import { dismissSaying, toast } from "./ui";

const CHECK_MS = 250;
/** Milliseconds until a hidden page, which gets no animation frames, applies events. */
const UNSEEN_MS = 500;

/** Load what the page needs, bring the drafts back, and begin to listen. */
export async function start(): Promise<void> {
  setFacts(await openSession());
  const [palette, drafts, runs] = await Promise.all([api.palette(), api.drafts(), api.runs()]);
  setPalette(palette);
  for (const problem of palette.problems) toast(problem.message, "warning");
  keepRuns(runs.runs);
  const tabs = restoredTabs(drafts);
  useEditor.setState({ tabs, current: tabs.find((tab) => tab.id === remembered())?.id ?? tabs.at(-1)?.id ?? "" });
  if (tabs.length === 0) openEmpty();
  useEditor.subscribe(watch);
  watch();
  listen();
  addEventListener("pagehide", saveDraftsNow);
  document.addEventListener("visibilitychange", () => document.hidden && saveDraftsNow());
}

const remembered = () => localStorage.getItem("latentloom.tab");

let shown: { tab: string; document: Workflow | null; run: string } = { tab: "", document: null, run: "" };
const timers: Record<string, ReturnType<typeof setTimeout>> = {};

function later(name: string, ms: number, work: () => Promise<void>): void {
  clearTimeout(timers[name]);
  timers[name] = setTimeout(() => void work(), ms);
}

function watch(): void {
  keepDrafts();
  const tab = currentTab();
  if (!tab) return;
  const next = { tab: tab.id, document: tab.history.present, run: tab.run };
  if (next.tab !== shown.tab) localStorage.setItem("latentloom.tab", tab.id);
  if (next.tab !== shown.tab || next.document !== shown.document) later("check", CHECK_MS, checkCurrent);
  if (next.run !== shown.run && next.run) follow(next.run);
  shown = next;
}

/** Ask the server for the document's problems, and if there are none, for the plan of a run. */
export async function checkCurrent(): Promise<void> {
  const tab = currentTab();
  if (!tab) return;
  const document = tab.history.present;
  const isCurrent = () => useEditor.getState().tabs.find((each) => each.id === tab.id)?.history.present === document;
  try {
    const { problems, warnings } = await api.validate(document);
    if (isCurrent()) changeTab(tab.id, { problems, warnings, ...(problems.length > 0 && { plan: {} }) });
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
    dismissSaying(text.serverAway);
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
  if (list) refreshRuns(list.runs);
}

function receive(message: ServerMessage): void {
  switch (message.type) {
    case "event":
      if (Object.keys(arrived).length === 0) deliverSoon();
      arrived[message.run] ??= [];
      arrived[message.run]?.push(message.event);
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
      if (message.revision === "") draftRemoved(message.path);
      break;
    case "workflow":
      break;
  }
}

function deliverSoon(): void {
  requestAnimationFrame(deliver);
  setTimeout(deliver, UNSEEN_MS);
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
