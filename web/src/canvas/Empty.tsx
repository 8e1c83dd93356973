import { LayoutTemplate, Plus, Upload } from "lucide-react";
import { openDialog } from "../state/ui";
import { view } from "../state/view";
import { text } from "../text/en";

/** Suggestions on an empty canvas. */
export function Empty() {
  return (
    <div className="empty">
      <h2>{text.emptyTitle}</h2>
      <div className="choices">
        <button type="button" className="choice" onClick={() => openDialog({ kind: "templates" })}>
          <LayoutTemplate size={20} aria-hidden />
          <strong>{text.emptyTemplate}</strong>
          <span>{text.emptyTemplateHelp}</span>
        </button>
        <button type="button" className="choice" onClick={() => openDialog({ kind: "search", request: { at: view.center() } })}>
          <Plus size={20} aria-hidden />
          <strong>{text.emptyNode}</strong>
          <span>{text.emptyNodeHelp}</span>
        </button>
        <div className="choice passive">
          <Upload size={20} aria-hidden />
          <strong>{text.emptyDrop}</strong>
          <span>{text.emptyDropHelp}</span>
        </div>
      </div>
    </div>
  );
}
