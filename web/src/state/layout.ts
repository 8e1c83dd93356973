/** Automatic layout; ELK is large, so this module is loaded when it is first wanted. */

import ELK from "elkjs/lib/elk.bundled.js";
import type { Box } from "../graph/arrange";
import { type Document, end, type Point, wiresOf } from "../graph/document";

const OPTIONS = {
  "elk.algorithm": "layered",
  "elk.direction": "RIGHT",
  "elk.layered.spacing.nodeNodeBetweenLayers": "72",
  "elk.spacing.nodeNode": "32",
  "elk.layered.nodePlacement.strategy": "NETWORK_SIMPLEX",
};

/** Positions for the boxes, from left to right, their common top left corner where it was. */
export async function layered(document: Document, boxes: Record<string, Box>): Promise<Record<string, Point>> {
  const entries = Object.entries(boxes);
  const edges = wiresOf(document)
    .map((wire, index) => ({ id: String(index), sources: [end(wire.from).node], targets: [end(wire.to).node] }))
    .filter((edge) => (edge.sources[0] ?? "") in boxes && (edge.targets[0] ?? "") in boxes);
  const children = entries.map(([id, box]) => ({ id, width: box.width, height: box.height }));
  const result = await new ELK().layout({ id: "root", layoutOptions: OPTIONS, children, edges });
  const [left, top] = [Math.min(...entries.map(([, box]) => box.x)), Math.min(...entries.map(([, box]) => box.y))];
  const placed = result.children ?? [];
  const [x0, y0] = [Math.min(...placed.map((child) => child.x ?? 0)), Math.min(...placed.map((child) => child.y ?? 0))];
  return Object.fromEntries(
    placed.map((child) => [child.id, [Math.round((child.x ?? 0) - x0 + left), Math.round((child.y ?? 0) - y0 + top)] as Point]),
  );
}
