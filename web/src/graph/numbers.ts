/** Numbers in texts and documents. */

import { type Document, nodesOf } from "./document";

/** The number that a text means: a whole one may have separated thousands, another one a decimal comma; null for anything else. */
export function numberOf(typed: string, isWhole: boolean): number | null {
  const text = typed.trim();
  if (isWhole && /^[+-]?\d{1,3}([ ,']\d{3})+$/.test(text)) return Number(text.replace(/[ ,']/g, ""));
  const plain = isWhole ? /^[+-]?\d+(e\d+)?$/i : /^[+-]?(\d+[.,]?\d*|[.,]\d+)(e[+-]?\d+)?$/i;
  return plain.test(text) ? Number(text.replace(",", ".")) : null;
}

/** Fields with whole numbers so large that JavaScript has rounded them when it read the document, such as `train.seed`. */
export function roundedNumbers(document: Document): string[] {
  const graphs = [nodesOf(document), ...Object.values(document.subgraphs ?? {}).map((each) => each.nodes ?? {})];
  const entries = graphs.flatMap((nodes) => Object.entries(nodes));
  return entries.flatMap(([id, { fields }]) =>
    Object.entries(fields ?? {}).flatMap(([name, value]) => (isRounded(value) ? [`${id}.${name}`] : [])),
  );
}

function isRounded(value: unknown): boolean {
  if (typeof value === "number") return Number.isInteger(value) && !Number.isSafeInteger(value);
  return typeof value === "object" && value !== null && Object.values(value).some(isRounded);
}
