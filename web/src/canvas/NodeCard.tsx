import { type NodeProps, NodeResizeControl, useUpdateNodeInternals } from "@xyflow/react";
import { memo, useEffect, useRef } from "react";
import type { Problem } from "../api/types";
import { Socket } from "../components/Socket";
import { FieldRow } from "../fields/FieldRow";
import type { NodeView } from "../graph/runView";
import { said } from "../graph/sentences";
import { estimatedHeight, foldedFields, mainFields } from "../graph/size";
import { concerns, currentTab, runId, useEditor } from "../state/editor";
import { useNodeView } from "../state/runs";
import { text } from "../text/en";
import { CardHeader } from "./CardHeader";
import { CardResult } from "./CardResult";
import { Folds } from "./Folds";
import type { CardNode } from "./flow";
import { useZoomedOut } from "./zoomedOutContext";

/** A node on the canvas: header, sockets, fields, progress, result. */
export const NodeCard = memo(function NodeCard({ id, data, selected, height }: NodeProps<CardNode>) {
  const { entry, description } = data;
  const isZoomedOut = useZoomedOut();
  const known = useEditor((state) => runId(currentTab(state), id));
  const view = useNodeView(known);
  const planned = useEditor((state) => plannedState(currentTab(state)?.plan, known));
  const hasProblems = useEditor((state) => (currentTab(state)?.problems ?? []).some((problem) => concerns(problem.node, known)));
  const reason = useEditor((state) => reasonNotToRun(currentTab(state)?.warnings, known));
  const state = reason && view?.state !== "failed" ? "skipped" : shownState(view, planned);
  const update = useUpdateNodeInternals();
  const measured = useRef({ description, isZoomedOut });
  useEffect(() => {
    const before = measured.current;
    // other sockets, or sockets again, perhaps in a card of the same size
    if (before.description !== description || (before.isZoomedOut && !isZoomedOut)) update(id);
    measured.current = { description, isZoomedOut };
  }, [id, update, description, isZoomedOut]);
  const classes = [
    "card",
    `state-${state}`,
    entry.mode ?? "active",
    reason && "dropped",
    selected && "selected",
    hasProblems && "has-problems",
  ];
  const title = entry.title || description?.title || entry.type;

  if (isZoomedOut) {
    return (
      <div
        className="far-card"
        style={{ height: height ?? estimatedHeight(description, entry) }}
        role="img"
        aria-label={title}
        data-testid={`node-${id}`}
      />
    );
  }
  return (
    <article
      className={classes.filter(Boolean).join(" ")}
      data-testid={`node-${id}`}
      style={entry.color ? ({ "--card-tint": entry.color } as React.CSSProperties) : undefined}
    >
      <CardHeader
        id={id}
        known={known}
        entry={entry}
        description={description}
        state={state}
        seconds={view?.seconds ?? 0}
        reason={reason}
      />
      <ProgressLine view={view} />
      {description ? (
        <div className="sockets">
          <ul>
            {description.inputs.map((socket) => (
              <Socket
                key={socket.name}
                node={id}
                socket={socket}
                side="in"
                choice={description.one_of.find((group) => group.includes(socket.name))}
              />
            ))}
          </ul>
          <ul>
            {description.outputs.map((socket) => (
              <Socket key={socket.name} node={id} socket={socket} side="out" />
            ))}
          </ul>
        </div>
      ) : (
        <p className="strip error">{text.unknownType(entry.type)}</p>
      )}
      {description && !entry.collapsed && (
        <>
          <div className="fields nodrag">
            {mainFields(description, entry).map((field) => (
              <FieldRow key={field.name} node={id} field={field} description={description} place="card" />
            ))}
          </div>
          <Folds node={id} description={description} folded={foldedFields(description, entry)} />
        </>
      )}
      {!entry.collapsed && <CardResult id={known} view={view} />}
      {view?.problem && state === "failed" && (
        <p className="strip error" role="alert">
          {said(view.problem)}
        </p>
      )}
      {selected && <NodeResizeControl className="resize" minWidth={240} maxWidth={720} resizeDirection="horizontal" />}
    </article>
  );
});

/** Returns why an active node does not run; empty when it does. A subgraph runs if any node in it does. */
function reasonNotToRun(warnings: Problem[] | undefined, id: string): string {
  return warnings?.find((each) => each.node === id && !each.field)?.message ?? "";
}

/** Returns the state on a card: that in a current run, else that in the next run. */
function shownState(view: NodeView | undefined, planned: Planned | undefined): string {
  if (view && (view.state === "running" || view.state === "failed")) return view.state;
  if (planned === "cached") return "cached";
  if (view && planned === undefined) return view.state;
  return planned === "skipped" ? "idle" : view?.state === "waiting" ? "waiting" : "idle";
}

type Planned = "run" | "cached" | "skipped";

/** Returns a node's state in the next run; a subgraph is cached when all nodes inside are, a swept node when all copies are. */
function plannedState(plan: Record<string, Planned> | undefined, id: string): Planned | undefined {
  if (plan?.[id]) return plan[id];
  const inside = Object.entries(plan ?? {}).filter(([each]) => each.startsWith(`${id}--`));
  return (["run", "cached", "skipped"] as const).find((state) => inside.some(([, each]) => each === state));
}

function ProgressLine({ view }: { view: NodeView | undefined }) {
  const isRunning = view?.state === "running";
  const share = view && view.total > 0 ? view.step / view.total : 0;
  return (
    <div
      className={`progress${isRunning && view.total === 0 ? " endless" : ""}`}
      style={{ "--share": isRunning ? share : 0 } as React.CSSProperties}
      role="progressbar"
      aria-hidden={!isRunning}
      aria-label={text.progress}
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuenow={Math.round(share * 100)}
    />
  );
}
