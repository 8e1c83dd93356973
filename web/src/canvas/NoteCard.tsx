import { type NodeProps, NodeResizeControl } from "@xyflow/react";
import { memo, useEffect, useState } from "react";
import { changeNote } from "../graph/document";
import { edit } from "../state/editor";
import { text } from "../text/en";
import type { NoteNode } from "./flow";

/** Markdown beside the graph; a double click or Enter edits it. */
export const NoteCard = memo(function NoteCard({ data, selected }: NodeProps<NoteNode>) {
  const { note, index } = data;
  const [isEditing, setEditing] = useState(false);
  const html = useMarkdown(note.text);
  return (
    <section className={`note-card${selected ? " selected" : ""}`} data-testid={`note-${index}`} aria-label={text.note}>
      {isEditing ? (
        <textarea
          className="nodrag nowheel"
          // biome-ignore lint/a11y/noAutofocus: the person has just asked to type here
          autoFocus
          defaultValue={note.text}
          aria-label={text.noteText}
          onBlur={(event) => {
            const words = event.target.value;
            edit((document) => changeNote(document, index, { text: words }));
            setEditing(false);
          }}
          onKeyDown={(event) => {
            if (event.key === "Escape") event.currentTarget.blur();
            event.stopPropagation();
          }}
        />
      ) : (
        // biome-ignore lint/a11y/noStaticElementInteractions: the button below does the same for the keyboard
        <div
          className="markdown"
          onDoubleClick={(event) => {
            event.stopPropagation();
            setEditing(true);
          }}
          // biome-ignore lint/security/noDangerouslySetInnerHtml: sanitised by DOMPurify
          dangerouslySetInnerHTML={{ __html: html }}
        />
      )}
      {selected && !isEditing && (
        <button type="button" className="edit-note nodrag" onClick={() => setEditing(true)}>
          {text.editNote}
        </button>
      )}
      {selected && <NodeResizeControl className="resize" minWidth={120} minHeight={60} />}
    </section>
  );
});

/** Markdown as harmless HTML; the libraries are loaded when the first note is shown. */
export function useMarkdown(source: string): string {
  const [html, setHtml] = useState("");
  useEffect(() => {
    let isCurrent = true;
    void import("./markdown").then(({ safeHtml }) => isCurrent && setHtml(safeHtml(source)));
    return () => {
      isCurrent = false;
    };
  }, [source]);
  return html;
}
