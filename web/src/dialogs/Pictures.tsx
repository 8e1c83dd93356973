import { ChevronLeft, ChevronRight, Columns2 } from "lucide-react";
import { type KeyboardEvent, useState } from "react";
import { comparedWith } from "../components/resultPictures";
import type { PictureRequest } from "../state/ui";
import { text } from "../text/en";
import { Frame } from "./Frame";

/** A picture at any size; with several, the neighbour or a before/after slider. */
export function Pictures({ request }: { request: PictureRequest }) {
  const { pictures } = request;
  const [index, setIndex] = useState(request.index);
  const [zoom, setZoom] = useState(1);
  const [split, setSplit] = useState<number | null>(null);
  const picture = pictures[index];
  const other = comparedWith(pictures, index);
  if (!picture) return null;
  const go = (by: number) => setIndex((index + by + pictures.length) % pictures.length);
  const byKey = (event: KeyboardEvent) => {
    const to = { ArrowLeft: index - 1, ArrowRight: index + 1, Home: 0, End: pictures.length - 1 }[event.key];
    if (to === undefined || event.target instanceof HTMLInputElement) return; // a slider keeps its keys
    event.preventDefault();
    setIndex((to + pictures.length) % pictures.length);
  };
  const isComparing = split !== null && other !== undefined;
  return (
    <Frame
      title={picture.caption}
      kind="pictures"
      onKeyDown={byKey}
      tools={
        <>
          <label className="zoom">
            {text.zoom}
            <input
              type="range"
              min={0.25}
              max={8}
              step={0.25}
              value={zoom}
              onChange={(event) => setZoom(Number(event.target.value))}
            />
          </label>
          {pictures.length > 1 && (
            <>
              <button
                type="button"
                className="icon"
                aria-pressed={split !== null}
                aria-label={text.compareWith(other?.caption ?? "")}
                title={text.compareWith(other?.caption ?? "")}
                onClick={() => setSplit(split === null ? 50 : null)}
              >
                <Columns2 size={16} aria-hidden />
              </button>
              <button type="button" className="icon" aria-label={text.previous} onClick={() => go(-1)}>
                <ChevronLeft size={16} aria-hidden />
              </button>
              <span>
                {index + 1} / {pictures.length}
              </span>
              <button type="button" className="icon" aria-label={text.next} onClick={() => go(1)}>
                <ChevronRight size={16} aria-hidden />
              </button>
            </>
          )}
        </>
      }
    >
      <div
        className="stage"
        // biome-ignore lint/a11y/noNoninteractiveTabindex: a scrolling area needs the focus to scroll by keys
        tabIndex={0}
        data-autofocus
        onWheel={(event) => event.ctrlKey && setZoom(Math.min(8, Math.max(0.25, zoom * (event.deltaY < 0 ? 1.1 : 0.9))))}
      >
        <div className="layers" style={{ "--zoom": zoom, "--split": `${split ?? 0}%` } as React.CSSProperties}>
          <img src={picture.src} alt={picture.caption} />
          {isComparing && <img className="before" src={other.src} alt={other.caption} />}
        </div>
      </div>
      {isComparing && (
        <input
          className="split"
          type="range"
          min={0}
          max={100}
          value={split}
          aria-label={text.compareWith(other.caption)}
          onChange={(event) => setSplit(Number(event.target.value))}
        />
      )}
    </Frame>
  );
}
