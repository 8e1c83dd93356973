import fc from "fast-check";
import { expect, test } from "vitest";
import { align, type Box, distribute } from "../src/graph/arrange";

const BOXES: Record<string, Box> = { a: { x: 0, y: 0, width: 10, height: 10 }, b: { x: 5, y: 50, width: 30, height: 20 } };

test.each([
  ["left", { a: [0, 0], b: [0, 50] }],
  ["center", { a: [12.5, 0], b: [2.5, 50] }],
  ["right", { a: [25, 0], b: [5, 50] }],
  ["top", { a: [0, 0], b: [5, 0] }],
  ["middle", { a: [0, 30], b: [5, 25] }],
  ["bottom", { a: [0, 60], b: [5, 50] }],
] as const)("boxes share their %s", (how, places) => {
  expect(align(BOXES, how)).toEqual(places);
});

const size = fc.integer({ min: 1, max: 300 });
const place = fc.integer({ min: -900, max: 900 });
const boxes = fc.dictionary(fc.stringMatching(/^[a-z]{1,4}$/), fc.record({ x: place, y: place, width: size, height: size }), {
  minKeys: 2,
});

test("distributed boxes have equal gaps, the outermost stay, and the other axis is left alone", () => {
  fc.assert(
    fc.property(boxes, (all) => {
      const places = distribute(all, "horizontal");
      const sorted = Object.entries(all).sort(([, one], [, other]) => one.x + one.width / 2 - other.x - other.width / 2);
      const spans = sorted.map(([id, box]) => ({ start: places[id]?.[0] ?? 0, stop: (places[id]?.[0] ?? 0) + box.width }));
      const gaps = spans.slice(1).map((span, index) => span.start - (spans[index]?.stop ?? 0));
      for (const gap of gaps) expect(gap).toBeCloseTo(gaps[0] ?? 0, 6);
      expect(spans[0]?.start).toBe(sorted[0]?.[1].x);
      const last = sorted.at(-1)?.[1];
      expect(spans.at(-1)?.stop).toBeCloseTo((last?.x ?? 0) + (last?.width ?? 0), 6);
      for (const [id, box] of Object.entries(all)) expect(places[id]?.[1]).toBe(box.y);
    }),
  );
});

test("vertical is the same on its side; nothing gives nothing", () => {
  const three = { ...BOXES, c: { x: 1, y: 20, width: 10, height: 10 } };
  expect(distribute(three, "vertical")).toEqual({ a: [0, 0], c: [1, 25], b: [5, 50] });
  expect(distribute({}, "vertical")).toEqual({});
  expect(align({}, "left")).toEqual({});
});
