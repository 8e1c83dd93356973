import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { rank, searchNodes } from "../src/graph/search";
import { own, palette } from "./graphs";

const names = (query: string) => searchNodes(palette, query).map((node) => node.name);
const entry = (key: string, ...texts: string[]) => ({ key, texts: texts.map((text): [string, number] => [text, 1]) });

describe("nodes are found", () => {
  test.each([
    ["InjectLoRA", "InjectLoRA"],
    ["inject", "InjectLoRA"],
    ["ilora", "InjectLoRA"],
    ["trainlora", "TrainLoRA"],
    ["train lora", "TrainLoRA"],
    ["lora train", "TrainLoRA"],
    ["TL", "TrainLoRA"],
    ["smaple", "SampleImages"],
    ["samle", "SampleImages"],
    ["safetensors", "SaveSafetensors"],
    ["load model", "LoadModel"],
  ])("by %s", (query, name) => {
    expect(names(query)[0]).toBe(name);
  });

  test("by a word that several share, and in spite of a doubled letter", () => {
    expect(names("grid").slice(0, 2).sort()).toEqual(["ImageGrid", "XYGrid"]);
    expect(names("samplle").slice(0, 4)).toContain("SampleImages");
  });

  test("by their category and by each synonym, which several may have", () => {
    expect(names("methods")).toContain("TrainLoRA");
    for (const node of own) for (const synonym of node.synonyms) expect(names(synonym).slice(0, 12)).toContain(node.name);
  });

  test("all for an empty query, none for nonsense", () => {
    expect(names("  ")).toEqual([...palette.keys()]);
    expect(names("zqxwvk")).toEqual([]);
  });
});

describe("rank", () => {
  test("prefers prefixes, then starts of words, then letters in order", () => {
    const entries = ["xxsave", "Do save", "Saver", "Save", "SuAbVoEt"].map((text) => entry(text, text));
    expect(rank("save", entries).map(({ key }) => key)).toEqual(["Save", "Saver", "Do save", "SuAbVoEt", "xxsave"]);
  });

  test("shows the letters it means in the first text", () => {
    expect(rank("lr", [entry("k", "Learning rate")])[0]?.ranges).toEqual([
      [0, 1],
      [9, 10],
    ]);
    expect(rank("second", [entry("k", "first", "second")])[0]?.ranges).toBeUndefined();
  });

  test("finds every text by itself, within bounds, and never fails", () => {
    fc.assert(
      fc.property(fc.string(), fc.string({ maxLength: 80 }), (query, text) => {
        for (const { ranges = [], score } of rank(query, [entry("k", text)])) {
          expect(score).toBeLessThanOrEqual(1);
          for (const [start, stop] of ranges) expect(0 <= start && start < stop && stop <= text.length).toBe(true);
        }
      }),
    );
    fc.assert(
      fc.property(fc.stringMatching(/^[A-Za-z]{1,30}$/), (text) => {
        expect(rank(text, [entry("k", text)])).toHaveLength(1);
      }),
    );
  });
});
