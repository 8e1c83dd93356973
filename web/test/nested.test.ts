import { expect, test } from "vitest";
import type { Document } from "../src/graph/document";
import { makePalette, type NodeDescription } from "../src/graph/palette";
import { collapse, innerDocument, withInner } from "../src/graph/subgraph";
import palette from "./palette.json";

const classes = makePalette(palette.nodes as unknown as NodeDescription[]);
const document: Document = {
  format: "latentloom/1",
  nodes: {
    images: { type: "LoadImages", fields: { folder: "photos" } },
    model: { type: "LoadModel" },
    captions: { type: "CaptionDataset" },
    latents: { type: "EncodeLatents" },
    embeddings: { type: "EncodeCaptions" },
    inject: { type: "InjectLoRA" },
    train: { type: "TrainLoRA" },
  },
  wires: [
    { from: "images.output", to: "captions.images" },
    { from: "images.output", to: "latents.images" },
    { from: "model.output", to: "latents.model" },
    { from: "model.output", to: "embeddings.model" },
    { from: "captions.output", to: "embeddings.captions" },
    { from: "model.output", to: "inject.model" },
    { from: "inject.output", to: "train.model" },
    { from: "latents.output", to: "train.latents" },
    { from: "embeddings.output", to: "train.embeddings" },
  ],
};

test("a subgraph made inside a subgraph keeps the wires from outside", () => {
  const outer = collapse(document, classes, new Set(["captions", "latents", "embeddings"]), "encode");
  const name = Object.keys(outer.document.subgraphs ?? {})[0] as string;
  const inside = innerDocument(outer.document, name);
  const deeper = collapse(inside, classes, new Set(["latents"]), "latents only");
  const result = withInner(outer.document, name, deeper.document);
  expect(result.wires).toEqual(outer.document.wires);
  expect(Object.keys(result.subgraphs?.[name]?.inputs ?? {})).toEqual(
    Object.keys(outer.document.subgraphs?.[name]?.inputs ?? {}),
  );
});
