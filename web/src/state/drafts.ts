/** Drafts: every open tab as it is now, kept on the server. */

import { api, Refused } from "../api/client";
import type { DraftList, Workflow } from "../api/types";
import { emptyDocument } from "../graph/document";
import { text } from "../text/en";
import { isDirty, makeTab, randomId, type Tab, useEditor } from "./editor";
import { toast } from "./ui";

const DRAFT_MS = 400;
const RETRY_MS = 3_000;
/** Browsers let 64 KiB of requests outlive their page. */
const OUTLIVING_BYTES = 60_000;

/** The server's revision of each tab's draft. */
const kept = new Map<string, { document: Workflow; revision: string; signature: string }>();
const signature = (tab: Tab) => JSON.stringify([tab.path, tab.run, tab.savedRevision, isDirty(tab)]);

/** Tabs as their drafts were left. */
export function restoredTabs({ drafts }: DraftList): Tab[] {
  return drafts.map(({ id, draft, revision }) => {
    const saved = draft.dirty ? emptyDocument() : draft.document;
    const tab = makeTab(draft.document, { id, path: draft.path, savedRevision: draft.saved_revision, run: draft.run, saved });
    kept.set(id, { document: draft.document, revision, signature: signature(tab) });
    return tab;
  });
}

let timer: ReturnType<typeof setTimeout>;

function saveIn(milliseconds: number): void {
  clearTimeout(timer);
  timer = setTimeout(() => void saveDrafts(), milliseconds);
}

/** Save changed drafts, once there have been no edits for a moment. */
export function keepDrafts(): void {
  const { tabs } = useEditor.getState();
  if (tabs.some(isUnkept) || closed(tabs).length > 0) saveIn(DRAFT_MS);
}

/** Another page has removed a draft: what is open here is kept anew. */
export function draftRemoved(id: string): void {
  if (kept.delete(id)) keepDrafts();
}

const closed = (tabs: Tab[]): string[] => [...kept.keys()].filter((id) => !tabs.some((tab) => tab.id === id));

function isUnkept(tab: Tab): boolean {
  const before = kept.get(tab.id);
  if (!before) return Object.keys(tab.history.present.nodes ?? {}).length > 0 || isDirty(tab) || tab.run !== "";
  return before.document !== tab.history.present || before.signature !== signature(tab);
}

let saving: Promise<unknown> = Promise.resolve();
const underWay = new Set<string>();
const isWaiting = (tab: Tab) => isUnkept(tab) && !underWay.has(tab.id);

/** Keep every changed tab on the server, one request after the other; a draft that another page has changed becomes a copy. */
export function saveDrafts(): Promise<unknown> {
  saving = saving.then(async () => {
    const { tabs } = useEditor.getState();
    for (const tab of tabs) if (isWaiting(tab)) await saveDraft(tab);
    for (const id of closed(tabs)) await removeDraft(id);
  });
  return saving;
}

/** Send every changed tab before the page goes; as many as a browser allows arrive even if it closes at once. */
export function saveDraftsNow(): void {
  let room = OUTLIVING_BYTES;
  const sent = useEditor
    .getState()
    .tabs.filter(isWaiting)
    .map((tab) => {
      room -= new Blob([JSON.stringify(draftOf(tab))]).size;
      return saveDraft(tab, room >= 0);
    });
  saving = Promise.all([saving, ...sent]);
}

const draftOf = (tab: Tab) => ({
  document: tab.history.present,
  path: tab.path,
  saved_revision: tab.savedRevision,
  dirty: isDirty(tab),
  run: tab.run,
});

async function saveDraft(tab: Tab, outlivesPage = false): Promise<void> {
  underWay.add(tab.id);
  try {
    const { revision } = await api.saveDraft(tab.id, draftOf(tab), kept.get(tab.id)?.revision ?? null, outlivesPage);
    kept.set(tab.id, { document: tab.history.present, revision, signature: signature(tab) });
  } catch (error) {
    if (error instanceof Refused && error.status === 409) becomeCopy(tab);
    else if (error instanceof Refused) toast(error.message, "error");
    else saveIn(RETRY_MS); // the server is away
  } finally {
    underWay.delete(tab.id);
  }
}

function becomeCopy(tab: Tab): void {
  const id = randomId();
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
