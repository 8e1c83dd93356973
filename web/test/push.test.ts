import fc from "fast-check";
import { expect, test } from "vitest";
import { clearOf } from "../src/graph/arrange";
import { type Card, pushed } from "../src/graph/push";

const card = (id: string, x: number, y: number, height: number, usual = 100): Card => ({
  ...{ id, x, y, height, usual },
  width: 200,
  isHeld: false,
});

test("a result pushes down what lies below it, and that pushes on", () => {
  const cards = [card("a", 0, 0, 180), card("b", 50, 120, 100), card("c", 150, 230, 100), card("beside", 400, 120, 100)];
  expect([...pushed(cards)]).toEqual([
    ["b", 72],
    ["c", 74],
  ]);
});

test("without a result nothing moves, even where cards overlap already", () => {
  expect(pushed([card("a", 0, 0, 100), card("b", 0, 50, 100)]).size).toBe(0);
});

test("what is dragged stays in the hand", () => {
  const held = { ...card("b", 0, 120, 100), isHeld: true };
  expect(pushed([card("a", 0, 0, 180), held]).size).toBe(0);
});

test("whatever grows, cards that lay clear of each other stay clear", () => {
  const grid = fc.array(fc.tuple(fc.nat(3), fc.nat(5), fc.nat(90), fc.nat(300)), { maxLength: 12 });
  fc.assert(
    fc.property(grid, (places) => {
      const unique = [...new Map(places.map((place) => [`${place[0]} ${place[1]}`, place])).values()];
      const cards = unique.map(([column, row, offset, more], index) =>
        card(String(index), column * 120 + offset, row * 140, 100 + more),
      );
      const clear = cards.filter((one, at) => !cards.slice(0, at).some((other) => isOver({ ...one, height: 100 }, other, 100)));
      const shifts = pushed(clear);
      const shown = clear.map((each) => ({ ...each, y: each.y + (shifts.get(each.id) ?? 0) }));
      for (const [at, one] of shown.entries()) for (const other of shown.slice(at + 1)) expect(isOver(one, other)).toBe(false);
    }),
  );
});

function isOver(a: Card, b: Card, height = b.height): boolean {
  return a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + height && b.y < a.y + a.height;
}

test("notes under cards move below them, side by side; others stay", () => {
  const box = (x: number, y: number) => ({ x, y, width: 100, height: 50 });
  const places = clearOf([box(0, 0), box(200, 300)], [box(10, 10), box(0, 100), box(220, 320), undefined]);
  expect([...places]).toEqual([
    [0, [0, 382]],
    [2, [132, 382]],
  ]);
});
