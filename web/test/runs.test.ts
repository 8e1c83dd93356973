import { beforeEach, expect, test } from "vitest";
import type { Run } from "../src/api/types";
import { keepRuns, refreshRuns, useRuns } from "../src/state/runs";

const run = (id: string, finished: number | null): Run =>
  ({ id, finished, state: finished === null ? "queued" : "succeeded", created: 0 }) as Run;
const known = () => Object.keys(useRuns.getState().runs).sort();

beforeEach(() => useRuns.setState({ runs: {} }));

test("what was removed while the page was offline is gone", () => {
  keepRuns([run("old", 1), run("removed", 2), run("cancelled", null)]);
  refreshRuns([run("old", 1), run("new", 3)]);
  expect(known()).toEqual(["new", "old"]);
});

test("runs that are older than all that came stay", () => {
  const page = Array.from({ length: 100 }, (_, index) => run(`page ${index}`, 10 + index));
  keepRuns([run("old", 1), run("removed", 50.5)]);
  refreshRuns(page);
  expect(known()).toContain("old");
  expect(known()).not.toContain("removed");
});
