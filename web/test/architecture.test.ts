import { expect, test } from "vitest";

const sources = import.meta.glob<string>("../src/graph/*.ts", { query: "?raw", import: "default", eager: true });

test("the graph knows neither React nor requests: it imports itself, and the types of what the server says", () => {
  expect(Object.keys(sources).length).toBeGreaterThan(15);
  for (const [file, source] of Object.entries(sources)) {
    const imports = [...source.matchAll(/(?:^|;)\s*((?:im|ex)port\b[^;]*?\bfrom\s*|import\s*|.*\bimport\()"([^"]+)"/gm)];
    const foreign = imports.filter(([, words = "", from = ""]) => {
      const isType = /^(im|ex)port type\b/.test(words) && from === "../api/types";
      return !isType && !from.startsWith("./");
    });
    expect([file, foreign.map(([, , from]) => from)]).toEqual([file, []]);
  }
});
