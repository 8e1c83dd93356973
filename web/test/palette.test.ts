import { describe, expect, test } from "vitest";
import { type FieldSpec, faultOf, fieldsOf, inputOf, outputOf, valueOf } from "../src/graph/palette";
import { fieldOf, nodeClass, own, palette, socketOf } from "./graphs";

function field(schema: Record<string, unknown>, name = "value", required: string[] = []): FieldSpec {
  const [spec] = fieldsOf(nodeClass("X", { fields: { properties: { [name]: schema }, required } }));
  if (!spec) throw new Error("the class has no field");
  return spec;
}

describe("every kind of field", () => {
  test.each([
    ["integer", { type: "integer" }, "rank"],
    ["number", { type: "number" }, "rate"],
    ["seed", { type: "integer" }, "seed"],
    ["seed", { type: "integer" }, "noise_seed"],
    ["integer", { type: "integer" }, "seeds"],
    ["switch", { type: "boolean" }, "flip"],
    ["choice", { enum: ["a", "b"], type: "string" }, "mode"],
    ["text", { type: "string" }, "title"],
    ["text", {}, "anything"],
    ["text", { type: "string", widget: "unheard-of" }, "x"],
    ["number", { anyOf: [{ type: "number", minimum: 1 }, { type: "null" }] }, "maybe"],
  ] as const)("%s from %j", (kind, schema, name) => {
    expect(field(schema, name).kind).toBe(kind);
  });

  test.each([
    ["LoadImages", "folder", "workspace-folder"],
    ["LoadImages", "flip", "switch"],
    ["LoadImages", "background", "color"],
    ["LoadLoRA", "file", "workspace-path"],
    ["LoadModel", "model", "model"],
    ["SampleImages", "prompts", "prompt"],
    ["SampleImages", "guidance_scale", "number"],
    ["TrainLoRA", "seed", "seed"],
    ["TrainLoRA", "optimizer", "choice"],
    ["TrainLoRA", "max_steps", "integer"],
    ["SaveSafetensors", "author", "text"],
  ])("%s.%s is shown as %s", (type, name, kind) => {
    const spec = fieldOf(type, name);
    expect(spec?.widget || spec?.kind).toBe(kind);
  });
});

test("definitions shared by a class are found, its own words come first", () => {
  const shared = {
    properties: { a: { $ref: "#/$defs/A", description: "own" }, b: { anyOf: [{ $ref: "#/$defs/A" }, { type: "null" }] } },
    $defs: { A: { enum: ["x", "y"], description: "shared" } },
  };
  const specs = fieldsOf(nodeClass("X", { fields: shared }));
  expect(specs.map(({ kind, help, choices }) => [kind, help, choices])).toEqual([
    ["choice", "own", ["x", "y"]],
    ["choice", "shared", ["x", "y"]],
  ]);
});

describe("our own nodes", () => {
  test.each(own.map((node) => [node.name, node] as const))("the defaults of %s fit its fields", (_, node) => {
    for (const spec of fieldsOf(node))
      if (spec.default !== undefined && spec.default !== null) expect(faultOf(spec, spec.default)).toBeNull();
    expect(fieldsOf(node)).toBe(fieldsOf(node));
  });

  test("sockets are found by name", () => {
    const train = palette.get("TrainLoRA") ?? nodeClass("", {});
    expect(inputOf(train, "latents")?.type).toBe("LatentDataset");
    expect(outputOf(train, "output")?.type).toBe("DiffusionModel");
    expect(inputOf(train, "nothing")).toBeUndefined();
    expect(socketOf("LoadModel", "model")?.refuses).not.toBe("");
  });
});

describe("faults", () => {
  const number = field({ type: "number", exclusiveMinimum: 0, maximum: 8, multipleOf: 0.1 });
  const whole = field({ type: "integer", minimum: 1, maximum: 8 });
  test.each([
    [number, 0.3, null],
    [number, "0.3", { code: "notNumber" }],
    [number, Number.NaN, { code: "notNumber" }],
    [number, 9, { code: "tooLarge", limit: 8 }],
    [number, 0.25, { code: "notMultiple", limit: 0.1 }],
    [whole, 1.5, { code: "notInteger" }],
    [whole, 0, { code: "tooSmall", limit: 1 }],
    [field({ enum: ["a"] }), "b", { code: "notChoice" }],
    [field({ type: "string", maxLength: 2 }), "abc", { code: "tooLong", limit: 2 }],
    [field({ type: "string", pattern: "^a+$" }), "b", { code: "pattern" }],
    [field({ type: "string", pattern: "^a+$" }), "aa", null],
    [field({ type: "string" }, "v", ["v"]), undefined, { code: "missing" }],
    [field({ type: "string" }, "v", ["v"]), "", { code: "missing" }],
    [field({ type: "string" }), undefined, null],
    [field({ type: "boolean" }), true, null],
  ])("%#", (spec, value, fault) => {
    expect(faultOf(spec, value)).toEqual(fault);
  });
});

test("a value is the node's own, else the default", () => {
  const spec = field({ type: "integer", default: 3 });
  expect(valueOf(spec, undefined)).toBe(3);
  expect(valueOf(spec, { value: 0 })).toBe(0);
});
