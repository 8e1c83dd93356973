import { RotateCcw } from "lucide-react";
import { memo } from "react";
import { DocstringText } from "../components/DocstringText";
import { Plug, useIsWired } from "../components/Socket";
import { nodesOf, setField } from "../graph/document";
import { type FieldSpec, faultOf, fieldSocketOf, type NodeDescription, valueOf } from "../graph/palette";
import { saidThere } from "../graph/sentences";
import { nameWords } from "../graph/socketStyle";
import { currentTab, edit, runId, shownDocument, useEditor } from "../state/editor";
import { useUi } from "../state/ui";
import { text } from "../text/en";
import { controlOf } from "./controls";
import { Widget } from "./Widget";

interface Props {
  node: string;
  field: FieldSpec;
  description: NodeDescription;
  /** On a card there is a plug and little room; in the panel there is the help. */
  place: "card" | "panel";
}

/** A field: name, widget, plug, problem, reset. */
export const FieldRow = memo(function FieldRow({ node, field, description, place }: Props) {
  const fields = useEditor((state) => {
    const tab = currentTab(state);
    return tab && nodesOf(shownDocument(tab))[node]?.fields;
  });
  const problem = useEditor((state) =>
    currentTab(state)?.problems.find((each) => each.node === runId(currentTab(state), node) && isAbout(each.field, field.name)),
  );
  const isWired = useIsWired(node, [field.name], "in");
  const value = valueOf(field, fields);
  const fault = isWired ? null : faultOf(field, value);
  const words = fault ? text.fault(fault) : problem ? saidThere(problem) : "";
  const isSet = fields?.[field.name] !== undefined;
  const id = `${place}-${node}-${field.name}`;
  const change = (next: unknown) => edit((document) => setField(document, node, field.name, next), `field:${node}.${field.name}`);
  const { shape = "" } = controlOf(field);
  return (
    <div
      className={`field ${shape} ${words ? "invalid" : ""}`}
      data-testid={place === "card" ? `field-${node}-${field.name}` : undefined}
    >
      {place === "card" && <FieldPlug node={node} field={field} description={description} isWired={isWired} />}
      <label htmlFor={id} title={field.help}>
        {nameWords(field.name)}
      </label>
      {isWired ? (
        <span className="from-wire">{text.fromWire}</span>
      ) : (
        <Widget
          id={id}
          node={node}
          field={field}
          value={value}
          change={change}
          describedBy={words ? `${id}-problem` : undefined}
        />
      )}
      {place === "panel" && isSet && !isWired && (
        <button
          type="button"
          className="icon reset"
          aria-label={text.reset(nameWords(field.name))}
          title={text.resetTo(field.default)}
          onClick={() => change(undefined)}
        >
          <RotateCcw size={13} aria-hidden />
        </button>
      )}
      {words && (
        <p className="problem" id={`${id}-problem`} role="status">
          {words}
        </p>
      )}
      {place === "panel" && field.help && (
        <p className="help">
          <DocstringText of={field.help} />
        </p>
      )}
    </div>
  );
});

const isAbout = (place: string, name: string) => place === name || place.startsWith(`${name}.`);

/** The socket of a field: shown when it is wired, or while a fitting wire is dragged. */
function FieldPlug({
  node,
  field,
  description,
  isWired,
}: {
  node: string;
  field: FieldSpec;
  description: NodeDescription;
  isWired: boolean;
}) {
  const socket = fieldSocketOf(description, field.name);
  const isWiring = useUi((state) => state.wiring?.isOutput ?? false);
  if (!socket || socket.refuses || socket.accepts.length === 0) return null;
  return (
    <span className={`field-plug ${isWired || isWiring ? "shown" : ""}`}>
      <Plug node={node} name={field.name} type={socket.type} side="in" isWired={isWired} />
    </span>
  );
}
