import { lazy, memo, Suspense, useState } from "react";
import { address } from "../api/client";
import type { NodeView } from "../graph/runView";
import { baseName } from "../panels/times";
import { currentTab, useEditor } from "../state/editor";
import { useRuns } from "../state/runs";
import { openDialog } from "../state/ui";
import { text } from "../text/en";

const Chart = lazy(() => import("../panels/Chart"));

/** What a node has made: its curve, its pictures through the steps, its files. */
export const CardResult = memo(function CardResult({ id, view }: { id: string; view: NodeView | undefined }) {
  const run = useEditor((state) => currentTab(state)?.run ?? "");
  const artifacts = useRuns((state) => state.views[run]?.artifacts);
  const own = artifacts?.filter((artifact) => artifact.node === id) ?? [];
  if (!view || (Object.keys(view.metrics).length === 0 && view.previews.length === 0 && own.length === 0)) return null;
  return (
    <div className="result nodrag">
      {view.metrics.loss && (
        <Suspense fallback={<div className="chart-space" />}>
          <Chart curves={[{ label: text.loss, series: view.metrics.loss, hue: 0 }]} height={88} smoothing={0.8} isSmall />
        </Suspense>
      )}
      {view.previews.length > 0 && <Previews run={run} view={view} />}
      {own.map((artifact) => {
        const name = baseName(artifact.path);
        return /\.(png|webp|jpe?g)$/i.test(name) ? (
          <PictureButton
            key={artifact.path}
            src={address.artifact(run, name)}
            small={address.artifact(run, name, 512)}
            caption={name}
          />
        ) : (
          <a key={artifact.path} className="file" href={address.artifact(run, name)} download={name}>
            {name} <span>{text.bytes(artifact.bytes)}</span>
          </a>
        );
      })}
    </div>
  );
});

function PictureButton({ src, small, caption }: { src: string; small: string; caption: string }) {
  return (
    <button
      type="button"
      className="picture"
      aria-label={text.enlarge(caption)}
      onClick={() => openDialog({ kind: "pictures", request: { pictures: [{ src, caption }], index: 0 } })}
    >
      <img src={small} alt={caption} loading="lazy" draggable={false} />
    </button>
  );
}

/** Preview pictures with a slider through the training's steps; it stays at the newest unless it is moved. */
export function Previews({ run, view }: { run: string; view: NodeView }) {
  const [chosen, setChosen] = useState<number | null>(null);
  const newest = view.previews.length - 1;
  const index = Math.min(chosen ?? newest, newest);
  const preview = view.previews[index];
  if (!preview) return null;
  const pictures = view.previews.map((each) => ({ src: address.runFile(run, each.path), caption: text.step(each.step) }));
  return (
    <figure className="previews">
      <button
        type="button"
        className="picture"
        aria-label={text.enlarge(text.step(preview.step))}
        onClick={() => openDialog({ kind: "pictures", request: { pictures, index } })}
      >
        <img src={address.runFile(run, preview.path, 512)} alt={text.previewAt(preview.step)} draggable={false} />
      </button>
      <figcaption>
        <span>{text.step(preview.step)}</span>
        {newest > 0 && (
          <input
            type="range"
            min={0}
            max={newest}
            value={index}
            aria-label={text.previewSlider}
            onChange={(event) => setChosen(Number(event.target.value) === newest ? null : Number(event.target.value))}
          />
        )}
      </figcaption>
    </figure>
  );
}
