import { useEffect, useRef, useState } from "react";
import { ago, duration } from "../components/times";
import { paceOf, runLeft, type Sample, sampled, shareOf } from "../graph/pace";
import { cancel, retry } from "../state/actions";
import { goTo } from "../state/graphActions";
import { isOpen, useRuns, useShownRun, useShownView } from "../state/runs";
import { text } from "../text/en";

/** The start, progress, speed and remaining time of a run. */
export function RunProgress() {
  const run = useShownRun();
  const view = useShownView();
  const now = useNow(isOpen(run));
  const [id, node] = Object.entries(view.nodes).find(([, each]) => each.state === "running") ?? [];
  const pace = usePace(node?.step ?? 0, id ?? "", now);
  const views = useRuns((state) => state.views);
  if (!run) return null;
  const left = node && pace > 0 && node.total > node.step ? (node.total - node.step) / pace : 0;
  const earlier = Object.keys(views).flatMap((each) => (each !== run.id && views[each] ? [views[each]] : []));
  const whole = runLeft(view, left, earlier);
  return (
    <>
      <dl className="facts">
        <dt>{text.startedAt}</dt>
        <dd>{ago(run.created)}</dd>
        {run.started && (
          <>
            <dt>{text.took}</dt>
            <dd>{duration((run.finished ?? now) - run.started)}</dd>
          </>
        )}
        {id && node && (
          <>
            <dt>{text.now}</dt>
            <dd>
              <button type="button" className="plain" onClick={() => goTo(id)}>
                {id}
              </button>{" "}
              {node.total > 0 && text.stepsOf(node.step, node.total)}
              {pace > 0 && ` · ${text.pace(pace)}`}
              {left > 1 && ` · ${text.left(duration(left))}`}
            </dd>
            <dt>{text.wholeRun}</dt>
            <dd>
              <progress aria-label={text.wholeRun} value={shareOf(view)} />
              {whole.seconds > 1 && ` ${text.leftOfRun(duration(whole.seconds), whole.isAll)}`}
            </dd>
          </>
        )}
      </dl>
      <div className="buttons">
        {isOpen(run) ? (
          <button type="button" onClick={() => void cancel(run.id)}>
            {text.cancel}
          </button>
        ) : (
          <button type="button" onClick={() => void retry(run.id)}>
            {text.retry}
          </button>
        )}
      </div>
    </>
  );
}

function useNow(isTicking: boolean): number {
  const [now, setNow] = useState(() => Date.now() / 1000);
  useEffect(() => {
    if (!isTicking) return;
    const timer = setInterval(() => setNow(Date.now() / 1000), 1000);
    return () => clearInterval(timer);
  }, [isTicking]);
  return now;
}

/** Returns the steps per second over the last seconds. */
function usePace(step: number, node: string, now: number): number {
  const known = useRef<{ node: string; samples: Sample[] }>({ node: "", samples: [] });
  if (known.current.node !== node) known.current = { node, samples: [] };
  if (step > 0) known.current.samples = sampled(known.current.samples, now, step);
  return paceOf(known.current.samples, now);
}
