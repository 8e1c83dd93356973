// Writes src/api/types.ts from src/api/schema.json, which `python -m web.api.schema` prints.
import { readFileSync, writeFileSync } from "node:fs";
import { compile } from "json-schema-to-typescript";

/** Property titles would become one alias each, and the library reads tuples only as `items`. */
function adapted(value, isName = false) {
  if (Array.isArray(value)) return value.map((item) => adapted(item));
  if (value === null || typeof value !== "object") return value;
  const { title, prefixItems, ...rest } = isName ? { ...value, title: undefined, prefixItems: undefined } : value;
  const entries = Object.entries(isName ? value : rest).map(([key, item]) => [
    key,
    adapted(item, !isName && (key === "properties" || key === "$defs")),
  ]);
  if (prefixItems) entries.push(["items", prefixItems.map((item) => adapted(item))]);
  return Object.fromEntries(entries);
}

const DOCUMENT = new Set(["Workflow", "NodeEntry", "Wire", "Group", "Note", "Subgraph"]);

const schema = adapted(JSON.parse(readFileSync(new URL("../src/api/schema.json", import.meta.url), "utf8")));
// In a document, defaults may be left out; messages are always whole.
for (const [name, definition] of Object.entries(schema.$defs)) {
  if (definition.properties && !DOCUMENT.has(name)) definition.required = Object.keys(definition.properties);
}
const text = await compile({ ...schema, title: "Messages" }, "Messages", {
  additionalProperties: false,
  unreachableDefinitions: true,
  bannerComment: "/* Written by `npm run types`; edit the Python models instead. */",
});
writeFileSync(new URL("../src/api/types.ts", import.meta.url), text);
