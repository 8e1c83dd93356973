import { useEffect, useRef, useState } from "react";
import { address } from "../api/client";
import { text } from "../text/en";
import type { WidgetProps } from "./props";

/** The exports of a widget's module: it renders into an element, and `update` gets values that change elsewhere. */
interface WidgetModule {
  mount: (element: HTMLElement, options: WidgetOptions) => MountedWidget | undefined;
}

interface WidgetOptions {
  id: string;
  value: unknown;
  /** Id of the element that says what is wrong with the value, when something is. */
  describedBy: string | undefined;
  onChange: (value: unknown) => void;
}

interface MountedWidget {
  update?: (value: unknown) => void;
  unmount?: () => void;
}

interface Props extends WidgetProps {
  /** Edits the field when the module cannot. */
  children: React.ReactNode;
}

/** A field edited by a module of the node's package, loaded when it is first shown. */
export function PackageWidget({ id, field, value, change, describedBy, children }: Props) {
  const place = useRef<HTMLSpanElement>(null);
  const mounted = useRef<MountedWidget | undefined>(undefined);
  const latest = useRef({ value, change, describedBy });
  latest.current = { value, change, describedBy };
  const [hasFailed, setFailed] = useState(false);

  useEffect(() => {
    let isGone = false;
    const start = async () => {
      const module: WidgetModule = await import(/* @vite-ignore */ address.widget(field.widget));
      if (isGone || !place.current) return;
      const onChange = (next: unknown) => latest.current.change(next);
      const { value, describedBy } = latest.current;
      mounted.current = module.mount(place.current, { id, value, describedBy, onChange });
    };
    start().catch(() => setFailed(true));
    return () => {
      isGone = true;
      try {
        mounted.current?.unmount?.();
      } catch {
        // the field is gone either way
      }
      mounted.current = undefined;
    };
  }, [field.widget, id]);

  useEffect(() => {
    try {
      mounted.current?.update?.(value);
    } catch {
      setFailed(true);
    }
  }, [value]);

  if (!hasFailed) return <span ref={place} className="package-widget nodrag" />;
  return (
    <>
      {children}
      <span className="help">{text.widgetFailed(field.widget)}</span>
    </>
  );
}
