/** Positions on the screen for commands, set by the canvas. */

import type { Box } from "../graph/arrange";
import type { Point, Wire } from "../graph/document";

export interface View {
  center: () => Point;
  /** Returns the graph's position at a point of the screen. */
  at: (point: { x: number; y: number }) => Point;
  boxes: (ids: string[]) => Record<string, Box>;
  fit: () => void;
  zoom: (factor: number) => void;
  show: (id: string) => void;
  /** Bring a node into view if it is not, as soon as the canvas has it, and give it the focus. */
  reveal: (id: string) => void;
  middleOf: (wire: Wire) => Point;
}

const nowhere: View = {
  center: () => [0, 0],
  at: () => [0, 0],
  boxes: () => ({}),
  fit: () => undefined,
  zoom: () => undefined,
  show: () => undefined,
  reveal: () => undefined,
  middleOf: () => [0, 0],
};

export let view: View = nowhere;

export function setView(next: View): void {
  view = next;
}
