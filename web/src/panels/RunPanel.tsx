import { Previews } from "../canvas/CardResult";
import { trainings } from "../graph/comparing";
import { said } from "../graph/sentences";
import { useShownRun, useShownView } from "../state/runs";
import { text } from "../text/en";
import { Curves } from "./Curves";
import { Log } from "./Log";
import { NotRun } from "./NotRun";
import { RunFiles } from "./RunFiles";
import { RunProgress } from "./RunProgress";

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
      <RunProgress />
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
