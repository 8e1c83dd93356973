import { expect, test } from "vitest";
import { paceOf, runLeft, type Sample, sampled, shareOf } from "../src/graph/pace";
import { EMPTY_RUN, type NodeView, type RunView } from "../src/graph/runView";

const through = (points: [number, number][]) => points.reduce((all, [time, step]) => sampled(all, time, step), [] as Sample[]);
const node = (change: Partial<NodeView>) => ({ state: "waiting", step: 0, total: 0, seconds: 0, ...change }) as NodeView;
const view = (nodes: Record<string, Partial<NodeView>>): RunView => ({
  ...EMPTY_RUN,
  nodes: Object.fromEntries(Object.entries(nodes).map(([id, change]) => [id, node(change)])),
});

test("the pace is that of the last seconds, not since the beginning", () => {
  const slow = through([0, 10, 20, 30, 40].map((time) => [time, time / 10 + 1]));
  expect(paceOf(slow, 40)).toBeCloseTo(0.1);
  const faster = through([...slow.map(({ time, step }): [number, number] => [time, step]), [50, 25], [60, 45]]);
  expect(paceOf(faster, 60)).toBeCloseTo(2);
});

test("a new attempt, and a node that stands still, are told from a slow one", () => {
  expect(
    through([
      [0, 500],
      [30, 7],
    ]),
  ).toEqual([{ time: 30, step: 7 }]);
  const still = through([
    [0, 1],
    [4, 5],
  ]);
  expect(sampled(still, 90, 5)).toBe(still);
  expect(paceOf(still, 8)).toBeCloseTo(0.5);
  expect(paceOf(through([[0, 1]]), 0.5)).toBe(0);
});

test("a run is as far as its nodes, the running one by its steps", () => {
  expect(shareOf(view({ a: { state: "cached" }, b: { state: "running", step: 1, total: 2 }, c: {}, d: {} }))).toBe(0.375);
  expect(shareOf(EMPTY_RUN)).toBe(0);
});

test("what is left of the run counts what earlier runs and sister copies took", () => {
  const now = view({ a: { state: "running" }, b: {}, c: {} });
  expect(runLeft(now, 5, [])).toEqual({ seconds: 5, isAll: false });
  const before = view({ b: { state: "executed", seconds: 20 }, c: { state: "executed", seconds: 3 } });
  expect(runLeft(now, 5, [before])).toEqual({ seconds: 28, isAll: true });
  const sweep = view({ "t--x1": { state: "executed", seconds: 60 }, "t--x2": { state: "running" }, "t--x3": {} });
  expect(runLeft(sweep, 30, [])).toEqual({ seconds: 90, isAll: true });
});
