import { BaseEdge, EdgeLabelRenderer, type EdgeProps, getBezierPath, useReactFlow } from "@xyflow/react";
import { memo } from "react";
import type { Wire as DocumentWire, Point } from "../graph/document";
import { changeWire } from "../graph/document";
import { edit, select } from "../state/editor";
import { wireId } from "../state/graphActions";
import { text } from "../text/en";
import type { WireEdge } from "./flow";

/** A wire in the color of what it carries, led through its bends. */
export const Wire = memo(function Wire(props: EdgeProps<WireEdge>) {
  const { id, data, selected, sourceX, sourceY, targetX, targetY } = props;
  const via = (data?.wire.via ?? []) as Point[];
  const [straight, middleX, middleY] = getBezierPath({ ...props, curvature: 0.3 });
  const path = via.length > 0 ? through([[sourceX, sourceY], ...via, [targetX, targetY]]) : straight;
  const last = via.at(-1) ?? [sourceX, sourceY];
  const [orderX, orderY] = via.length > 0 ? [(last[0] + targetX) / 2, (last[1] + targetY) / 2] : [middleX, middleY];
  const style = { "--hue": `var(--hue-${data?.hue ?? 0})` } as React.CSSProperties;
  return (
    <>
      <BaseEdge id={id} path={path} className={`wire${selected ? " selected" : ""}`} style={style} interactionWidth={16} />
      {data?.order && (
        <EdgeLabelRenderer>
          <span
            className="wire-order"
            style={{ ...style, transform: `translate(-50%, -50%) translate(${orderX}px, ${orderY}px)` }}
          >
            {data.order}
          </span>
        </EdgeLabelRenderer>
      )}
      {via.length > 0 && data && (
        <EdgeLabelRenderer>
          {via.map((point, index) => (
            <Bend key={index} wire={data.wire} index={index} point={point} style={style} />
          ))}
        </EdgeLabelRenderer>
      )}
    </>
  );
});

/** A smooth line through points: level at each, as wires leave and enter nodes. */
function through(points: Point[]): string {
  return points.slice(1).reduce((path, [x, y], index) => {
    const [px, py] = points[index] as Point;
    const bend = Math.max(24, Math.abs(x - px) / 2.5);
    return `${path} C ${px + bend} ${py}, ${x - bend} ${y}, ${x} ${y}`;
  }, `M ${points[0]?.[0]} ${points[0]?.[1]}`);
}

/** A bend: drag it, or move it with the arrow keys; Delete straightens the wire there. */
function Bend({ wire, index, point, style }: { wire: DocumentWire; index: number; point: Point; style: React.CSSProperties }) {
  const { screenToFlowPosition } = useReactFlow();
  const change = (via: Point[], key: string) => edit((document) => changeWire(document, wire.from, wire.to, { via }), key);
  const via = (wire.via ?? []) as Point[];
  const moveTo = (to: Point) =>
    change(
      via.map((each, at) => (at === index ? to : each)),
      `bend:${wireId(wire)}:${index}`,
    );
  const remove = () =>
    change(
      via.filter((_, at) => at !== index),
      "",
    );
  return (
    <button
      type="button"
      className="bend nodrag nopan"
      aria-label={text.bend}
      style={{ ...style, transform: `translate(-50%, -50%) translate(${point[0]}px, ${point[1]}px)` }}
      onPointerDown={(event) => {
        event.currentTarget.setPointerCapture(event.pointerId);
        select([], [wireId(wire)]);
      }}
      onPointerMove={(event) => {
        if (!event.currentTarget.hasPointerCapture(event.pointerId)) return;
        const at = screenToFlowPosition({ x: event.clientX, y: event.clientY });
        moveTo([Math.round(at.x), Math.round(at.y)]);
      }}
      onDoubleClick={remove}
      onKeyDown={(event) => {
        const step = { ArrowLeft: [-8, 0], ArrowRight: [8, 0], ArrowUp: [0, -8], ArrowDown: [0, 8] }[event.key];
        if (step) moveTo([point[0] + (step[0] ?? 0), point[1] + (step[1] ?? 0)]);
        else if (event.key === "Delete" || event.key === "Backspace") remove();
        else return;
        event.preventDefault();
        event.stopPropagation();
      }}
    />
  );
}
