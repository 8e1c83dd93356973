import { useEffect, useRef } from "react";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import type { Series } from "../graph/runView";
import { smoothed } from "../graph/smoothing";
import { text } from "../text/en";

export interface Curve {
  label: string;
  series: Series;
  hue: number;
  isDashed?: boolean;
}

interface Props {
  curves: Curve[];
  height: number;
  /** 0: as measured; towards 1: calmer. */
  smoothing?: number;
  isLog?: boolean;
  isSmall?: boolean;
}

/** Curves over the training's steps; the raw points stay visible behind a smoothed line. */
export default function Chart({ curves, height, smoothing = 0, isLog = false, isSmall = false }: Props) {
  const host = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const shape = `${curves.map((curve) => curve.label).join("|")} ${isLog} ${isSmall} ${smoothing > 0}`;

  // biome-ignore lint/correctness/useExhaustiveDependencies: a new plot is needed only when the kind of curves changes
  useEffect(() => {
    const element = host.current;
    if (!element) return;
    const made = new uPlot(
      options(element, curves, height, isLog, isSmall, smoothing > 0),
      dataOf(curves, smoothing, isLog),
      element,
    );
    plot.current = made;
    const observer = new ResizeObserver(() => made.setSize({ width: element.clientWidth, height }));
    observer.observe(element);
    return () => {
      observer.disconnect();
      made.destroy();
    };
  }, [shape, height]);
  useEffect(() => {
    plot.current?.setData(dataOf(curves, smoothing, isLog));
  }, [curves, smoothing, isLog]);
  return <div ref={host} className={`chart${isSmall ? " small" : ""}`} role="img" aria-label={described(curves)} />;
}

function described(curves: Curve[]): string {
  return curves
    .map(({ label, series }) =>
      text.chartSummary(label, series.steps.at(-1) ?? 0, series.values[0] ?? Number.NaN, series.values.at(-1) ?? Number.NaN),
    )
    .join("; ");
}

/** One column per curve over all steps, and one more for each raw curve behind a smoothed one. */
function dataOf(curves: Curve[], smoothing: number, isLog: boolean): uPlot.AlignedData {
  const usable = (value: number | undefined) => (value === undefined || (isLog && value <= 0) ? null : value);
  const tables = curves.flatMap(({ series }) => {
    const lines = smoothing > 0 ? [smoothed(series.values, smoothing), series.values] : [series.values];
    return lines.map((values) => [series.steps, values.map(usable)] as uPlot.AlignedData);
  });
  return tables.length > 0 ? uPlot.join(tables) : [[], []];
}

function options(
  element: HTMLElement,
  curves: Curve[],
  height: number,
  isLog: boolean,
  isSmall: boolean,
  isSmoothed: boolean,
): uPlot.Options {
  const style = getComputedStyle(element);
  const color = (name: string) => style.getPropertyValue(name).trim();
  const axis: uPlot.Axis = {
    stroke: color("--text-dim"),
    grid: { stroke: color("--line"), width: 1 },
    ticks: { show: false },
    font: "11px Inter Variable, sans-serif",
    size: 44,
  };
  const lines = curves.flatMap((curve): uPlot.Series[] => {
    const stroke = color(`--hue-${curve.hue}`);
    const main: uPlot.Series = {
      label: curve.label,
      value: (made, value, index, at) => valueWords(at === null ? lastOf(made.data[index]) : value),
      stroke,
      width: 2,
      spanGaps: true,
      points: { show: false },
      ...(curve.isDashed && { dash: [6, 4] }),
    };
    return isSmoothed ? [main, { ...main, label: `${curve.label} ${text.raw}`, width: 1, stroke: `${stroke}55` }] : [main];
  });
  return {
    width: element.clientWidth || 240,
    height,
    legend: { show: !isSmall },
    cursor: isSmall ? { show: false } : { points: { size: 6 } },
    scales: { x: { time: false }, y: { distr: isLog ? 3 : 1 } },
    axes: isSmall
      ? [{ show: false }, { ...axis, size: 36, grid: { show: false }, values: (_, ticks) => ticks.map(short) }]
      : [
          { ...axis, size: 28 },
          { ...axis, values: (_, ticks) => ticks.map(short) },
        ],
    series: [
      { label: text.stepLabel, value: (made, value, _, at) => (at === null ? lastOf(made.data[0]) : value) ?? "" },
      ...lines,
    ],
    hooks: { init: [nameInFull] },
    padding: isSmall ? [6, 4, 4, 0] : [8, 8, 0, 0],
  };
}

/** A name that is too long for its row is cut off; the pointer shows all of it. */
function nameInFull(made: uPlot): void {
  for (const label of made.root.querySelectorAll<HTMLElement>(".u-label")) label.title = label.textContent ?? "";
}

const lastOf = (values: ArrayLike<number | null | undefined> | undefined) => Array.from(values ?? []).findLast(isNumber) ?? null;
const isNumber = (value: number | null | undefined) => value !== null && value !== undefined;
const valueWords = (value: number | null | undefined) => (isNumber(value) ? String(Number(value?.toPrecision(4))) : "");

const short = (value: number) =>
  value === 0 ? "0" : Math.abs(value) < 0.01 ? value.toExponential(0) : String(Number(value.toPrecision(3)));
