/** Fuzzy search: subsequences with a liking for the starts of words, forgiving one typo. */

import type { NodeDescription, Palette } from "./palette";

export type Range = [start: number, end: number];

export interface Entry {
  key: string;
  /** The searched texts, each with its weight; the first is the visible one. */
  texts: [text: string, weight: number][];
}

export interface Ranked {
  key: string;
  score: number;
  /** The matched letters of the first text; absent when the hit is in another one. */
  ranges?: Range[];
}

interface Hit {
  /** Between 0 and 1. */
  score: number;
  ranges: Range[];
}

const LONG = 48;
const ENOUGH = 0.55;

/** The entries in which every word of the query is found, best first; all of them, in their order, for an empty query. */
export function rank(query: string, entries: Entry[]): Ranked[] {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  if (!words.length) return entries.map(({ key }) => ({ key, score: 0 }));
  return entries
    .flatMap((entry) => ranked(words, entry) ?? [])
    .sort((one, other) => other.score - one.score || (one.key < other.key ? -1 : 1));
}

/** The node classes that a query means, best first; all of them for an empty query. */
export function searchNodes(palette: Palette, query: string): NodeDescription[] {
  const entries = [...palette.values()].map((node): Entry => ({ key: node.name, texts: textsOf(node) }));
  return rank(query, entries).flatMap(({ key }) => palette.get(key) ?? []);
}

function textsOf(node: NodeDescription): [string, number][] {
  const synonyms = node.synonyms.map((synonym): [string, number] => [synonym, 0.8]);
  return [[node.title, 1], [node.name, 1], ...synonyms, [node.category, 0.5], [node.description, 0.3]];
}

function ranked(words: string[], entry: Entry): Ranked | null {
  let score = 0;
  const ranges: Range[] = [];
  for (const word of words) {
    let best = 0;
    entry.texts.forEach(([text, weight], index) => {
      const hit = find(word, text);
      if (hit) best = Math.max(best, hit.score * weight);
      if (hit && index === 0) ranges.push(...hit.ranges);
    });
    if (best === 0) return null;
    score += best;
  }
  const found = { key: entry.key, score: score / words.length };
  return ranges.length ? { ...found, ranges: merged(ranges) } : found;
}

function find(word: string, text: string): Hit | null {
  const hit = text.length > LONG ? within(word, text) : scattered(word, text);
  return hit ?? mistyped(word, text);
}

/** A word as it stands somewhere in a long text. */
function within(word: string, text: string): Hit | null {
  const lower = text.toLowerCase();
  let at = lower.indexOf(word);
  if (at < 0) return null;
  for (let next = at; next >= 0; next = lower.indexOf(word, next + 1)) if (isStart(text, next)) at = next;
  return { score: isStart(text, at) ? 0.9 : 0.6, ranges: [[at, at + word.length]] };
}

/** The letters of a word in order, at best the starts of words and what follows them; null when too far apart. */
function scattered(word: string, text: string): Hit | null {
  const lower = text.toLowerCase();
  let row: { score: number; at: number[] }[] = [];
  for (let letter = 0; letter < word.length; letter++) {
    const next: typeof row = [];
    let before = { score: letter ? Number.NEGATIVE_INFINITY : 0, at: [] as number[] };
    for (let at = 0; at < text.length; at++) {
      const adjacent = row[at - 1];
      if (lower[at] === word[letter]) {
        const jump = before.score + (isStart(text, at) ? 0.95 : 0.3);
        const step = adjacent ? adjacent.score + 1 : Number.NEGATIVE_INFINITY;
        const better = adjacent && step >= jump ? { score: step, at: adjacent.at } : { score: jump, at: before.at };
        if (better.score > 0) next[at] = { score: better.score, at: [...better.at, at] };
      }
      if (adjacent && adjacent.score > before.score) before = adjacent;
    }
    row = next;
  }
  const best = row.reduce((one, other) => (other.score > one.score ? other : one), { score: 0, at: [] });
  const share = best.score / word.length;
  if (share < ENOUGH) return null;
  const prefix = best.at[0] === 0 && best.at.at(-1) === word.length - 1 ? 0.1 : 0;
  const ranges = merged(best.at.map((at): Range => [at, at + 1]));
  return { score: 0.8 * share + prefix + 0.1 * (word.length / text.length), ranges };
}

/** A word of the text that begins as the query does but for one letter missing, added, changed or swapped. */
function mistyped(word: string, text: string): Hit | null {
  if (word.length < 4) return null;
  for (let at = 0; at < text.length; at++) {
    if (!isStart(text, at)) continue;
    const length = [0, -1, 1]
      .map((more) => word.length + more)
      .find((size) => oneApart(word, text.slice(at, at + size).toLowerCase()));
    if (length) return { score: 0.4, ranges: [[at, Math.min(at + length, text.length)]] };
  }
  return null;
}

function oneApart(one: string, other: string): boolean {
  let start = 0;
  while (start < one.length && one[start] === other[start]) start++;
  const rest = (text: string, skipped: number) => text.slice(start + skipped);
  if (one.length === other.length) {
    const isSwapped = one[start] === other[start + 1] && one[start + 1] === other[start];
    return rest(one, 1) === rest(other, 1) || (isSwapped && rest(one, 2) === rest(other, 2));
  }
  const [short, long] = one.length < other.length ? [one, other] : [other, one];
  return long.length - short.length === 1 && rest(short, 0) === rest(long, 1);
}

/** Returns whether a word or a camel-case part begins at this letter. */
function isStart(text: string, at: number): boolean {
  const [before, here, after] = [text[at - 1] ?? " ", text[at] ?? " ", text[at + 1] ?? " "];
  if (!/[\p{L}\d]/u.test(here)) return false;
  return !/[\p{L}\d]/u.test(before) || (/\p{Lu}/u.test(here) && (/[\p{Ll}\d]/u.test(before) || /\p{Ll}/u.test(after)));
}

function merged(ranges: Range[]): Range[] {
  const joined: Range[] = [];
  for (const [start, stop] of ranges.sort((one, other) => one[0] - other[0])) {
    const last = joined.at(-1);
    if (last && start <= last[1]) last[1] = Math.max(last[1], stop);
    else joined.push([start, stop]);
  }
  return joined;
}
