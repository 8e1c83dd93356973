import { useEditor } from "../state/editor";
import { controlOf, hasOwn } from "./controls";
import { PackageWidget } from "./PackageWidget";
import type { WidgetProps } from "./props";

/** The control that fits a field: the editor's, or its package's with the editor's to fall back to. */
export function Widget(props: WidgetProps) {
  const isBrought = useEditor((state) => !hasOwn(props.field) && state.widgets.has(props.field.widget));
  const { Input } = controlOf(props.field);
  // by a key, so that what one module could not do says nothing of the module of the node that takes the place
  return isBrought ? (
    <PackageWidget key={`${props.id} ${props.field.widget}`} {...props}>
      <Input {...props} />
    </PackageWidget>
  ) : (
    <Input {...props} />
  );
}
