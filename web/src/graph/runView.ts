/** The state of a run after its events so far, the same from a live stream and from a replay. */

import type { AnyEvent, Problem, PublishedArtifact } from "../api/types";

import { said } from "./sentences";

export type NodeRunState = "waiting" | "running" | "executed" | "cached" | "failed" | "skipped";

export interface Preview {
  step: number;
  path: string;
}

export interface LogLine {
  node: string;
  level: "info" | "warning" | "error";
  text: string;
}

export interface NodeView {
  /** Its class, once it has begun; empty for one whose result was at hand. */
  type: string;
  state: NodeRunState;
  step: number;
  total: number;
  seconds: number;
  /** Metric name to steps and values, by rising step. */
  metrics: Record<string, Series>;
  previews: Preview[];
  problem: Problem | null;
}

export interface Series {
  steps: number[];
  values: number[];
}

export interface RunView {
  seq: number;
  status: "none" | "running" | "succeeded" | "failed" | "interrupted";
  folder: string;
  nodes: Record<string, NodeView>;
  log: LogLine[];
  artifacts: PublishedArtifact[];
}

export const EMPTY_RUN: RunView = { seq: -1, status: "none", folder: "", nodes: {}, log: [], artifacts: [] };
const FRESH: NodeView = { type: "", state: "waiting", step: 0, total: 0, seconds: 0, metrics: {}, previews: [], problem: null };

/** Apply events in order; one that was applied before changes nothing. */
export function applyEvents(view: RunView, events: AnyEvent[]): RunView {
  let next = view;
  const own = new Set<Series>();
  for (const event of events) if (event.seq > next.seq) next = { ...applied(next, event, own), seq: event.seq };
  return next;
}

/** Returns the view after one more event; the series in `own` are not shared yet, and are extended in place. */
function applied(view: RunView, event: AnyEvent, own: Set<Series>): RunView {
  switch (event.type) {
    case "run_started": {
      const nodes = Object.fromEntries(event.nodes.map((id) => [id, begun(view.nodes[id])]));
      return { ...view, status: "running", folder: event.run, nodes };
    }
    case "node_started":
      return withNode(view, event.node, { state: "running", type: event.node_type });
    case "node_progress":
      return withNode(view, event.node, { step: event.step, total: event.total });
    case "node_metric": {
      const metrics = { ...view.nodes[event.node]?.metrics };
      for (const [name, value] of Object.entries(event.values)) metrics[name] = extended(metrics[name], event.step, value, own);
      return withNode(view, event.node, { metrics });
    }
    case "node_preview": {
      const before = (view.nodes[event.node]?.previews ?? []).filter((preview) => preview.step < event.step);
      return withNode(view, event.node, { previews: [...before, { step: event.step, path: event.path }] });
    }
    case "node_message":
      return { ...view, log: [...view.log, { node: event.node, level: event.level, text: event.text }] };
    case "node_finished":
      return withNode(view, event.node, { state: event.state, seconds: event.seconds });
    case "node_failed": {
      const { node, field, message, remedy } = event;
      const failed = withNode(view, node, { state: "failed", problem: { node, field, message, remedy } });
      return { ...failed, log: [...view.log, { node, level: "error", text: said(event) }] };
    }
    case "run_finished":
      return finished(view, event);
  }
}

/** A node at the start of an attempt: an earlier attempt's curve and pictures stay. */
function begun(before: NodeView | undefined): NodeView {
  return before ? { ...FRESH, metrics: before.metrics, previews: before.previews } : FRESH;
}

/** Returns several nodes' state as one, for a Subgraph node. */
export function gathered(views: NodeView[]): NodeView | undefined {
  if (views.length === 0) return undefined;
  const first = (state: NodeRunState) => views.find((view) => view.state === state);
  const shown = first("failed") ?? first("running") ?? first("waiting") ?? first("skipped") ?? first("executed") ?? views[0];
  const trained = views.find((view) => view.metrics.loss) ?? shown;
  const previews = views.flatMap((view) => view.previews);
  const seconds = views.reduce((sum, view) => sum + view.seconds, 0);
  return shown && { ...shown, seconds, metrics: trained?.metrics ?? {}, previews };
}

function withNode(view: RunView, id: string, change: Partial<NodeView>): RunView {
  return { ...view, nodes: { ...view.nodes, [id]: { ...(view.nodes[id] ?? FRESH), ...change } } };
}

function finished(view: RunView, event: Extract<AnyEvent, { type: "run_finished" }>): RunView {
  const nodes = { ...view.nodes };
  for (const [id, outcome] of Object.entries(event.nodes)) {
    nodes[id] = { ...(nodes[id] ?? FRESH), state: outcome.state, seconds: outcome.seconds };
  }
  return { ...view, status: event.status, nodes, artifacts: event.artifacts };
}

/** Add a point; a step that comes again, after a resumed checkpoint, replaces the points from there on. */
function extended(before: Series | undefined, step: number, value: number, own: Set<Series>): Series {
  const { steps, values } = before ?? { steps: [], values: [] };
  const series = before && own.has(before) ? before : { steps: steps.slice(), values: values.slice() };
  own.add(series);
  while ((series.steps.at(-1) ?? Number.NEGATIVE_INFINITY) >= step) {
    series.steps.pop();
    series.values.pop();
  }
  series.steps.push(step);
  series.values.push(value);
  return series;
}
