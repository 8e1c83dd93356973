import { expect, test } from "vitest";
import { changes, written } from "../src/graph/captions";

test("what was written is not changed any more, blanks or not; what was typed meanwhile is", () => {
  const sent = changes({ a: "", b: "dog", c: "" }, { a: "cat ", b: "dog", c: "owl" });
  expect(sent).toEqual({ a: "cat ", c: "owl" });
  const now = written({ a: "cat ", b: "dog", c: "owls" }, sent);
  expect(changes({ a: "cat", b: "dog", c: "owl" }, now)).toEqual({ c: "owls" });
});
