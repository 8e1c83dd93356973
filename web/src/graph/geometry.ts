/** Positions of nodes, groups and notes. */

import type { Point } from "./document";

interface Placed {
  position?: Point | null;
}

/** Returns the top left corner of the bounding rectangle of all items with a position; null without any. */
export function topLeft(things: Placed[]): Point | null {
  const places = things.flatMap(({ position }) => (position ? [position] : []));
  return places.length ? [Math.min(...places.map(([x]) => x)), Math.min(...places.map(([, y]) => y))] : null;
}

/** Returns an item moved, if it has a position. */
export function shifted<T extends Placed>(thing: T, [x, y]: Point): T {
  return thing.position ? { ...thing, position: [thing.position[0] + x, thing.position[1] + y] } : thing;
}
