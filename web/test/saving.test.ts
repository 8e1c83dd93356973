import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { Workflow } from "../src/api/types";
import { emptyDocument } from "../src/graph/document";
import { openTheirs, saveAs, saveCurrent, saveOver } from "../src/state/actions";
import { currentTab, edit, isDirty, makeTab, openTab, useEditor } from "../src/state/editor";
import { useUi } from "../src/state/ui";
import { type Asked, answer, server } from "./server";

const renamed = (name: string) => (document: Workflow) => ({ ...document, name });
const names = () => useEditor.getState().tabs.map((tab) => tab.history.present.name);

beforeEach(() => {
  useEditor.setState({ tabs: [], current: "" });
  useUi.setState({ dialog: null, toasts: [] });
  openTab(
    makeTab({ ...emptyDocument("first"), nodes: { model: { type: "LoadModel" } } }, { path: "w.json", savedRevision: "1" }),
  );
});
afterEach(() => vi.unstubAllGlobals());

test("an edit that is made while the file is written stays, as unsaved work", async () => {
  server(() => {
    edit(renamed("second"));
    return answer({ path: "w.json", revision: "2" });
  });
  await saveCurrent();
  const tab = currentTab();
  expect(tab?.history.present.name).toBe("second");
  expect(tab && [isDirty(tab), tab.savedRevision]).toEqual([true, "2"]);
});

test("a new name is an edit that can be undone, also of a document that has changed meanwhile", async () => {
  server(() => answer({ path: "other.json", revision: "2" }));
  expect(await saveAs("other")).toBe(true);
  expect(currentTab()?.history.past.map((document) => document.name)).toEqual(["first"]);
  expect(currentTab()?.saved).toBe(currentTab()?.history.present);
  server(() => {
    edit((document) => ({ ...document, description: "more" }));
    return answer({ path: "third.json", revision: "3" });
  });
  await saveAs("third");
  expect(currentTab()?.history.present).toMatchObject({ name: "third", description: "more" });
});

test("what cannot be read is not written over, and the person hears why; what is gone is written anew", async () => {
  const asked = server((request) => refusal(request, 422));
  await saveOver("w.json");
  expect(asked.map(({ method }) => method)).toEqual(["GET"]);
  expect(useUi.getState().toasts.map((toast) => toast.text)).toEqual(["Not this."]);
  const again = server((request) =>
    request.method === "GET" ? refusal(request, 404) : answer({ path: "w.json", revision: "2" }),
  );
  await saveOver("w.json");
  expect(again[1]).toMatchObject({ method: "PUT", body: { revision: null } });
});

test("their version opens beside the tab that was asked about, whatever is shown by then", async () => {
  const mine = currentTab();
  server(() => {
    openTab(makeTab(emptyDocument("elsewhere"), { path: "elsewhere.json" }));
    return answer({ document: emptyDocument("theirs"), revision: "9" });
  });
  await openTheirs("w.json");
  expect(names()).toEqual(["first", "elsewhere", "theirs"]);
  expect(useEditor.getState().tabs.map((tab) => tab.path)).toEqual(["", "elsewhere.json", "w.json"]);
  expect(currentTab()?.id).not.toBe(mine?.id);
});

const refusal = (_: Asked, status: number) =>
  answer({ problems: [{ message: "Not this.", node: "", field: "", remedy: "" }] }, status);
