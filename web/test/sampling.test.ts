import { expect, test } from "vitest";
import { type Document, nodesOf, wiresOf } from "../src/graph/document";
import { faultOf, fieldsOf, valueOf } from "../src/graph/palette";
import { type Finished, samplingDocument, upstream } from "../src/graph/sampling";
import { collapse } from "../src/graph/subgraph";
import { verdict } from "../src/graph/verdicts";
import { palette } from "./graphs";

const templates = import.meta.glob<Document>("../../workflows/*.json", { import: "default", eager: true });

const lora: Document = {
  format: "latentloom/1",
  name: "lora",
  nodes: {
    model: { type: "LoadModel", fields: { model: "models/base", clip_skip: 1 } },
    inject: { type: "InjectLoRA" },
    train: { type: "TrainLoRA", position: [100, 40] },
    images: { type: "LoadImages" },
    sample: { type: "SampleImages", fields: { prompts: "a cat" } },
    save: { type: "SaveSafetensors", fields: { trigger_phrase: "sks" } },
  },
  wires: [
    { from: "model.output", to: "inject.model" },
    { from: "inject.output", to: "train.model" },
    { from: "train.output", to: "sample.models" },
    { from: "train.output", to: "save.model" },
  ],
};
const file: Finished = { node: "save", path: "outputs/lora.safetensors", paths: ["outputs/lora.safetensors"] };
const made = (document: Document, saved: Partial<Finished> = {}) =>
  samplingDocument(document, palette, { ...file, ...saved }, "trained twice");
const shape = (document: Document | null) => ({
  nodes: Object.values(document?.nodes ?? {}).map(({ type }) => type),
  wires: wiresOf(document ?? lora).map(({ from, to }) => `${from}>${to}`),
});
const fields = (document: Document | null, id: string) => document?.nodes?.[id]?.fields;

test("upstream holds the node and what it depends on, nearest first", () => {
  expect([...upstream(lora, "train")]).toEqual(["train", "inject", "model"]);
});

test("a LoRA is loaded over its base, and drawn with as its graph drew; nothing is trained", () => {
  const drawing = made(lora);
  expect(shape(drawing)).toEqual({
    nodes: ["LoadModel", "LoadLoRA", "SampleImages", "SaveImages"],
    wires: [
      "load_model.output>load_lora.model",
      "load_lora.output>sample_images.models",
      "sample_images.output>save_images.images",
    ],
  });
  expect(fields(drawing, "load_model")).toEqual({ model: "models/base", clip_skip: 1 });
  expect(fields(drawing, "load_lora")).toEqual({ file: "outputs/lora.safetensors" });
  expect(fields(drawing, "sample_images")).toEqual({ prompts: "a cat" });
});

test("without a node that draws, the prompt is what calls the file", () => {
  const { sample: _, ...nodes } = nodesOf(lora);
  const silent = { ...lora, nodes, wires: wiresOf(lora).filter(({ to }) => !to.startsWith("sample")) };
  expect(fields(made(silent), "sample_images")).toEqual({ prompts: "sks" });
});

test("a merge is carried out over the first checkpoint's model", () => {
  const merge: Document = {
    ...lora,
    nodes: {
      a: { type: "LoadCheckpoint", fields: { path: "models/a.safetensors" } },
      b: { type: "LoadCheckpoint" },
      merge: { type: "MergeWeighted" },
      save: { type: "SaveSafetensors" },
    },
    wires: [
      { from: "a.output", to: "merge.models" },
      { from: "b.output", to: "merge.models" },
      { from: "merge.output", to: "save.model" },
    ],
  };
  const drawing = made(merge);
  expect(shape(drawing).nodes).toEqual(["LoadCheckpoint", "LoadModel", "AsModel", "SampleImages", "SaveImages"]);
  expect(fields(drawing, "load_checkpoint")).toEqual({ path: "outputs/lora.safetensors" });
  expect(fields(drawing, "load_model")).toEqual({ model: "models/a.safetensors" });
});

test("a word keeps its spelling, and its opposite goes into negative prompts", () => {
  const dream = templates["../../workflows/dreamartist.json"] as Document;
  const paths = ["outputs/new-lion.pt", "outputs/new-lion-neg.pt"];
  const drawing = made(dream, { path: paths[1], paths });
  expect(fields(drawing, "load_embedding")).toEqual({ file: paths[0], placeholder_token: "<new>" });
  expect(fields(drawing, "load_embedding_2")).toEqual({ file: paths[1], placeholder_token: "<new>-neg", negative: true });
});

test("of several concepts each has its own word", () => {
  const custom = templates["../../workflows/custom_diffusion.json"] as Document;
  const paths = ["o/both.bin", "o/both-lion.bin", "o/both-owl.bin"];
  const drawing = made(custom, { path: paths[0], paths });
  expect(fields(drawing, "load_embedding")).toEqual({ file: paths[1], placeholder_token: "<lion>" });
  expect(fields(drawing, "load_embedding_2")).toEqual({ file: paths[2], placeholder_token: "<owl>" });
  expect(drawing?.notes).toBeUndefined();
});

test("a file whose base was trained in the same graph says so", () => {
  const nodes = { ...nodesOf(lora), tune: { type: "FineTune" } };
  const wires = [
    { from: "model.output", to: "tune.model" },
    { from: "tune.output", to: "inject.model" },
    ...wiresOf(lora).filter(({ to }) => to !== "inject.model"),
  ];
  expect(made({ ...lora, nodes, wires })?.notes?.[0]?.text).toBe("trained twice");
  expect(made(lora)?.notes).toBeUndefined();
});

test("files of nodes inside subgraphs, and of copies that are swept, are found as well", () => {
  const both = collapse(lora, palette, new Set(["train", "sample", "save"]), "part").document;
  const nested = collapse(both, palette, new Set(["subgraph"]), "whole").document;
  expect(fields(made(nested, { node: "subgraph_2--subgraph--save" }), "sample_images")).toEqual({ prompts: "a cat" });
  expect(shape(made(lora, { node: "save--x2" }))).toEqual(shape(made(lora)));
});

test("a node without a wire, and one whose files draw nothing, give no graph", () => {
  expect(made(lora, { node: "model" })).toBeNull();
  expect(made(lora, { node: "gone" })).toBeNull();
});

const saved = Object.entries(templates).flatMap(([path, document]) =>
  Object.entries(nodesOf(document)).flatMap(([id, { type }]) =>
    type.startsWith("Save") && type !== "SaveImages" ? [[path.split("/").at(-1), id, document] as const] : [],
  ),
);

test.each(saved)("%s: what %s writes opens as a graph without a problem", (_, node, document) => {
  const drawing = made(document, { node, path: "outputs/file", paths: ["outputs/file"] });
  expect(drawing).not.toBeNull();
  const whole = drawing as Document;
  for (const [id, entry] of Object.entries(nodesOf(whole))) {
    const description = palette.get(entry.type);
    expect(description, entry.type).toBeDefined();
    for (const field of fieldsOf(description as NonNullable<typeof description>)) {
      expect([id, field.name, faultOf(field, valueOf(field, entry.fields))]).toEqual([id, field.name, null]);
    }
    for (const input of description?.inputs.filter(({ required }) => required) ?? []) {
      expect(wiresOf(whole).map(({ to }) => to)).toContain(`${id}.${input.name}`);
    }
  }
  for (const wire of wiresOf(whole)) {
    const [from, to] = [wire.from, wire.to].map((end) => ({ node: end.split(".")[0] ?? "", name: end.split(".")[1] ?? "" }));
    const without = { ...whole, wires: wiresOf(whole).filter((each) => each !== wire) };
    expect(from && to && verdict(without, palette, from, to)).toMatchObject({ fits: true });
  }
});
