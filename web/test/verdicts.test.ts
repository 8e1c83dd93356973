import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { end, nodesOf, wiresOf } from "../src/graph/document";
import { handsOn, matchingSocket, reaches, verdict } from "../src/graph/verdicts";
import { documents, graph, isAcyclic, palette } from "./graphs";

const refusal = (wires: string[], from: string, to: string) => {
  const document = graph({ a: "Number", b: "Scale", c: "Scale", model: "LoadModel", x: "FromTheFuture" }, wires);
  const found = verdict(document, palette, end(from), end(to));
  return found.fits ? found.many : found.refusal.code;
};

test("no sequence of allowed wires makes a circle", () => {
  fc.assert(
    fc.property(documents, (document) => {
      expect(isAcyclic(document)).toBe(true);
    }),
  );
});

test("an input that takes one wire never has two", () => {
  fc.assert(
    fc.property(documents, (document) => {
      const single = wiresOf(document).filter(({ to }) => {
        const inputs = palette.get(nodesOf(document)[end(to).node]?.type ?? "")?.inputs ?? [];
        return !inputs.find((socket) => socket.name === end(to).name)?.many;
      });
      expect(new Set(single.map((wire) => wire.to)).size).toBe(single.length);
    }),
  );
});

describe("each refusal says why", () => {
  test.each([
    [[], "a.output", "b.numbers", true],
    [[], "a.output", "b.factor", false],
    [[], "a.nothing", "b.numbers", "unknown"],
    [[], "a.output", "b.nothing", "unknown"],
    [[], "x.output", "b.numbers", "unknown"],
    [[], "gone.output", "b.numbers", "unknown"],
    [[], "b.output", "b.numbers", "sameNode"],
    [[], "a.output", "b.path", "fieldRefuses"],
    [[], "model.output", "b.numbers", "type"],
    [["a.output>b.numbers"], "a.output", "b.numbers", "there"],
    [["b.output>c.numbers"], "c.output", "b.numbers", "circle"],
    [["b.output>c.numbers"], "c.output", "b.factor", "circle"],
  ])("%j: %s > %s: %s", (wires, from, to, expected) => {
    expect(refusal(wires, from, to)).toBe(expected);
  });
});

test("a node reaches itself and all after it", () => {
  const document = graph({ a: "Number", b: "Scale", c: "Scale" }, ["a.output>b.numbers", "b.output>c.numbers"]);
  expect([reaches(document, "a", "c"), reaches(document, "a", "a"), reaches(document, "c", "a")]).toEqual([true, true, false]);
});

test("a new node's best socket", () => {
  const document = graph({ a: "Number", b: "Scale", model: "LoadModel" });
  const at = (node: string, name: string, isOutput: boolean, candidate: string) =>
    matchingSocket(document, palette, { node, name }, isOutput, candidate);
  expect(at("model", "output", true, "TrainLoRA")).toEqual({ name: "model", many: false });
  expect(at("model", "output", true, "SampleImages")).toEqual({ name: "models", many: true });
  expect(at("model", "output", true, "LoadImages")).toBeNull();
  expect(at("b", "numbers", false, "Number")).toEqual({ name: "output", many: true });
  expect(at("b", "factor", false, "Number")).toEqual({ name: "output", many: false });
  expect(at("b", "factor", false, "NoSuchClass")).toBeNull();
});

test("a class can be bypassed when an input could stand for an output", () => {
  const answers = ["SampleImages", "EncodeLatents", "TrainLoRA", "SaveSafetensors", "LoadModel"];
  expect(answers.map((name) => handsOn(palette.get(name)))).toEqual([false, false, true, false, false]);
});
