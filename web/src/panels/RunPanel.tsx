import { lazy, Suspense, useEffect, useMemo, useState } from "react";
import { Previews } from "../canvas/CardResult";
import type { RunView } from "../graph/runView";
import { cancel, retry } from "../state/actions";
import { goTo } from "../state/graphActions";
import { inOrder, isOpen, useRuns, useShownRun, useShownView } from "../state/runs";
import { follow } from "../state/sync";
import { text } from "../text/en";
import type { Curve } from "./Chart";
import { Log } from "./Log";
import { NotRun } from "./NotRun";
import { RunFiles } from "./RunFiles";
import { ago, duration } from "./words";

const Chart = lazy(() => import("./Chart"));

/** The run of this tab: how far it is, its curves, pictures, files and log. */
export function RunPanel() {
  const run = useShownRun();
  const view = useShownView();
  if (!run) return <p className="hint">{text.noRun}</p>;
  const trained = Object.keys(view.nodes).filter((id) => view.nodes[id]?.metrics.loss);
  return (
    <div className="run-panel">
      <h2>
        {run.workflow} <span className={`state-word ${run.state}`}>{text.runStates[run.state]}</span>
      </h2>
      <Facts />
      {run.problems.map((problem, index) => (
        <p key={index} className="strip error" role="alert">
          {problem.node && <strong>{problem.node}: </strong>}
          {problem.message} {problem.remedy}
        </p>
      ))}
      <NotRun run={run} />
      {trained.map((id) => (
        <Curves key={id} run={run.id} node={id} view={view} />
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

function Curves({ run, node, view }: { run: string; node: string; view: RunView }) {
  const [smoothing, setSmoothing] = useState(0.8);
  const [isLog, setLog] = useState(false);
  const [shown, setShown] = useState<"loss" | "learning_rate">("loss");
  const [other, setOther] = useState("");
  const others = useRuns((state) => state.runs);
  const compared = useRuns((state) => state.views[other]);
  const metrics = view.nodes[node]?.metrics;
  const curves = useMemo(() => {
    const found: Curve[] = [];
    if (metrics?.[shown]) found.push({ label: text.metrics[shown], series: metrics[shown], hue: shown === "loss" ? 0 : 3 });
    if (shown === "loss" && metrics?.validation_loss)
      found.push({ label: text.metrics.validation_loss, series: metrics.validation_loss, hue: 2, isDashed: true });
    const theirs = compared?.nodes[node]?.metrics[shown];
    if (theirs) found.push({ label: text.earlier, series: theirs, hue: 5 });
    return found;
  }, [metrics, shown, compared, node]);
  const earlier = inOrder(others).filter((each) => each.id !== run && each.started);
  return (
    <section className="field-group">
      <h3>{node}</h3>
      <Suspense fallback={<div className="chart-space" />}>
        <Chart curves={curves} height={200} smoothing={shown === "loss" ? smoothing : 0} isLog={isLog} />
      </Suspense>
      <div className="chart-tools">
        <label>
          {text.curve}
          <select value={shown} onChange={(event) => setShown(event.target.value as "loss")}>
            <option value="loss">{text.metrics.loss}</option>
            <option value="learning_rate">{text.metrics.learning_rate}</option>
          </select>
        </label>
        <label>
          {text.smoothing}
          <input
            type="range"
            min={0}
            max={0.98}
            step={0.02}
            value={smoothing}
            onChange={(event) => setSmoothing(Number(event.target.value))}
          />
        </label>
        <label className="check">
          <input type="checkbox" checked={isLog} onChange={(event) => setLog(event.target.checked)} />
          {text.logScale}
        </label>
        <label>
          {text.compare}
          <select
            value={other}
            onChange={(event) => {
              setOther(event.target.value);
              if (event.target.value) follow(event.target.value);
            }}
          >
            <option value="">{text.nothing}</option>
            {earlier.map((each) => (
              <option key={each.id} value={each.id}>
                {each.workflow}, {ago(each.created)}
              </option>
            ))}
          </select>
        </label>
      </div>
    </section>
  );
}
