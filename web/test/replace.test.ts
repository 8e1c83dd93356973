import fc from "fast-check";
import { expect, test } from "vitest";
import { changeNode, end, nodesOf, setField, wiresOf } from "../src/graph/document";
import { replaceNode } from "../src/graph/replace";
import { verdict } from "../src/graph/verdicts";
import { documents, graph, palette } from "./graphs";

const TRAIN = graph({ model: "LoadModel", lora: "InjectLoRA", train: "TrainLoRA", save: "SaveSafetensors" }, [
  "model.output>lora.model",
  "lora.output>train.model",
  "train.output>save.model",
]);
const wires = (document: Parameters<typeof wiresOf>[0]) => wiresOf(document).map((wire) => `${wire.from}>${wire.to}`);

test("whatever is replaced by whatever, all wires that stay fit, and the others are named", () => {
  fc.assert(
    fc.property(documents, fc.nat(), fc.constantFrom(...palette.keys()), (document, number, type) => {
      const ids = Object.keys(nodesOf(document));
      const id = ids[number % ids.length] ?? "";
      const { document: after, lost } = replaceNode(document, palette, id, type);
      expect(wiresOf(after).length + lost.length).toBe(wiresOf(document).length);
      expect(nodesOf(after)[id]).toMatchObject({ type, position: nodesOf(document)[id]?.position });
      for (const wire of wiresOf(after)) {
        const without = { ...after, wires: wiresOf(after).filter((other) => other !== wire) };
        expect(verdict(without, palette, end(wire.from), end(wire.to)).fits).toBe(true);
      }
      for (const other of ids) if (other !== id) expect(nodesOf(after)[other]).toBe(nodesOf(document)[other]);
    }),
  );
});

test("by its own class nothing changes", () => {
  fc.assert(
    fc.property(documents, (document) => {
      const [id, entry] = Object.entries(nodesOf(document))[0] ?? ["", { type: "" }];
      const nodes = { ...nodesOf(document), ...(id && { [id]: { ...nodesOf(document)[id], schema_version: 1 } }) };
      expect(replaceNode(document, palette, id, entry.type)).toEqual({
        document: id ? { ...document, nodes } : document,
        lost: [],
      });
    }),
  );
});

test("wires move to sockets of the same type under another name", () => {
  const { document, lost } = replaceNode(TRAIN, palette, "save", "SampleImages");
  expect(wires(document)).toEqual(["model.output>lora.model", "lora.output>train.model", "train.output>save.models"]);
  expect(lost).toEqual([]);
});

test("wires that fit nowhere are lost, and said to be", () => {
  const { document, lost } = replaceNode(TRAIN, palette, "lora", "LoadImages");
  expect(wires(document)).toEqual(["train.output>save.model"]);
  expect(lost).toHaveLength(2);
});

test("fields of the same name stay when they fit, and so do mode and title", () => {
  const filled = setField(
    setField(changeNode(TRAIN, "train", { mode: "muted", title: "T" }), "train", "seed", 7),
    "train",
    "max_steps",
    9,
  );
  const { document } = replaceNode(filled, palette, "train", "SampleImages");
  expect(nodesOf(document).train).toMatchObject({ fields: { seed: 7 }, mode: "muted", title: "T", type: "SampleImages" });
  const odd = setField(TRAIN, "train", "seed", "seven");
  expect(nodesOf(replaceNode(odd, palette, "train", "SampleImages").document).train?.fields).toEqual({});
});

test("an unknown node or class changes nothing", () => {
  expect(replaceNode(TRAIN, palette, "gone", "LoadModel").document).toBe(TRAIN);
  expect(replaceNode(TRAIN, palette, "train", "NoSuchClass").document).toBe(TRAIN);
});
