import { lazy, memo, Suspense, useState } from "react";
import { address } from "../api/client";
import type { PublishedArtifact } from "../api/types";
import { isPicture, pictureOf } from "../components/resultPictures";
import { baseName } from "../components/times";
import type { NodeView } from "../graph/runView";
import { currentTab, useEditor } from "../state/editor";
import { useRuns } from "../state/runs";
import { openDialog } from "../state/ui";
import { text } from "../text/en";

const Chart = lazy(() => import("../components/Chart"));

/** The results of a node: its curve, its previews by step, its files. */
export const CardResult = memo(function CardResult({ id, view }: { id: string; view: NodeView | undefined }) {
  const run = useEditor((state) => currentTab(state)?.run ?? "");
  const artifacts = useRuns((state) => state.views[run]?.artifacts);
  const own = artifacts?.filter((artifact) => artifact.node === id) ?? [];
  const pictures = own.filter(isPicture);
  if (!view || (Object.keys(view.metrics).length === 0 && view.previews.length === 0 && own.length === 0)) return null;
  return (
    <div className="result nodrag">
      {view.metrics.loss && (
        <Suspense fallback={<div className="chart-space" />}>
          <Chart curves={[{ label: text.loss, series: view.metrics.loss, hue: 0 }]} height={88} smoothing={0.8} isSmall />
        </Suspense>
      )}
      {view.previews.length > 0 && <Previews run={run} view={view} />}
      {pictures.length > 0 && (
        <div className={pictures.length > 1 ? "tiled" : ""}>
          {pictures.map((artifact, index) => (
            <PictureButton key={artifact.path} run={run} pictures={pictures} index={index} />
          ))}
        </div>
      )}
      {own
        .filter((artifact) => !isPicture(artifact))
        .map((artifact) => {
          const name = baseName(artifact.path);
          return (
            <a key={artifact.path} className="file" href={address.artifact(run, name)} download={name}>
              {name} <span>{text.bytes(artifact.bytes)}</span>
            </a>
          );
        })}
    </div>
  );
});

/** One of a node's pictures, with what it shows; it opens all of them. */
function PictureButton({ run, pictures, index }: { run: string; pictures: PublishedArtifact[]; index: number }) {
  const all = pictures.map((artifact) => pictureOf(run, artifact));
  const [artifact, picture] = [pictures[index], all[index]];
  if (!artifact || !picture) return null;
  return (
    <button
      type="button"
      className="picture"
      title={picture.caption}
      aria-label={text.enlarge(picture.caption)}
      onClick={() => openDialog({ kind: "pictures", request: { pictures: all, index } })}
    >
      <img src={address.artifact(run, baseName(artifact.path), 512)} alt={picture.caption} loading="lazy" draggable={false} />
      {pictures.length > 1 && artifact.caption && <small>{picture.caption}</small>}
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
