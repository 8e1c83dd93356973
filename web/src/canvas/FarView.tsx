import { useStore } from "@xyflow/react";
import { memo, useEffect, useRef } from "react";
import type { NodeView } from "../graph/runView";
import { SUBGRAPH } from "../graph/subgraph";
import { concerns, currentTab, runId, type Tab, useEditor } from "../state/editor";
import { useShownView, viewInside } from "../state/runs";
import { useUi } from "../state/ui";
import { type FlowNode, sizeOf, type WireEdge } from "./flow";

const SOCKET_Y = 26;
const READABLE_ZOOM = 0.12;
const FONT_SIZE = 30;

interface Props {
  edges: WireEdge[];
  nodes: FlowNode[];
}

/** Everything as one picture, for when nodes are too small to be read: a thousand painted elements would cost more than they show. */
export const FarView = memo(function FarView({ edges, nodes }: Props) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const [x, y, zoom] = useStore((state) => state.transform);
  const [width, height] = [useStore((state) => state.width), useStore((state) => state.height)];
  const views = useShownView().nodes;
  const tab = useEditor(currentTab);
  const problems = tab?.problems;
  const theme = useUi((state) => state.theme);
  const colors = useRef<Colors | null>(null);
  // biome-ignore lint/correctness/useExhaustiveDependencies: colors are read again when the theme changes
  useEffect(() => {
    colors.current = null;
  }, [theme]);
  useEffect(() => {
    const context = canvas.current?.getContext("2d");
    if (!context || !canvas.current) return;
    colors.current ??= readColors(canvas.current);
    const ratio = devicePixelRatio;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.current.width, canvas.current.height);
    context.setTransform(ratio * zoom, 0, 0, ratio * zoom, ratio * x, ratio * y);
    const seen = { left: -x / zoom, top: -y / zoom, right: (width - x) / zoom, bottom: (height - y) / zoom };
    drawWires(context, edges, nodes, colors.current, zoom);
    const faulty = new Set(problems?.map((problem) => problem.node));
    drawNodes(context, nodes, { views, faulty, tab, seen, zoom }, colors.current);
  });
  const ratio = devicePixelRatio;
  return (
    <canvas
      ref={canvas}
      className="far-view"
      width={width * ratio}
      height={height * ratio}
      style={{ width, height }}
      aria-hidden
    />
  );
});

type Colors = Record<string, string>;

function readColors(element: Element): Colors {
  const style = getComputedStyle(element);
  const names = [
    "card",
    "line",
    "text",
    "accent",
    "on-accent",
    "bad",
    "good",
    "line-strong",
    ...Array.from({ length: 8 }, (_, hue) => `hue-${hue}`),
  ];
  return Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
}

function drawWires(context: CanvasRenderingContext2D, edges: WireEdge[], nodes: FlowNode[], colors: Colors, zoom: number): void {
  const byId = new Map(nodes.map((node) => [node.id, node]));
  context.lineWidth = Math.max(2, 1 / zoom);
  for (const [hue, group] of Map.groupBy(edges, (edge) => edge.data?.hue ?? 0)) {
    context.strokeStyle = colors[`hue-${hue}`] ?? "";
    context.beginPath();
    for (const edge of group) {
      const [a, b] = [byId.get(edge.source), byId.get(edge.target)];
      if (a && b) curve(context, a.position.x + sizeOf(a).width, a.position.y + SOCKET_Y, b.position.x, b.position.y + SOCKET_Y);
    }
    context.stroke();
  }
}

function curve(context: CanvasRenderingContext2D, x1: number, y1: number, x2: number, y2: number): void {
  const bend = Math.max(40, Math.abs(x2 - x1) / 2);
  context.moveTo(x1, y1);
  context.bezierCurveTo(x1 + bend, y1, x2 - bend, y2, x2, y2);
}

interface Scene {
  views: Record<string, NodeView>;
  faulty: Set<string>;
  tab: Tab | undefined;
  seen: { left: number; top: number; right: number; bottom: number };
  zoom: number;
}

function drawNodes(
  context: CanvasRenderingContext2D,
  nodes: FlowNode[],
  { views, faulty, tab, seen, zoom }: Scene,
  colors: Colors,
): void {
  context.font = `600 ${FONT_SIZE}px "Inter Variable", sans-serif`;
  context.textAlign = "center";
  context.textBaseline = "middle";
  for (const node of nodes) {
    if (node.type !== "card") continue;
    const { width, height } = sizeOf(node);
    const { x, y } = node.position;
    if (x > seen.right || y > seen.bottom || x + width < seen.left || y + height < seen.top) continue;
    const known = runId(tab, node.id);
    const isSubgraph = node.data.entry.type === SUBGRAPH;
    const state = (isSubgraph ? viewInside(views, known) : views[known])?.state;
    const isBlamed = isSubgraph ? [...faulty].some((each) => concerns(each, known)) : faulty.has(known);
    const isFaulty = state === "failed" || isBlamed;
    context.fillStyle = (state === "running" ? colors.accent : colors.card) ?? "";
    context.fillRect(x, y, width, height);
    context.lineWidth = (node.selected || isFaulty ? 2.5 : 1) / zoom;
    context.strokeStyle = (node.selected ? colors.accent : isFaulty ? colors.bad : colors.line) ?? "";
    context.strokeRect(x, y, width, height);
    if (state === "executed" || state === "cached") {
      context.fillStyle = colors.good ?? "";
      context.fillRect(x, y + height - 10, width, 10);
    }
    if (zoom < READABLE_ZOOM) continue;
    context.fillStyle = (state === "running" ? colors["on-accent"] : colors.text) ?? "";
    const { entry, description } = node.data;
    context.fillText(entry.title || description?.title || entry.type, x + width / 2, y + height / 2, width - 16);
  }
}
