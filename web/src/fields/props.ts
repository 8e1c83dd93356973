import type { FieldSpec } from "../graph/palette";

/** The props of every field control. */
export interface WidgetProps {
  id: string;
  node: string;
  field: FieldSpec;
  value: unknown;
  change: (value: unknown) => void;
  describedBy: string | undefined;
}
