import { expect, test } from "vitest";
import type { Document } from "../src/graph/document";
import { samplingDocument, upstream } from "../src/graph/sampling";
import { collapse } from "../src/graph/subgraph";
import { palette } from "./graphs";

const document: Document = {
  format: "latentloom/1",
  name: "lora",
  nodes: {
    model: { type: "LoadModel" },
    train: { type: "TrainLoRA", position: [100, 40] },
    other: { type: "LoadImages" },
    sample: { type: "SampleImages", fields: { prompts: "a cat" } },
    save: { type: "SaveSafetensors" },
  },
  wires: [
    { from: "model.output", to: "train.model" },
    { from: "train.output", to: "sample.models" },
    { from: "train.output", to: "save.model" },
  ],
};

test("upstream holds the node and what it depends on", () => {
  expect(upstream(document, "train")).toEqual(new Set(["train", "model"]));
});

test("a trained file is drawn with as its graph drew", () => {
  const made = samplingDocument(document, "save");
  expect(Object.keys(made?.nodes ?? {})).toEqual(["model", "train", "sample_images", "save_images"]);
  expect(made?.nodes?.sample_images).toEqual({ type: "SampleImages", fields: { prompts: "a cat" }, position: [420, 40] });
  expect(made?.wires).toContainEqual({ from: "train.output", to: "sample_images.models" });
  expect(made?.wires).toContainEqual({ from: "sample_images.output", to: "save_images.images" });
});

test("a file that was saved inside subgraphs is drawn with as well", () => {
  const lines = (id: string) => collapse(document, palette, new Set(id.split(" ")), "part");
  const alone = lines("save").document;
  expect(Object.keys(samplingDocument(alone, "subgraph--save")?.nodes ?? {})).toEqual([
    "model",
    "train",
    "sample_images",
    "save_images",
  ]);
  const both = lines("train sample save").document;
  const nested = collapse(both, palette, new Set(["subgraph"]), "whole").document;
  const made = samplingDocument(nested, "subgraph_2--subgraph--save");
  expect(Object.keys(made?.nodes ?? {})).toEqual(["model", "train", "sample_images", "save_images"]);
  expect(made?.nodes?.sample_images?.fields).toEqual({ prompts: "a cat" });
  expect(made?.wires).toContainEqual({ from: "model.output", to: "train.model" });
});

test("a node without a wire gives nothing to draw with", () => {
  expect(samplingDocument(document, "model")).toBeNull();
});
