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

const all = import.meta.glob<string>("../src/**/*.{ts,tsx}", { query: "?raw", import: "default", eager: true });

/** The folders of the editor, the lowest first; the generated types of messages are below all. */
const ORDER = ["api/types.ts", "graph", "text", "api", "state", "components", "fields", "canvas", "panels", "dialogs", ""];

/** The files below `src` and what each imports, types and imports inside functions included. */
const imported = new Map(
  Object.entries(all).map(([path, source]) => {
    const file = path.slice("../src/".length);
    const found = [...source.matchAll(/(?:\bfrom|\bimport)\s*\(?\s*"(\.[^"]+)"/g)].map(([, from = ""]) => resolved(file, from));
    return [file, found.filter((target) => target !== undefined)] as const;
  }),
);

function resolved(file: string, from: string): string | undefined {
  const path = new URL(from, `file:///${file}`).pathname.slice(1);
  return [path, `${path}.ts`, `${path}.tsx`].find((name) => `../src/${name}` in all);
}

function rankOf(file: string): number {
  const folder = file.includes("/") ? file.slice(0, file.indexOf("/")) : "";
  return Math.max(ORDER.indexOf(file), ORDER.indexOf(file === "api/types.ts" ? file : folder));
}

test("a file imports from its own folder and those before it", () => {
  expect([...imported.values()].flat().length).toBeGreaterThan(200);
  for (const [file, targets] of imported) {
    expect([file, rankOf(file)]).not.toEqual([file, -1]);
    expect([file, targets.filter((target) => rankOf(target) > rankOf(file))]).toEqual([file, []]);
  }
});

test("no imports go in a circle", () => {
  const done = new Set<string>();
  const visit = (file: string, way: string[]): void => {
    expect(way.includes(file) ? [...way, file] : []).toEqual([]);
    if (done.has(file)) return;
    for (const target of imported.get(file) ?? []) visit(target, [...way, file]);
    done.add(file);
  };
  for (const file of imported.keys()) visit(file, []);
});
