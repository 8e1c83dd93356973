import { expect, test } from "vitest";
import type { PublishedArtifact } from "../src/api/types";
import { comparedWith, pictureOf } from "../src/components/resultPictures";

const file = (number: number, caption = "", group = ""): PublishedArtifact => ({
  path: `/out/image-${number}.png`,
  sha256: "",
  bytes: 1,
  node: "save",
  caption,
  group,
});

test("a picture is called by what drew it and what it was asked for, else by its file", () => {
  expect(pictureOf("r", file(1, "model + LoRA", "a dog"))).toEqual({
    src: "/api/artifacts/r/image-1.png",
    caption: "model + LoRA: a dog",
    group: "a dog",
  });
  expect(pictureOf("r", file(1)).caption).toBe("image-1.png");
});

test("like is compared with like: the same prompt by another model", () => {
  const made = [file(1, "before", "dog"), file(2, "before", "cat"), file(3, "after", "dog"), file(4, "after", "cat")];
  const pictures = made.map((each) => pictureOf("r", each));
  expect([0, 1, 2, 3].map((index) => comparedWith(pictures, index)?.caption)).toEqual([
    "after: dog",
    "after: cat",
    "before: dog",
    "before: cat",
  ]);
  const steps = [1, 2].map((step) => ({ src: "", caption: `step ${step}` }));
  expect([comparedWith(steps, 1), comparedWith(steps, 0), comparedWith(steps.slice(0, 1), 0)]).toEqual([
    steps[0],
    steps[1],
    undefined,
  ]);
});
