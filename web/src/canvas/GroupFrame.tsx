import type { NodeProps } from "@xyflow/react";
import { memo } from "react";
import { changeGroup } from "../graph/document";
import { edit } from "../state/editor";
import { text } from "../text/en";
import type { GroupNode } from "./flow";

/** A titled frame that holds its nodes wherever they are moved. */
export const GroupFrame = memo(function GroupFrame({ data, selected }: NodeProps<GroupNode>) {
  const { group, index } = data;
  const change = (key: string, value: string) =>
    edit((document) => changeGroup(document, index, { [key]: value }), `group:${index}:${key}`);
  return (
    <section
      className={`group-frame${selected ? " selected" : ""}`}
      style={group.color ? ({ "--tint": group.color } as React.CSSProperties) : undefined}
      data-testid={`group-${index}`}
      aria-label={group.title || text.newGroup}
    >
      <header>
        <input
          className="nodrag"
          value={group.title ?? ""}
          placeholder={text.newGroup}
          aria-label={text.groupTitle}
          onChange={(event) => change("title", event.target.value)}
          onKeyDown={(event) => event.stopPropagation()}
        />
        {selected && (
          <input
            type="color"
            className="nodrag"
            value={group.color || "#7c8797"}
            aria-label={text.groupColor}
            onChange={(event) => change("color", event.target.value)}
          />
        )}
      </header>
    </section>
  );
});
