import { currentTab, leaveTo, useEditor } from "../state/editor";
import { text } from "../text/en";

const NONE: string[] = [];

/** The path of nested subgraphs on the canvas, with links back. */
export function Breadcrumbs() {
  const inside = useEditor((state) => currentTab(state)?.inside ?? NONE);
  if (inside.length === 0) return null;
  return (
    <nav className="breadcrumbs" aria-label={text.breadcrumbs}>
      <button type="button" onClick={() => leaveTo(0)}>
        {text.top}
      </button>
      {inside.map((id, index) => (
        <button key={id} type="button" aria-current={index === inside.length - 1} onClick={() => leaveTo(index + 1)}>
          {id}
        </button>
      ))}
    </nav>
  );
}
