/** Where things stand. */

import type { Point } from "./document";

interface Placed {
  position?: Point | null;
}

/** The top left corner of the rectangle around all that has a place; null when nothing has. */
export function topLeft(things: Placed[]): Point | null {
  const places = things.flatMap(({ position }) => (position ? [position] : []));
  return places.length ? [Math.min(...places.map(([x]) => x)), Math.min(...places.map(([, y]) => y))] : null;
}

/** The same thing moved, if it has a place. */
export function shifted<T extends Placed>(thing: T, [x, y]: Point): T {
  return thing.position ? { ...thing, position: [thing.position[0] + x, thing.position[1] + y] } : thing;
}
