import { useEffect, useState } from "react";
import { Previews } from "../canvas/CardResult";
import { trainings } from "../graph/comparing";
import { said } from "../graph/sentences";
import { cancel, retry } from "../state/actions";
import { goTo } from "../state/graphActions";
import { isOpen, useShownRun, useShownView } from "../state/runs";
import { text } from "../text/en";
import { Curves } from "./Curves";
import { Log } from "./Log";
import { NotRun } from "./NotRun";
import { RunFiles } from "./RunFiles";
import { ago, duration } from "./times";

/** The run of this tab: how far it is, its curves, pictures, files and log. */
export function RunPanel() {
  const run = useShownRun();
  const view = useShownView();
  if (!run) return <p className="hint">{text.noRun}</p>;
  return (
    <div className="run-panel">
      <h2>
        {run.workflow} <span className={`state-word ${run.state}`}>{text.runStates[run.state]}</span>
      </h2>
      <Facts />
      {run.problems.map((problem, index) => (
        <p key={index} className="strip error" role="alert">
          {problem.node && <strong>{problem.node}: </strong>}
          {said(problem)}
        </p>
      ))}
      <NotRun run={run} />
      {trainings(view).map((training) => (
        <Curves key={`${run.id} ${training.id}`} run={run.id} training={training} view={view} />
      ))}
      {Object.entries(view.nodes).map(([id, node]) => node.previews.length > 0 && <Previews key={id} run={run.id} view={node} />)}
      <RunFiles run={run.id} view={view} />
      {view.log.length > 0 && <Log lines={view.log} />}
    </div>
  );
}

function Facts() {
  const run = useShownRun();
  const view = useShownView();
  const now = useNow(isOpen(run));
  const [id, node] = Object.entries(view.nodes).find(([, each]) => each.state === "running") ?? [];
  const pace = usePace(node?.step ?? 0, id ?? "");
  if (!run) return null;
  const left = node && pace > 0 && node.total > node.step ? (node.total - node.step) / pace : 0;
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

/** Steps per second since the node began to report. */
function usePace(step: number, node: string): number {
  const [first, setFirst] = useState({ node: "", step: 0, time: 0 });
  useEffect(() => {
    if (node && step > 0 && (first.node !== node || step < first.step)) setFirst({ node, step, time: performance.now() });
  }, [node, step, first]);
  const seconds = (performance.now() - first.time) / 1000;
  return first.node === node && seconds > 1 ? (step - first.step) / seconds : 0;
}
