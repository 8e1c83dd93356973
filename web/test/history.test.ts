import fc from "fast-check";
import { expect, test } from "vitest";
import { begin, type History, record, redo, undo } from "../src/graph/history";

const times = <T>(count: number, step: (value: T) => T, value: T): T => (count > 0 ? times(count - 1, step, step(value)) : value);
const edits = fc.array(fc.tuple(fc.integer(), fc.constantFrom("", "a", "b")), { maxLength: 50 });
const made = (list: [number, string][]): History<number> =>
  list.reduce((history, [value, key]) => record(history, value, key), begin(0));

test("undone and redone as often, everything is as it was", () => {
  fc.assert(
    fc.property(edits, fc.nat(60), (list, count) => {
      const history = made(list);
      const steps = Math.min(count, history.past.length);
      const back = times(steps, redo, times(steps, undo, history));
      expect({ ...back, key: "" }).toEqual({ ...history, key: "" });
    }),
  );
});

test("undone to the end, the first value is there", () => {
  fc.assert(
    fc.property(edits, (list) => {
      expect(times(60, undo, made(list)).present).toBe(0);
    }),
  );
});

test("edits with the same key in a row are one; an undo between them ends the row", () => {
  const typed = record(record(record(begin("a"), "ab", "k"), "abc", "k"), "abcd", "k");
  expect(typed.past).toEqual(["a"]);
  expect(record(undo(typed), "x", "k").past).toEqual(["a"]);
  expect(record(record(begin(0), 1), 2).past).toEqual([0, 1]);
});

test("a new edit forgets what was undone; the same value is no edit; the past has an end", () => {
  const history = record(record(begin(0), 1), 2);
  expect(record(undo(history), 3).future).toEqual([]);
  expect(record(history, 2)).toBe(history);
  expect(undo(begin(0))).toEqual(begin(0));
  expect(redo(history)).toBe(history);
  const long = Array.from({ length: 700 }, (_, index) => index + 1).reduce((now, value) => record(now, value), begin(0));
  expect(long.past).toHaveLength(500);
});
