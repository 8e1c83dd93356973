import { useStore } from "@xyflow/react";
import { memo, useEffect, useRef } from "react";
import { currentTab, useEditor } from "../state/editor";
import { useShownView } from "../state/runs";
import { useUi } from "../state/ui";
import { type FlowNode, sizeOf, type WireEdge } from "./flow";
import { type Colors, drawNodes } from "./zoomedOutNodes";

const SOCKET_Y = 26;

interface Props {
  edges: WireEdge[];
  nodes: FlowNode[];
}

/** Everything as one picture, for when nodes are too small to be read: a thousand painted elements would cost more than they show. */
export const ZoomedOut = memo(function ZoomedOut({ edges, nodes }: Props) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const [x, y, zoom] = useStore((state) => state.transform);
  const [width, height] = [useStore((state) => state.width), useStore((state) => state.height)];
  const views = useShownView().nodes;
  const tab = useEditor(currentTab);
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
    drawNodes(context, nodes, { views, tab, seen, zoom }, colors.current);
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
