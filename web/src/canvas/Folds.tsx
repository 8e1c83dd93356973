import { ChevronRight } from "lucide-react";
import { memo } from "react";
import { create } from "zustand";
import { FieldRow } from "../fields/FieldRow";
import type { FieldSpec, NodeDescription } from "../graph/palette";
import { text } from "../text/en";

/** The open folds, kept outside of the cards, which are unmounted outside of the view. */
const useOpenFolds = create<Record<string, boolean>>(() => ({}));

interface Props {
  node: string;
  description: NodeDescription;
  folded: [string, FieldSpec[]][];
}

/** Settings that are seldom needed, under headings that open. */
export const Folds = memo(function Folds({ node, description, folded }: Props) {
  if (folded.length === 0) return null;
  return (
    <div className="folds nodrag">
      {folded.map(([group, fields]) => (
        <Fold key={group} node={node} description={description} group={group} fields={fields} />
      ))}
    </div>
  );
});

function Fold({
  node,
  description,
  group,
  fields,
}: {
  node: string;
  description: NodeDescription;
  group: string;
  fields: FieldSpec[];
}) {
  const key = `${node}/${group}`;
  const isOpen = useOpenFolds((state) => state[key] ?? false);
  return (
    <>
      <button type="button" className="fold" aria-expanded={isOpen} onClick={() => useOpenFolds.setState({ [key]: !isOpen })}>
        <ChevronRight size={14} aria-hidden />
        {group || text.moreFields} <span className="count">{fields.length}</span>
      </button>
      {isOpen && (
        <div className="fields">
          {fields.map((field) => (
            <FieldRow key={field.name} node={node} field={field} description={description} place="card" />
          ))}
        </div>
      )}
    </>
  );
}
