import { useRef, useState } from "react";
import { numberOf } from "../graph/numbers";
import type { WidgetProps } from "./props";

const DRAG_PIXELS = 4;

/** A number to type, to drag sideways, or to step with the arrow keys (Shift: tenfold); a bar shows its position in the range. */
export function NumberInput({ id, field, value, change, describedBy }: WidgetProps) {
  const [typed, setTyped] = useState<string | null>(null);
  const drag = useRef<{ x: number; from: number; moved: boolean } | null>(null);
  const isWhole = field.kind !== "number";
  const number = typeof value === "number" ? value : 0;
  const span = field.maximum - field.minimum;
  const isRanged = Number.isFinite(span) && span <= 1000 && field.kind !== "seed";
  const step = field.multipleOf || (isWhole ? 1 : isRanged && span <= 2 ? 0.01 : magnitude(number) / 10);

  const put = (next: number) => {
    const bounded = Math.min(field.maximum, Math.max(field.minimum, next));
    change(isWhole ? Math.round(bounded / step) * step : Number(bounded.toPrecision(6)));
  };
  return (
    <input
      id={id}
      className={`number ${isRanged ? "ranged" : ""}`}
      style={isRanged ? ({ "--share": (number - field.minimum) / span } as React.CSSProperties) : undefined}
      type="text"
      inputMode="decimal"
      autoComplete="off"
      value={typed ?? shown(value)}
      aria-describedby={describedBy}
      aria-invalid={describedBy !== undefined}
      onChange={(event) => {
        setTyped(event.target.value);
        change(numberOf(event.target.value, isWhole) ?? numberOf(event.target.value, false) ?? event.target.value);
      }}
      onBlur={() => setTyped(null)}
      onKeyDown={(event) => {
        const direction = event.key === "ArrowUp" ? 1 : event.key === "ArrowDown" ? -1 : 0;
        if (event.key === "Enter") event.currentTarget.blur();
        if (direction === 0) return;
        event.preventDefault();
        setTyped(null);
        put(number + direction * step * (event.shiftKey ? 10 : 1));
      }}
      onPointerDown={(event) => {
        if (document.activeElement === event.currentTarget || event.button !== 0) return;
        event.preventDefault();
        event.currentTarget.setPointerCapture(event.pointerId);
        drag.current = { x: event.clientX, from: number, moved: false };
      }}
      onPointerMove={(event) => {
        const start = drag.current;
        if (!start) return;
        const pixels = event.clientX - start.x;
        if (Math.abs(pixels) > DRAG_PIXELS) start.moved = true;
        if (!start.moved) return;
        const perPixel = isRanged ? span / 240 : step / 4;
        put(start.from + pixels * perPixel * (event.shiftKey ? 10 : 1));
      }}
      onPointerUp={(event) => {
        const start = drag.current;
        drag.current = null;
        if (start && !start.moved) {
          event.currentTarget.focus();
          event.currentTarget.select();
        }
      }}
    />
  );
}

const magnitude = (number: number) => (number === 0 ? 1 : 10 ** Math.floor(Math.log10(Math.abs(number))));

function shown(value: unknown): string {
  if (typeof value !== "number") return String(value ?? "");
  return Math.abs(value) > 0 && Math.abs(value) < 0.001 ? value.toExponential().replace(/e-(\d)$/, "e-$1") : String(value);
}
