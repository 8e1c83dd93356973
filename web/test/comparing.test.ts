import { expect, test } from "vitest";
import type { AnyEvent } from "../src/api/types";
import { counterpart, invitation, legend, measured, trainings } from "../src/graph/comparing";
import type { Document } from "../src/graph/document";
import { applyEvents, EMPTY_RUN, type RunView } from "../src/graph/runView";

/** A run that trained these nodes, given by id and class; one without a class came from the cache. */
function run(nodes: Record<string, string>): RunView {
  const events = Object.entries(nodes).flatMap(([node, type]) => [
    ...(type ? [{ type: "node_started", node, node_type: type }] : []),
    { type: "node_metric", node, step: 1, values: type === "LoadModel" ? {} : { loss: 0.5 } },
  ]);
  const all = [{ type: "run_started", run: "", workflow: "", targets: [], nodes: Object.keys(nodes) }, ...events];
  return applyEvents(
    EMPTY_RUN,
    all.map((event, seq) => ({ ...event, seq }) as AnyEvent),
  );
}

const ids = (view: RunView) => trainings(view).map(({ id, nodes }) => [id, nodes]);

test("copies that a sweep makes are one training", () => {
  expect(ids(run({ model: "LoadModel", "train--x1": "TrainLoRA", "train--x2": "TrainLoRA" }))).toEqual([
    ["train", ["train--x1", "train--x2"]],
  ]);
  expect(ids(run({ "part--train--x1y2": "TrainLoRA", other: "TrainTI" }))).toEqual([
    ["part--train", ["part--train--x1y2"]],
    ["other", ["other"]],
  ]);
  expect(ids(run({ "t--grid-x1": "TrainLoRA", "t--grid-x2": "" }))).toEqual([["t", ["t--grid-x1", "t--grid-x2"]]]);
});

test("a copy is called by the values that it has", () => {
  const fields = { x: "train.learning_rate", x_values: "1e-4\n\n 1e-3 ", y: "inject.rank", y_values: "4\n8" };
  const document: Document = {
    format: "latentloom/1",
    nodes: { grid: { type: "XYGrid", fields }, two: { type: "XYGrid", fields: {} } },
  };
  expect(legend(document, "train--x2")).toBe("learning_rate 1e-3");
  expect(legend(document, "train--x1y2")).toBe("learning_rate 1e-4, rank 8");
  expect(legend(document, "train--grid-x2")).toBe("learning_rate 1e-3");
  expect(legend(document, "train")).toBe("train");
  expect(legend(undefined, "train--x2")).toBe("train--x2");
});

test("the same training of another graph is found by id, by kind, by place", () => {
  const own = run({ train_lora: "TrainLoRA", ti: "TrainTI" });
  const [lora, ti] = trainings(own);
  const found = (other: RunView, training = lora) => training && counterpart(training, own, other)?.id;
  expect(found(run({ a: "TrainTI", train_lora: "FineTune" }))).toBe("train_lora");
  expect(found(run({ a: "TrainTI", train: "TrainLoRA" }))).toBe("train");
  expect(found(run({ "train--x1": "TrainLoRA", "train--x2": "TrainLoRA" }))).toBe("train");
  expect(found(run({ a: "", b: "" }), ti)).toBe("b");
  expect(found(run({ model: "LoadModel" }))).toBeUndefined();
});

test("only copies that measured a curve have it", () => {
  const view = run({ "train--x1": "TrainLoRA", "train--x2": "" });
  const [training] = trainings(view);
  expect(training && measured(training, view, "loss").map(([id]) => id)).toEqual(["train--x1", "train--x2"]);
  expect(training && measured(training, view, "learning_rate")).toEqual([]);
});

test("that all runs are shown is not that there is none", () => {
  expect([invitation(undefined, 0), invitation(0, 0), invitation(2, 0), invitation(2, 1)]).toEqual([
    "chooseRun",
    "noComparable",
    "allCompared",
    "chooseRun",
  ]);
});
