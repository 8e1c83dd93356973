import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { emptyDocument } from "../src/graph/document";
import { saveCurrent } from "../src/state/actions";
import { saveDrafts, saveDraftsNow } from "../src/state/drafts";
import { currentTab, edit, makeTab, openTab, useEditor } from "../src/state/editor";
import { type Asked, answer, server } from "./server";

let revision = 0;
const saved = () => answer({ path: "", revision: String(++revision) });
const drafts = (asked: Asked[]) => asked.flatMap(({ path, body }) => (path.startsWith("/api/drafts/") ? [body?.draft] : []));
const tab = (name: string, change = {}) =>
  openTab(makeTab({ ...emptyDocument(name), nodes: { model: { type: "LoadModel" } } }, change));

beforeEach(async () => {
  useEditor.setState({ tabs: [], current: "" });
  server(saved);
  await saveDrafts(); // which forgets the tabs of the test before
});
afterEach(() => vi.unstubAllGlobals());

test("a draft hears of a save, and of the one after it", async () => {
  tab("mine", { path: "w.json", savedRevision: "0" });
  edit((document) => ({ ...document, description: "changed" }));
  const asked = server(saved);
  await saveDrafts();
  expect(drafts(asked).at(-1)).toMatchObject({ dirty: true, saved_revision: "0" });
  await saveCurrent();
  await saveDrafts();
  expect(drafts(asked).at(-1)).toMatchObject({ dirty: false, saved_revision: currentTab()?.savedRevision });
  await saveCurrent();
  await saveDrafts();
  expect(drafts(asked).at(-1)).toMatchObject({ dirty: false, saved_revision: currentTab()?.savedRevision });
  await saveDrafts();
  expect(drafts(asked)).toHaveLength(3);
});

test("before the page goes, all changed tabs are sent at once, to outlive it as far as there is room", async () => {
  tab("first");
  tab("large", { history: { past: [], present: emptyDocument("x".repeat(70_000)), future: [], key: "" } });
  const waiting: (() => void)[] = [];
  const asked = server(() => new Promise<void>((resolve) => waiting.push(resolve)).then(saved));
  saveDraftsNow();
  expect(asked.map(({ keepalive }) => keepalive)).toEqual([true, false]);
  const later = saveDrafts();
  saveDraftsNow();
  for (const reply of waiting) reply();
  await later;
  expect(drafts(asked)).toHaveLength(2);
});

test("an id needs nothing that pages from other machines lack", () => {
  vi.stubGlobal("crypto", { getRandomValues: crypto.getRandomValues.bind(crypto) });
  const ids = [makeTab(emptyDocument()).id, makeTab(emptyDocument()).id];
  for (const id of ids) expect(id).toMatch(/^[a-z0-9-]{16,64}$/);
  expect(ids[0]).not.toBe(ids[1]);
});
