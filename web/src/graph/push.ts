/** Moves nodes below a node out of its way while it is taller than usual, as when it shows a result. */

import type { Box } from "./arrange";

export interface Card extends Box {
  id: string;
  /** Its height without what it shows for the moment. */
  usual: number;
  /** A dragged node is not moved. */
  isHeld: boolean;
}

const GAP = 12;
/** Where the usual height is only estimated, a neighbour that begins this much higher still counts as below. */
const TOLERANCE = 40;

/** Returns the downward offset of each card that is moved. */
export function pushed(cards: Card[]): Map<string, number> {
  const shifts = new Map<string, number>();
  if (!cards.some((card) => card.height > card.usual)) return shifts;
  const ordered = cards.toSorted((a, b) => a.y - b.y);
  for (const [index, card] of ordered.entries()) {
    const shift = shifts.get(card.id) ?? 0;
    if (card.height <= card.usual && shift === 0) continue;
    const bottom = card.y + shift + card.height;
    for (const other of ordered.slice(index + 1)) {
      const isBelow = other.y >= card.y + Math.min(card.usual, card.height) - TOLERANCE;
      const isBeside = other.x >= card.x + card.width || card.x >= other.x + other.width;
      const wanted = bottom + GAP - other.y;
      if (isBelow && !isBeside && !other.isHeld && wanted > (shifts.get(other.id) ?? 0)) shifts.set(other.id, wanted);
    }
  }
  return shifts;
}
