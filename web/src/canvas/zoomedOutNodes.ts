/** Nodes at a small zoom: a band in the color of the category, the title, and a band for the state. */

import type { Problem } from "../api/types";
import type { NodeView } from "../graph/runView";
import { categoryHue } from "../graph/socketStyle";
import { SUBGRAPH } from "../graph/subgraph";
import { concerns, runId, type Tab } from "../state/editor";
import { viewInside } from "../state/runs";
import { type CardNode, type FlowNode, sizeOf } from "./flow";

export type Colors = Record<string, string>;

export interface Scene {
  views: Record<string, NodeView>;
  tab: Tab | undefined;
  seen: { left: number; top: number; right: number; bottom: number };
  zoom: number;
}

const READABLE_ZOOM = 0.12;
const FONT_SIZE = 30;
const [CATEGORY_BAND, STATE_BAND] = [28, 16];
const FADED = 0.45;
const STATE_COLORS: Record<string, string> = {
  executed: "good",
  cached: "good",
  failed: "bad",
  running: "accent",
  waiting: "line-strong",
};

export function drawNodes(context: CanvasRenderingContext2D, nodes: FlowNode[], scene: Scene, colors: Colors): void {
  context.font = `600 ${FONT_SIZE}px "Inter Variable", sans-serif`;
  context.textAlign = "center";
  context.textBaseline = "middle";
  for (const node of nodes) if (node.type === "card" && isSeen(node, scene)) drawNode(context, node, scene, colors);
  context.globalAlpha = 1;
}

function isSeen(node: CardNode, { seen }: Scene): boolean {
  const { width, height } = sizeOf(node);
  const { x, y } = node.position;
  return x <= seen.right && y <= seen.bottom && x + width >= seen.left && y + height >= seen.top;
}

function drawNode(context: CanvasRenderingContext2D, node: CardNode, scene: Scene, colors: Colors): void {
  const { width, height } = sizeOf(node);
  const { x, y } = node.position;
  const { entry, description } = node.data;
  const { state, isFaulty, isFaded } = condition(node, scene);
  const fill = (color: string, top: number, high: number) => {
    context.fillStyle = color;
    context.fillRect(x, top, width, high);
  };
  context.globalAlpha = isFaded ? FADED : 1;
  fill((state === "running" ? colors.accent : colors.card) ?? "", y, height);
  fill(entry.color || (colors[`hue-${categoryHue(description?.category ?? "")}`] ?? ""), y, CATEGORY_BAND);
  const band = colors[STATE_COLORS[state] ?? ""];
  if (band) fill(band, y + height - STATE_BAND, STATE_BAND);
  context.lineWidth = (node.selected || isFaulty ? 2.5 : 1) / scene.zoom;
  context.strokeStyle = (node.selected ? colors.accent : isFaulty ? colors.bad : colors.line) ?? "";
  context.strokeRect(x, y, width, height);
  if (scene.zoom < READABLE_ZOOM) return;
  context.fillStyle = (state === "running" ? colors["on-accent"] : colors.text) ?? "";
  context.fillText(entry.title || description?.title || entry.type, x + width / 2, y + height / 2, width - 16);
}

/** A node's visible state: its state in the run, whether it has problems, and whether it does not run. */
function condition(node: CardNode, { views, tab }: Scene): { state: string; isFaulty: boolean; isFaded: boolean } {
  const { entry } = node.data;
  const known = runId(tab, node.id);
  const isSubgraph = entry.type === SUBGRAPH;
  const state = (isSubgraph ? viewInside(views, known) : views[known])?.state ?? "";
  const isNamed = (each: Problem) => (isSubgraph ? concerns(each.node, known) : each.node === known);
  const isFaulty = state === "failed" || (tab?.problems ?? []).some(isNamed);
  const isDropped = (tab?.warnings ?? []).some((each) => each.node === known && !each.field);
  return { state, isFaulty, isFaded: isDropped || (entry.mode ?? "active") !== "active" };
}
