/** Line up boxes, or give them even gaps. */

import type { Point } from "./document";

export interface Box {
  x: number;
  y: number;
  width: number;
  height: number;
}

const NOTE_GAP = 32;

export type Alignment = "left" | "center" | "right" | "top" | "middle" | "bottom";

/** Returns positions at which all boxes share an edge, or the middle, of their bounding rectangle. */
export function align(boxes: Record<string, Box>, how: Alignment): Record<string, Point> {
  const all = Object.values(boxes);
  const [left, top] = [Math.min(...all.map((box) => box.x)), Math.min(...all.map((box) => box.y))];
  const right = Math.max(...all.map((box) => box.x + box.width));
  const bottom = Math.max(...all.map((box) => box.y + box.height));
  const place: Record<Alignment, (box: Box) => Point> = {
    left: (box) => [left, box.y],
    center: (box) => [(left + right - box.width) / 2, box.y],
    right: (box) => [right - box.width, box.y],
    top: (box) => [box.x, top],
    middle: (box) => [box.x, (top + bottom - box.height) / 2],
    bottom: (box) => [box.x, bottom - box.height],
  };
  return Object.fromEntries(Object.entries(boxes).map(([id, box]) => [id, place[how](box)]));
}

/** Returns positions at which neighbours have equal gaps; the first and the last box stay. */
export function distribute(boxes: Record<string, Box>, direction: "horizontal" | "vertical"): Record<string, Point> {
  const [start, size] = direction === "horizontal" ? (["x", "width"] as const) : (["y", "height"] as const);
  const middle = (box: Box) => box[start] + box[size] / 2;
  const ordered = Object.entries(boxes).sort(([, one], [, other]) => middle(one) - middle(other));
  const [first, last] = [ordered[0]?.[1], ordered.at(-1)?.[1]];
  if (!first || !last) return {};
  const filled = ordered.reduce((sum, [, box]) => sum + box[size], 0);
  const gap = (last[start] + last[size] - first[start] - filled) / Math.max(1, ordered.length - 1);
  let next = first[start];
  const places = ordered.map(([id, box]): [string, Point] => {
    const place: Point = direction === "horizontal" ? [next, box.y] : [box.x, next];
    next += box[size] + gap;
    return [id, place];
  });
  return Object.fromEntries(places);
}

const isOver = (a: Box, b: Box): boolean =>
  a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height;

/** Returns positions for notes that are under cards: side by side, in order, below all cards. */
export function clearOf(cards: Box[], notes: (Box | undefined)[]): Map<number, Point> {
  const places = new Map<number, Point>();
  const staying = notes.filter((note) => note && !cards.some((card) => isOver(card, note)));
  const all = [...cards, ...staying.filter((note) => note !== undefined)];
  let x = Math.min(...all.map((box) => box.x));
  const y = Math.max(...all.map((box) => box.y + box.height)) + NOTE_GAP;
  for (const [index, note] of notes.entries()) {
    if (!note || staying.includes(note)) continue;
    places.set(index, [Math.round(x), Math.round(y)]);
    x += note.width + NOTE_GAP;
  }
  return places;
}
