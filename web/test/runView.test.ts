import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { AnyEvent } from "../src/api/types";
import { applyEvents, EMPTY_RUN } from "../src/graph/runView";

type Unnumbered = AnyEvent extends infer E ? (E extends AnyEvent ? Omit<E, "seq"> : never) : never;

const node = fc.constantFrom("a", "b", "c");
const step = fc.nat(20);
const seconds = fc.nat(9);
const any: fc.Arbitrary<Unnumbered> = fc.oneof(
  node.map((id): Unnumbered => ({ type: "run_started", run: "r", workflow: "w", targets: [], nodes: [id, "a"] })),
  node.map((id): Unnumbered => ({ type: "node_started", node: id, node_type: "X" })),
  fc.record({ type: fc.constant("node_progress" as const), node, step, total: fc.constant(20) }),
  fc.record({
    type: fc.constant("node_metric" as const),
    node,
    step,
    earlier: fc.boolean(),
    values: fc.record({ loss: fc.nat(9), rate: fc.nat(9) }),
  }),
  fc.record({ type: fc.constant("node_preview" as const), node, step, earlier: fc.boolean(), path: fc.constant("p.png") }),
  fc.record({ type: fc.constant("node_message" as const), node, level: fc.constant("info" as const), text: fc.string() }),
  fc.record({ type: fc.constant("node_finished" as const), node, state: fc.constantFrom("executed", "cached"), seconds }),
  fc.record({
    type: fc.constant("node_failed" as const),
    node,
    field: fc.constant(""),
    message: fc.string(),
    remedy: fc.string(),
  }),
  node.map((id): Unnumbered => {
    const nodes = { [id]: { state: "skipped" as const, seconds: 0, reason: "" } };
    return { type: "run_finished", status: "failed", nodes, artifacts: [] };
  }),
);
const numbered = (list: Unnumbered[]): AnyEvent[] => list.map((event, seq) => ({ ...event, seq }) as AnyEvent);
const runs = fc.array(any, { maxLength: 60 }).map(numbered);
const view = (...list: Unnumbered[]) => applyEvents(EMPTY_RUN, numbered(list));

test("in any pieces, and with any of them again, events give the same view", () => {
  fc.assert(
    fc.property(runs, fc.array(fc.tuple(fc.nat(60), fc.nat(60)), { maxLength: 20 }), (events, pieces) => {
      let late = EMPTY_RUN;
      let known = 0;
      for (const [back, more] of pieces) {
        const start = Math.max(0, known - back);
        late = applyEvents(late, events.slice(start, known + more));
        known = Math.min(events.length, known + more);
      }
      late = applyEvents(late, events);
      expect(late).toEqual(applyEvents(EMPTY_RUN, events));
    }),
  );
});

test("the view before is left as it was", () => {
  fc.assert(
    fc.property(runs, (events) => {
      const [first, second] = [events.slice(0, 30), events.slice(30)];
      const early = applyEvents(EMPTY_RUN, first);
      const copy = structuredClone(early);
      applyEvents(early, second);
      expect(early).toEqual(copy);
    }),
  );
});

test("eight times the curve takes about eight times as long, not sixty-four", () => {
  const time = (count: number): number => {
    const steps = Array.from({ length: count }, (_, step): Unnumbered => {
      return { type: "node_metric", node: "a", step, earlier: false, values: { loss: 1 } };
    });
    const begin = performance.now();
    expect(view(...steps).nodes.a?.metrics.loss?.steps).toHaveLength(count);
    return performance.now() - begin;
  };
  const best = (count: number): number => Math.min(...[1, 2, 3].map(() => time(count)));
  expect(best(96_000) / best(12_000)).toBeLessThan(32);
});

test("what a run looks like from its start to its end", () => {
  const running = view(
    { type: "run_started", run: "folder", workflow: "w", targets: ["b"], nodes: ["a", "b"] },
    { type: "node_finished", node: "a", state: "cached", seconds: 0 },
    { type: "node_started", node: "b", node_type: "TrainLoRA" },
    { type: "node_progress", node: "b", step: 1, total: 2 },
    { type: "node_metric", node: "b", step: 1, earlier: false, values: { loss: 0.5 } },
  );
  expect([running.status, running.folder, running.nodes.a?.state]).toEqual(["running", "folder", "cached"]);
  expect(running.nodes.b).toMatchObject({
    state: "running",
    step: 1,
    total: 2,
    metrics: { loss: { steps: [1], values: [0.5] } },
  });
  const failed = applyEvents(running, [
    { seq: 5, type: "node_failed", node: "b", field: "seed", message: "No.", remedy: "Yes." },
    { seq: 6, type: "run_finished", status: "failed", nodes: { b: { state: "failed", seconds: 3, reason: "" } }, artifacts: [] },
  ]);
  expect(failed.status).toBe("failed");
  expect(failed.nodes.b).toMatchObject({ state: "failed", seconds: 3, problem: { field: "seed", message: "No." } });
  expect(failed.log).toEqual([{ node: "b", level: "error", text: "Seed: No. Yes." }]);
});

describe("a second attempt", () => {
  const again = view(
    { type: "run_started", run: "r", workflow: "w", targets: [], nodes: ["a"] },
    { type: "node_metric", node: "a", step: 1, earlier: false, values: { loss: 3 } },
    { type: "node_metric", node: "a", step: 2, earlier: false, values: { loss: 2 } },
    { type: "node_preview", node: "a", step: 2, earlier: false, path: "old.png" },
    { type: "node_failed", node: "a", field: "", message: "x", remedy: "" },
    { type: "run_started", run: "r", workflow: "w", targets: [], nodes: ["a"] },
    { type: "node_metric", node: "a", step: 2, earlier: false, values: { loss: 1 } },
    { type: "node_preview", node: "a", step: 2, earlier: false, path: "new.png" },
  );

  test("goes on with the curve and the pictures from where it resumed", () => {
    expect(again.nodes.a?.metrics.loss).toEqual({ steps: [1, 2], values: [3, 1] });
    expect(again.nodes.a?.previews).toEqual([{ step: 2, path: "new.png" }]);
  });

  test("forgets the failure", () => {
    expect([again.nodes.a?.state, again.nodes.a?.problem]).toEqual(["waiting", null]);
  });
});
