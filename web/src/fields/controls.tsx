import type { ComponentType } from "react";
import type { FieldKind, FieldSpec } from "../graph/palette";
import { ModelInput } from "./ModelInput";
import { NumberInput } from "./NumberInput";
import { PathInput } from "./PathInput";
import type { WidgetProps } from "./props";
import { Choice, Color, Prompt, Seed, Switch, Text } from "./simple";

interface Control {
  Input: ComponentType<WidgetProps>;
  /** Room that it needs: `tall` has several lines, `path` gets a row of its own in the panel. */
  shape?: "tall" | "path";
}

/** The editor's controls, one row each: by the kinds of values, then by the names that a field's `widget` may have. */
const CONTROLS = {
  integer: { Input: NumberInput },
  number: { Input: NumberInput },
  seed: { Input: Seed },
  switch: { Input: Switch },
  choice: { Input: Choice },
  text: { Input: Text },
  color: { Input: Color },
  prompt: { Input: Prompt, shape: "tall" },
  model: { Input: ModelInput, shape: "path" },
  "workspace-folder": { Input: (props) => <PathInput {...props} wanted="workspace-folder" />, shape: "path" },
  "workspace-file": { Input: (props) => <PathInput {...props} wanted="workspace-file" />, shape: "path" },
  "workspace-path": { Input: (props) => <PathInput {...props} wanted="workspace-path" />, shape: "path" },
} satisfies Record<string, Control> & Record<FieldKind, Control>;

const named: ReadonlyMap<string, Control> = new Map(Object.entries(CONTROLS));

/** Whether the editor itself has the widget that a field names. */
export const hasOwn = (field: FieldSpec): boolean => named.has(field.widget);

/** The editor's control of a field: the one that it names, else the one for its kind of value. */
export const controlOf = (field: FieldSpec): Control => named.get(field.widget) ?? CONTROLS[field.kind];
