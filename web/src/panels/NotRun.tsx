import type { Run } from "../api/types";
import { text } from "../text/en";

/** Requested nodes that did not run, grouped by reason. */
export function NotRun({ run }: { run: Run }) {
  const reasons = Map.groupBy(Object.entries(run.not_run), ([, reason]) => reason);
  return [...reasons].map(([reason, nodes]) => (
    <p key={reason} className="not-run">
      {text.notRun(nodes.map(([id]) => id).join(", "), reason)}
    </p>
  ));
}
