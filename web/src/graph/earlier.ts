/** Documents that an earlier release may have written, with names that a class no longer has. */

import { type Document, nodesOf } from "./document";
import { fieldsOf, type NodeDescription, type Palette } from "./palette";

/** Returns whether the server must migrate a document before it is shown: a class, field or version in it is not current. */
export function mayBeEarlier(document: Document, palette: Palette): boolean {
  const graphs = [document, ...Object.values(document.subgraphs ?? {})];
  return graphs.some((graph) =>
    Object.values(nodesOf(graph as Document)).some(({ type, fields, schema_version }) => {
      const described = palette.get(type);
      return !described || (schema_version ?? 1) !== described.schema_version || hasOtherFields(fields ?? {}, described);
    }),
  );
}

function hasOtherFields(fields: Record<string, unknown>, described: NodeDescription): boolean {
  const known = new Set(fieldsOf(described).map(({ name }) => name));
  return Object.keys(fields).some((name) => !known.has(name));
}
