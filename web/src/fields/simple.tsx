/** Controls that are one element, or one with a button. */

import { Dices } from "lucide-react";
import { text } from "../text/en";
import { NumberInput } from "./NumberInput";
import type { WidgetProps } from "./props";

const common = ({ id, describedBy }: WidgetProps) => ({
  id,
  "aria-describedby": describedBy,
  "aria-invalid": describedBy !== undefined,
});

export function Seed(props: WidgetProps) {
  return (
    <span className="with-button">
      <NumberInput {...props} />
      <button
        type="button"
        className="icon"
        aria-label={text.randomise}
        title={text.randomise}
        onClick={() => props.change(randomSeed())}
      >
        <Dices size={14} aria-hidden />
      </button>
    </span>
  );
}

const randomSeed = () => crypto.getRandomValues(new Uint32Array(1))[0] ?? 0;

export function Switch(props: WidgetProps) {
  const isOn = Boolean(props.value);
  return (
    <button
      type="button"
      {...common(props)}
      className="switch"
      role="switch"
      aria-checked={isOn}
      onClick={() => props.change(!isOn)}
    >
      <span />
    </button>
  );
}

export function Choice(props: WidgetProps) {
  return (
    <select {...common(props)} value={String(props.value)} onChange={(event) => props.change(event.target.value)}>
      {props.field.choices.map((choice) => (
        <option key={choice}>{choice}</option>
      ))}
    </select>
  );
}

export function Color(props: WidgetProps) {
  return (
    <input type="color" {...common(props)} value={String(props.value)} onChange={(event) => props.change(event.target.value)} />
  );
}

export function Prompt(props: WidgetProps) {
  return (
    <textarea
      {...common(props)}
      className="nowheel"
      rows={3}
      value={String(props.value ?? "")}
      spellCheck={false}
      onChange={(event) => props.change(event.target.value)}
    />
  );
}

export function Text(props: WidgetProps) {
  return (
    <input
      type="text"
      {...common(props)}
      value={String(props.value ?? "")}
      spellCheck={false}
      onChange={(event) => props.change(event.target.value)}
    />
  );
}
