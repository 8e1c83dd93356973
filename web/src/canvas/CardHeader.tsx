import {
  AlertTriangle,
  Ban,
  Check,
  CircleDashed,
  Clock,
  DatabaseZap,
  LoaderCircle,
  MinusCircle,
  SkipForward,
  X,
} from "lucide-react";
import { useState } from "react";
import type { NodeEntry } from "../graph/document";
import { changeNode } from "../graph/document";
import type { NodeDescription } from "../graph/palette";
import { said } from "../graph/sentences";
import { SUBGRAPH } from "../graph/subgraph";
import { concerns, currentTab, edit, useEditor } from "../state/editor";
import { text } from "../text/en";

const ICONS: Record<string, typeof Check> = {
  running: LoaderCircle,
  executed: Check,
  cached: DatabaseZap,
  failed: X,
  skipped: SkipForward,
  waiting: Clock,
  idle: CircleDashed,
};

interface Props {
  id: string;
  /** The id by which runs and problems name it. */
  known: string;
  entry: NodeEntry;
  description: NodeDescription | undefined;
  state: string;
  seconds: number;
  /** The reason why an active node does not run; empty when it does. */
  reason: string;
}

/** Category, title and state. */
export function CardHeader({ id, known, entry, description, state, seconds, reason }: Props) {
  const [isEditing, setEditing] = useState(false);
  const problem = useEditor((each) => currentTab(each)?.problems.find((one) => concerns(one.node, known)));
  const title = entry.title || description?.title || entry.type;
  return (
    <header className={`card-header category-${description?.category ?? "none"}`}>
      <span className="category">
        {description?.category ?? text.unknown}
        <span className="node-id">{id}</span>
      </span>
      {isEditing ? (
        <input
          className="title nodrag"
          // biome-ignore lint/a11y/noAutofocus: the person has just asked to type here
          autoFocus
          defaultValue={title}
          aria-label={text.nodeTitle}
          onBlur={(event) => {
            const wanted = event.target.value.trim();
            edit((document) => changeNode(document, id, { title: wanted === description?.title ? "" : wanted }));
            setEditing(false);
          }}
          onKeyDown={(event) => {
            if (event.key === "Enter" || event.key === "Escape") event.currentTarget.blur();
            event.stopPropagation();
          }}
        />
      ) : (
        <h3
          className="title"
          title={description?.description}
          onDoubleClick={(event) => {
            if (entry.type === SUBGRAPH) return; // there a double click enters
            event.stopPropagation();
            setEditing(true);
          }}
        >
          {title}
        </h3>
      )}
      <span className="badges">
        {entry.mode === "muted" && <Badge icon={Ban} label={text.states.muted} />}
        {entry.mode === "bypassed" && <Badge icon={MinusCircle} label={text.states.bypassed} />}
        {problem && state !== "failed" && <Badge icon={AlertTriangle} label={said(problem)} kind="problem" />}
        {state !== "idle" && (
          <Badge
            icon={ICONS[state] ?? CircleDashed}
            label={reason ? text.sentence(reason) : ((text.states as Record<string, string>)[state] ?? state)}
            kind={state}
            note={reason ? text.states.dropped : state === "executed" && seconds >= 0.1 ? text.seconds(seconds) : ""}
          />
        )}
      </span>
    </header>
  );
}

function Badge({ icon: Icon, label, kind = "", note = "" }: { icon: typeof Check; label: string; kind?: string; note?: string }) {
  return (
    <span className={`badge ${kind}`} title={label}>
      {note && <span className="note">{note}</span>}
      <Icon size={14} aria-label={label} role="img" />
    </span>
  );
}
