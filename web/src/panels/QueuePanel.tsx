import { ArrowDown, ArrowUp, RotateCcw, Trash2, X } from "lucide-react";
import { useState } from "react";
import { RUNS_AT_ONCE } from "../api/client";
import type { Run } from "../api/types";
import { ago, duration } from "../components/times";
import { said } from "../graph/sentences";
import { cancel, forget, loadEarlier, move, reopenRun, retry } from "../state/actions";
import { inOrder, isOpen, useRuns } from "../state/runs";
import { text } from "../text/en";
import { NotRun } from "./NotRun";

/** Running, queued and finished runs. */
export function QueuePanel() {
  const runs = useRuns((state) => state.runs);
  const all = inOrder(runs);
  const [open, done] = [all.filter(isOpen), all.filter((run) => !isOpen(run))];
  return (
    <div className="queue-panel">
      <h2>{text.queue}</h2>
      {open.length === 0 && <p className="hint">{text.queueEmpty}</p>}
      <ol className="runs">
        {open.map((run) => (
          <Row key={run.id} run={run} last={open.length - 1} />
        ))}
      </ol>
      <h2>{text.history}</h2>
      {done.length === 0 && <p className="hint">{text.historyEmpty}</p>}
      <ol className="runs">
        {done.map((run) => (
          <Row key={run.id} run={run} last={0} />
        ))}
      </ol>
      {done.length >= RUNS_AT_ONCE && <Earlier done={done} />}
    </div>
  );
}

function Earlier({ done }: { done: Run[] }) {
  const [isAll, setAll] = useState(false);
  const load = async () => setAll(!(await loadEarlier(done)));
  return (
    <button type="button" disabled={isAll} onClick={() => void load()}>
      {isAll ? text.allRuns : text.earlierRuns}
    </button>
  );
}

function Row({ run, last }: { run: Run; last: number }) {
  const isQueued = run.state === "queued";
  const position = run.position ?? 0;
  return (
    <li className="run">
      <button type="button" className="plain name" onClick={() => void reopenRun(run.id)} title={text.reopen}>
        {run.workflow}
      </button>
      <span className={`state-word ${run.state}`}>{text.runStates[run.state]}</span>
      <span className="when">
        {ago(run.created)}
        {run.started && run.finished ? ` · ${duration(run.finished - run.started)}` : ""}
      </span>
      <span className="tools">
        {isQueued && (
          <>
            <Tool label={text.moveUp} icon={ArrowUp} isDisabled={position === 0} run={() => move(run, -1)} />
            <Tool label={text.moveDown} icon={ArrowDown} isDisabled={position >= last} run={() => move(run, 1)} />
          </>
        )}
        {isOpen(run) ? (
          <Tool label={text.cancel} icon={X} run={() => cancel(run.id)} />
        ) : (
          <>
            <Tool label={text.retry} icon={RotateCcw} run={() => retry(run.id)} />
            <Tool label={text.forget} icon={Trash2} run={() => forget(run.id)} />
          </>
        )}
      </span>
      {run.problems[0] && <p className="problem">{[run.problems[0].node, said(run.problems[0])].filter(Boolean).join(": ")}</p>}
      <NotRun run={run} />
    </li>
  );
}

function Tool({
  label,
  icon: Icon,
  run,
  isDisabled = false,
}: {
  label: string;
  icon: typeof X;
  run: () => Promise<void>;
  isDisabled?: boolean;
}) {
  return (
    <button type="button" className="icon" aria-label={label} title={label} disabled={isDisabled} onClick={() => void run()}>
      <Icon size={14} aria-hidden />
    </button>
  );
}
