/** Runs from the server, and the state of each after its events so far. */

import { useMemo } from "react";
import { create } from "zustand";
import { RUNS_AT_ONCE } from "../api/client";
import type { AnyEvent, DeviceStatus, Run } from "../api/types";
import { applyEvents, EMPTY_RUN, gathered, type NodeView, type RunView } from "../graph/runView";
import { currentTab, useEditor } from "./editor";

interface RunsState {
  runs: Record<string, Run>;
  views: Record<string, RunView>;
  device: DeviceStatus | null;
  connected: boolean;
}

export const useRuns = create<RunsState>(() => ({ runs: {}, views: {}, device: null, connected: false }));

const set = useRuns.setState;

export function keepRuns(runs: Run[]): void {
  set((state) => ({ runs: { ...state.runs, ...Object.fromEntries(runs.map((run) => [run.id, run])) } }));
}

/** The newest runs as they are now: one that is no longer among them is gone, unless it ended before all of them. */
export function refreshRuns(newest: Run[]): void {
  const ends = newest.flatMap((run) => run.finished ?? []);
  const oldest = ends.length < RUNS_AT_ONCE ? Number.NEGATIVE_INFINITY : Math.min(...ends);
  set((state) => {
    const older = Object.values(state.runs).filter((run) => run.finished && run.finished < oldest);
    return { runs: Object.fromEntries([...older, ...newest].map((run) => [run.id, run])) };
  });
}

export function dropRun(id: string): void {
  set((state) => {
    const { [id]: _, ...runs } = state.runs;
    return { runs };
  });
}

export function keepEvents(run: string, events: AnyEvent[]): void {
  set((state) => ({ views: { ...state.views, [run]: applyEvents(state.views[run] ?? EMPTY_RUN, events) } }));
}

export const isOpen = (run: Run | undefined): boolean => run?.state === "queued" || run?.state === "running";

/** The running, then the queue in order, then the history, newest first. */
export function inOrder(runs: Record<string, Run>): Run[] {
  const rank = (run: Run) => (run.state === "running" ? 0 : run.state === "queued" ? 1 : 2);
  return Object.values(runs).sort(
    (a, b) => rank(a) - rank(b) || (a.state === "queued" ? (a.position ?? 0) - (b.position ?? 0) : b.created - a.created),
  );
}

/** The run that the current tab shows. */
export function useShownRun(): Run | undefined {
  const id = useEditor((state) => currentTab(state)?.run ?? "");
  return useRuns((state) => state.runs[id]);
}

export function useShownView(): RunView {
  const id = useEditor((state) => currentTab(state)?.run ?? "");
  return useRuns((state) => state.views[id] ?? EMPTY_RUN);
}

/** Returns a node's state in the current tab's run; that of a subgraph's nodes, or of a swept node's copies, is combined. */
export function useNodeView(id: string): NodeView | undefined {
  const run = useEditor((state) => currentTab(state)?.run ?? "");
  const own = useRuns((state) => state.views[run]?.nodes[id]);
  const nodes = useRuns((state) => (own ? undefined : state.views[run]?.nodes));
  return useMemo(() => own ?? viewInside(nodes ?? {}, id), [nodes, own, id]);
}

/** All nodes of a subgraph, or all copies of a node, together. */
export function viewInside(nodes: Record<string, NodeView>, id: string): NodeView | undefined {
  return gathered(Object.keys(nodes).flatMap((each) => (each.startsWith(`${id}--`) ? (nodes[each] ?? []) : [])));
}
