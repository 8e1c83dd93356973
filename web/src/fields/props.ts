import type { FieldSpec } from "../graph/palette";

/** What every control of a field is given. */
export interface WidgetProps {
  id: string;
  node: string;
  field: FieldSpec;
  value: unknown;
  change: (value: unknown) => void;
  describedBy: string | undefined;
}
