import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { nodesOf } from "../src/graph/document";
import { makeTab, openEmpty, openTab, useEditor } from "../src/state/editor";
import { setFacts } from "../src/state/facts";
import { useUi } from "../src/state/ui";
import { makeDataSet } from "../src/state/uploads";
import { graph, palette } from "./graphs";
import { answer, server } from "./server";

const SESSION = {
  token: "",
  version: "",
  workspace: "",
  devices: [],
  picture_suffixes: [".png"],
  text_suffixes: [".txt"],
  workflow_suffixes: [".json"],
  output_folder: "",
  output: null,
};
const dropped = (...paths: string[]) => paths.map((path) => ({ path, file: new File(["x"], path.split("/").at(-1) ?? "") }));
const messages = () => useUi.getState().toasts.map(({ text }) => text);
const uploads = (asked: { path: string }[]) => asked.flatMap(({ path }) => (path.startsWith("/api/files") ? [path] : []));

const fieldsOfImages = () => useEditor.getState().tabs.map(({ history }) => nodesOf(history.present).images?.fields)[0];

function tabWith(type: string) {
  const tab = makeTab(graph({ images: type }, []));
  openTab(tab);
  return tab.id;
}

beforeEach(() => {
  setFacts(SESSION);
  useEditor.setState({ tabs: [], current: "", palette });
  useUi.setState({ toasts: [] });
});
afterEach(() => vi.unstubAllGlobals());

test("pictures and captions go into one folder, which the node reads; one message counts them", async () => {
  const asked = server(() => answer({ path: "", problems: [], nodes: {} }));
  const tab = tabWith("LoadImages");
  await makeDataSet("cats", dropped("top/a.png", "top/in/b.png", "top/in/b.txt", "top/c.db"), {
    tab,
    node: "images",
    at: [0, 0],
  });
  expect(uploads(asked)).toEqual([
    "/api/files?folder=datasets%2Fcats&name=a.png",
    "/api/files?folder=datasets%2Fcats%2Fin&name=b.png",
    "/api/files?folder=datasets%2Fcats%2Fin&name=b.txt",
  ]);
  expect(fieldsOfImages()).toEqual({ folder: "datasets/cats" });
  expect(messages()).toEqual(["3 files uploaded to datasets/cats.", "1 file is neither picture nor text and was left out: c.db"]);
});

test("without a node that reads pictures there is one; another tab that is shown by then stays as it is", async () => {
  server(() => answer({ path: "", problems: [], nodes: {} }));
  const tab = tabWith("LoadModel");
  const made = makeDataSet("cats", dropped("a.png"), { tab, node: null, at: [8, 16] });
  openEmpty();
  await made;
  const [first, second] = useEditor.getState().tabs.map(({ history }) => nodesOf(history.present));
  expect(first?.load_images).toEqual({
    type: "LoadImages",
    schema_version: 1,
    fields: { folder: "datasets/cats" },
    position: [8, 16],
  });
  expect(second).toEqual({});
});

test("what is refused is named in one message, and nothing reads an empty folder", async () => {
  server(() => answer({ problems: [{ message: "It is no picture.", node: "", field: "", remedy: "" }] }, 415));
  const tab = tabWith("LoadImages");
  await makeDataSet("cats", dropped("a.png", "b.png"), { tab, node: "images", at: [0, 0] });
  expect(fieldsOfImages()).toEqual({});
  expect(messages()).toEqual(["2 files were not taken. a.png, b.png: It is no picture."]);
});
