import { useStore, ViewportPortal } from "@xyflow/react";
import { memo, useEffect, useRef } from "react";
import { type FlowNode, sizeOf, type WireEdge } from "./flow";

const HEADER = 26;
const LARGEST = 4096;

/** All wires as one picture, for when the nodes are small: a thousand SVG paths would cost more than they show. */
export const FarWires = memo(function FarWires({ edges, nodes }: { edges: WireEdge[]; nodes: FlowNode[] }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const zoom = useStore((state) => 2 ** Math.ceil(Math.log2(state.transform[2])));
  const bounds = boundsOf(nodes);
  const { x, y, width, height } = bounds;
  const scale = Math.min(zoom, LARGEST / Math.max(width, height));
  useEffect(() => {
    const context = canvas.current?.getContext("2d");
    if (!context || !canvas.current) return;
    const style = getComputedStyle(canvas.current);
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.current.width, canvas.current.height);
    context.setTransform(scale, 0, 0, scale, -bounds.x * scale, -bounds.y * scale);
    context.lineWidth = 3;
    const byId = new Map(nodes.map((node) => [node.id, node]));
    for (const edge of edges) {
      const [a, b] = [byId.get(edge.source), byId.get(edge.target)];
      if (!a || !b) continue;
      const [x1, y1, x2, y2] = [a.position.x + sizeOf(a).width, a.position.y + HEADER, b.position.x, b.position.y + HEADER];
      const bend = Math.max(40, Math.abs(x2 - x1) / 2);
      context.strokeStyle = style.getPropertyValue(`--hue-${edge.data?.hue ?? 0}`);
      context.beginPath();
      context.moveTo(x1, y1);
      context.bezierCurveTo(x1 + bend, y1, x2 - bend, y2, x2, y2);
      context.stroke();
    }
  });
  return (
    <ViewportPortal>
      <canvas
        ref={canvas}
        className="far-wires"
        width={Math.ceil(width * scale)}
        height={Math.ceil(height * scale)}
        style={{ transform: `translate(${x}px, ${y}px)`, width, height }}
        aria-hidden
      />
    </ViewportPortal>
  );
});

function boundsOf(nodes: FlowNode[]): { x: number; y: number; width: number; height: number } {
  let [left, top, right, bottom] = [0, 0, 1, 1];
  for (const node of nodes) {
    const { width, height } = sizeOf(node);
    left = Math.min(left, node.position.x);
    top = Math.min(top, node.position.y);
    right = Math.max(right, node.position.x + width);
    bottom = Math.max(bottom, node.position.y + height);
  }
  return { x: left - 100, y: top - 100, width: right - left + 200, height: bottom - top + 200 };
}
