/** Curves that belong together: the copies of a training that is swept, and the same training in another run. */

import { type Document, end, nodesOf } from "./document";
import type { NodeView, RunView } from "./runView";

/** A training of a run; where it is swept, all its copies. */
export interface Training {
  id: string;
  nodes: string[];
}

const COPY = /--(?:((?:(?!--).)+)-)?((?:[xy]\d+)+)$/;

const baseOf = (id: string): string => id.replace(COPY, "");

/** The trainings of a run that have curves, in order. */
export function trainings(view: RunView): Training[] {
  const trained = Object.keys(view.nodes).filter((id) => view.nodes[id]?.metrics.loss);
  const bases = new Set(trained.map(baseOf));
  return [...bases].map((id) => ({ id, nodes: trained.filter((each) => baseOf(each) === id) }));
}

/** Returns the swept fields with a copy's values, `learning_rate 0.001`; the id itself without a sweep. */
export function legend(document: Document | undefined, id: string): string {
  const [, sweeper, places = ""] = COPY.exec(id) ?? [];
  const sweeps = Object.entries(document ? nodesOf(document) : {}).filter(([node, entry]) =>
    sweeper ? node === sweeper : typeof entry.fields?.x_values === "string",
  );
  const fields = sweeps[0]?.[1].fields;
  const words = [...places.matchAll(/([xy])(\d+)/g)].flatMap(([, axis = "", number = ""]) => {
    const values = String(fields?.[`${axis}_values`] ?? "")
      .split("\n")
      .map((line) => line.trim());
    const value = values.filter(Boolean)[Number(number) - 1];
    return value === undefined ? [] : [`${end(String(fields?.[axis] ?? "")).name} ${value}`];
  });
  return words.join(", ") || id;
}

/** Returns the matching training in another run: by id, else by kind, else by its index. */
export function counterpart(own: Training, view: RunView, other: RunView): Training | undefined {
  const [all, theirs] = [trainings(view), trainings(other)];
  const kind = (training: Training, run: RunView) => run.nodes[training.nodes[0] ?? ""]?.type;
  const like = (each: Training, run: RunView) => kind(each, run) && kind(each, run) === kind(own, view);
  const at = (list: Training[]) => list.findIndex(({ id }) => id === own.id);
  const alike = theirs.filter((each) => like(each, other));
  const place = at(all.filter((each) => like(each, view)));
  return theirs[at(theirs)] ?? alike[Math.max(0, Math.min(place, alike.length - 1))] ?? theirs[at(all)] ?? theirs[0];
}

/** Returns the placeholder of the list of runs to compare with. */
export const invitation = (offered: number | undefined, free: number): "noComparable" | "allCompared" | "chooseRun" =>
  offered === 0 ? "noComparable" : offered !== undefined && free === 0 ? "allCompared" : "chooseRun";

/** The nodes of a training that have this curve. */
export function measured(training: Training, view: RunView, metric: string): [string, NodeView["metrics"][string]][] {
  return training.nodes.flatMap((id) => {
    const series = view.nodes[id]?.metrics[metric];
    return series ? [[id, series] as [string, typeof series]] : [];
  });
}
