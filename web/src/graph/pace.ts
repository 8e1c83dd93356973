/** The speed of the running node, and the remaining time of node and run. */

import type { RunView } from "./runView";

export interface Sample {
  /** Seconds. */
  time: number;
  step: number;
}

const WINDOW = 20;

/** The samples of the last seconds with one more; a step back begins anew, as another node or attempt does. */
export function sampled(before: Sample[], time: number, step: number): Sample[] {
  const last = before.at(-1);
  if (last && step < last.step) return [{ time, step }];
  if (last && step === last.step) return before;
  const recent = before.filter((sample) => time - sample.time <= WINDOW);
  return [...(recent.length > 0 ? recent : before.slice(-1)), { time, step }];
}

/** Steps per second over the samples; 0 while that is not known. */
export function paceOf(samples: Sample[], now: number): number {
  const [first, last] = [samples[0], samples.at(-1)];
  if (!first || !last || now - first.time < 1) return 0;
  return (last.step - first.step) / (now - first.time);
}

/** Returns a run's progress as a share of its nodes, the running one counted by its steps. */
export function shareOf(view: RunView): number {
  const nodes = Object.values(view.nodes);
  const done = nodes.map(({ state, step, total }) => {
    if (state === "executed" || state === "cached" || state === "skipped") return 1;
    return state === "running" && total > 0 ? step / total : 0;
  });
  return nodes.length === 0 ? 0 : done.reduce((sum, share) => sum + share, 0) / nodes.length;
}

/** Seconds that are left of the run as far as they can be known, and whether that is all of it. */
export function runLeft(view: RunView, nodeLeft: number, earlier: RunView[]): { seconds: number; isAll: boolean } {
  let [seconds, isAll] = [nodeLeft, true];
  for (const [id, node] of Object.entries(view.nodes)) {
    if (node.state !== "waiting") continue;
    const known = expected(id, view, earlier);
    seconds += known ?? 0;
    if (known === null) isAll = false;
  }
  return { seconds, isAll };
}

/** Returns a node's duration in an earlier run, or that of its sweep's other copies in this one. */
function expected(id: string, view: RunView, earlier: RunView[]): number | null {
  const base = id.replace(/--[^-].*$/, "");
  const sisters = base === id ? [] : Object.entries(view.nodes).filter(([each]) => each.startsWith(`${base}--`));
  const own = earlier.flatMap((run) => run.nodes[id] ?? []);
  const done = [...sisters.map(([, node]) => node), ...own].filter(({ state }) => state === "executed");
  return done.at(-1)?.seconds ?? null;
}
