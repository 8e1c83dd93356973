import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { runToSelected } from "../src/state/actions";
import { handleKey } from "../src/state/commands";
import { enter, makeTab, openTab, select, useEditor } from "../src/state/editor";
import { useUi } from "../src/state/ui";
import { graph } from "./graphs";
import { answer, server } from "./server";

const NESTED = {
  ...graph({ outer: "Subgraph", inner: "Number" }, []),
  subgraphs: { part: { nodes: { inner: { type: "Number" } } } },
  notes: [{ text: "Note" }],
};
const nothing = () => undefined;
const CTRL_C = { key: "c", ctrlKey: true, target: { closest: () => null }, preventDefault: nothing, stopPropagation: nothing };

beforeEach(() => {
  useEditor.setState({ tabs: [], current: "" });
  useUi.setState({ dialog: null, toasts: [] });
  openTab(makeTab({ ...NESTED, nodes: { ...NESTED.nodes, outer: { type: "Subgraph", fields: { subgraph: "part" } } } }));
});
afterEach(() => vi.unstubAllGlobals());

test("a run to a node inside a subgraph names it as runs do", async () => {
  enter("outer");
  select(["inner"]);
  vi.stubGlobal("window", {});
  const asked = server(() => answer({ problems: [] }, 422));
  await runToSelected();
  expect(asked[0]?.body).toMatchObject({ targets: ["outer--inner"] });
});

test("with no node selected nothing runs", async () => {
  select(["note:0"]);
  const asked = server(() => answer({}));
  await runToSelected();
  expect(asked).toEqual([]);
  expect(useUi.getState().toasts).toHaveLength(1);
});

test.each([
  ["nodes are copied when no text is marked", ["inner"], true, true],
  ["marked text is left to the browser", ["inner"], false, false],
  ["with nothing selected the key is left to the browser", [], true, false],
])("%s", (_, selected, isCollapsed, isTaken) => {
  select(selected);
  vi.stubGlobal("getSelection", () => ({ isCollapsed }));
  vi.stubGlobal("navigator", { clipboard: { writeText: async () => undefined } });
  let wasTaken = false;
  const preventDefault = () => {
    wasTaken = true;
  };
  handleKey({ ...CTRL_C, preventDefault } as unknown as KeyboardEvent);
  expect(wasTaken).toBe(isTaken);
});

test("where the page has no clipboard of its own, nodes are copied with the browser's command", () => {
  select(["inner"]);
  vi.stubGlobal("getSelection", () => null);
  vi.stubGlobal("navigator", {});
  const page = Object.assign(new EventTarget(), {
    execCommand: (command: string) => page.dispatchEvent(Object.assign(new Event(command), { clipboardData: { setData } })),
  });
  const setData = vi.fn();
  vi.stubGlobal("document", page);
  handleKey(CTRL_C as unknown as KeyboardEvent);
  expect(JSON.parse(setData.mock.lastCall?.[1] as string)).toMatchObject({ nodes: { inner: { type: "Number" } } });
});
