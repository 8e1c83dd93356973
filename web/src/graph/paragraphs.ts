const LINE_END = /(?<=\S)[^\S\n]*\n[^\S\n]*(?=\S)(?![-*] )/g;

/** A docstring with its paragraphs in one line each: its lines end where the source has no more room. Lists stay lists. */
export function paragraphs(docstring: string): string {
  return docstring.trim().replace(LINE_END, " ");
}
