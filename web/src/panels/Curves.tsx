import { X } from "lucide-react";
import { lazy, Suspense, useCallback, useEffect, useMemo, useState } from "react";
import { api } from "../api/client";
import type { ComparableRun } from "../api/types";
import type { Curve } from "../components/Chart";
import { ago } from "../components/times";
import { counterpart, invitation, legend, measured, type Training } from "../graph/comparing";
import type { Document } from "../graph/document";
import type { RunView } from "../graph/runView";
import { attempt } from "../state/actions";
import { useRuns } from "../state/runs";
import { follow } from "../state/sync";
import { text } from "../text/en";

const Chart = lazy(() => import("../components/Chart"));
const HUES = 8;

type Shown = "loss" | "learning_rate";

interface Props {
  run: string;
  training: Training;
  view: RunView;
}

/** The curves of a training, of all its copies where it is swept, and of other runs beside them. */
export function Curves({ run, training, view }: Props) {
  const [smoothing, setSmoothing] = useState(0.8);
  const [isLog, setLog] = useState(false);
  const [shown, setShown] = useState<Shown>("loss");
  const [others, setOthers] = useState<ComparableRun[]>([]);
  const views = useRuns((state) => state.views);
  const document = useDocumentOf(training.nodes.length > 1 ? run : "");
  const curves = useMemo(() => {
    const own = ownCurves(training, view, shown, document);
    const theirs = others.flatMap((other) => curvesOf(other, views[other.run], training, view, shown));
    return [...own, ...theirs].map((curve, index) => ({ ...curve, hue: index % HUES }));
  }, [training, view, shown, document, others, views]);
  const silent = others.filter((other) => hasNothing(views[other.run], training, view, shown));
  return (
    <section className="field-group">
      <h3>{training.id}</h3>
      <Suspense fallback={<div className="chart-space" />}>
        <Chart curves={curves} height={200} smoothing={shown === "loss" ? smoothing : 0} isLog={isLog} />
      </Suspense>
      {silent.map((other) => (
        <p key={other.run} className="hint">
          {text.nothingToCompare(runWords(other), text.metrics[shown])}
        </p>
      ))}
      <div className="chart-tools">
        <label>
          {text.curve}
          <select value={shown} onChange={(event) => setShown(event.target.value as Shown)}>
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
        <Compare run={run} chosen={others} change={setOthers} />
      </div>
    </section>
  );
}

function ownCurves(training: Training, view: RunView, shown: Shown, document: Document | undefined): Omit<Curve, "hue">[] {
  const isSwept = training.nodes.length > 1;
  const main = measured(training, view, shown).map(([id, series]) => ({
    label: isSwept ? legend(document, id) : text.metrics[shown],
    series,
  }));
  if (shown !== "loss") return main;
  const validation = measured(training, view, "validation_loss").map(([id, series]) => ({
    label: [text.metrics.validation_loss, isSwept ? legend(document, id) : ""].join(" ").trim(),
    series,
    isDashed: true,
  }));
  return [...main, ...validation];
}

function curvesOf(other: ComparableRun, theirs: RunView | undefined, own: Training, view: RunView, shown: Shown) {
  const training = theirs && counterpart(own, view, theirs);
  if (!theirs || !training) return [];
  const found = measured(training, theirs, shown);
  return found.map(([id, series]) => ({ label: [runWords(other), found.length > 1 ? id : ""].join(" ").trim(), series }));
}

/** Returns whether a run is loaded completely and lacks this curve. */
function hasNothing(theirs: RunView | undefined, own: Training, view: RunView, shown: Shown): boolean {
  if (!theirs || theirs.status === "none" || theirs.status === "running") return false;
  const training = counterpart(own, view, theirs);
  return !training || measured(training, theirs, shown).length === 0;
}

const runWords = (run: ComparableRun) => text.comparedRun(run.workflow, ago(run.created), run.differs);

interface CompareProps {
  run: string;
  chosen: ComparableRun[];
  change: (chosen: ComparableRun[]) => void;
}

/** Chooses among the runs that have curves; they are asked for again when the list is about to be opened. */
function Compare({ run, chosen, change }: CompareProps) {
  const [offered, setOffered] = useState<ComparableRun[]>();
  const ask = useCallback(() => {
    void attempt(api.comparable(run)).then((reply) => setOffered(reply?.runs));
  }, [run]);
  useEffect(ask, [ask]);
  const free = offered?.filter((each) => !chosen.some((other) => other.run === each.run));
  return (
    <>
      <label className="whole">
        {text.compare}
        <select
          value=""
          onFocus={ask}
          onChange={(event) => {
            const found = free?.find((each) => each.run === event.target.value);
            if (!found) return;
            follow(found.run);
            change([...chosen, found]);
          }}
        >
          <option value="">{text[invitation(offered?.length, free?.length ?? 0)]}</option>
          {free?.map((each) => (
            <option key={each.run} value={each.run}>
              {runWords(each)}
            </option>
          ))}
        </select>
      </label>
      {chosen.map((each) => (
        <button
          key={each.run}
          type="button"
          className="chip"
          aria-label={text.noLongerCompare(runWords(each))}
          onClick={() => change(chosen.filter((other) => other.run !== each.run))}
        >
          {runWords(each)} <X size={12} aria-hidden />
        </button>
      ))}
    </>
  );
}

/** The document that a run has carried out; undefined until it is here, and for no run. */
function useDocumentOf(run: string): Document | undefined {
  const [document, setDocument] = useState<Document>();
  useEffect(() => {
    if (run) void attempt(api.readRun(run)).then((details) => setDocument(details?.document));
  }, [run]);
  return document;
}
