/** The number that a text means: a whole one may have separated thousands, another one a decimal comma; null for anything else. */
export function numberOf(typed: string, isWhole: boolean): number | null {
  const text = typed.trim();
  if (isWhole && /^[+-]?\d{1,3}([ ,']\d{3})+$/.test(text)) return Number(text.replace(/[ ,']/g, ""));
  const plain = isWhole ? /^[+-]?\d+(e\d+)?$/i : /^[+-]?(\d+[.,]?\d*|[.,]\d+)(e[+-]?\d+)?$/i;
  return plain.test(text) ? Number(text.replace(",", ".")) : null;
}
