import type { Problem } from "../api/types";
import { DocstringText } from "../components/DocstringText";
import { FieldRow } from "../fields/FieldRow";
import { describe } from "../graph/describe";
import { changeNode, end, endText, type NodeEntry, nodesOf, renameNode, wireOrders, wiresOf } from "../graph/document";
import { type FieldSpec, fieldsOf, type NodeDescription } from "../graph/palette";
import { saidThere } from "../graph/sentences";
import { typeWords } from "../graph/socketStyle";
import { concerns, currentTab, edit, runId, select, shownDocument, useDocument, useEditor } from "../state/editor";
import { goTo, setMode } from "../state/graphActions";
import { useShownView } from "../state/runs";
import { toast } from "../state/ui";
import { text } from "../text/en";
import { Log } from "./Log";

/** Everything about the selected node; without one, about the whole workflow. */
export function NodePanel() {
  const document = useDocument();
  const selected = useEditor((state) => currentTab(state)?.selected);
  const ids = [...(selected ?? [])].filter((id) => id in nodesOf(document));
  if (ids.length > 1) return <p className="hint">{text.manySelected(ids.length)}</p>;
  return ids[0] === undefined ? <WorkflowFacts /> : <NodeFacts key={ids[0]} id={ids[0]} />;
}

function NodeFacts({ id }: { id: string }) {
  const document = useDocument();
  const palette = useEditor((state) => state.palette);
  const known = useEditor((state) => runId(currentTab(state), id));
  const log = useShownView().log.filter((line) => concerns(line.node, known));
  const entry = nodesOf(document)[id];
  const description = describe(document, palette, id);
  if (!entry) return null;
  const groups = Map.groupBy(description ? fieldsOf(description) : [], (field: FieldSpec) => field.group);
  return (
    <div className="node-panel">
      <h2>{description?.title ?? entry.type}</h2>
      <p className="lead">
        <DocstringText of={description?.description ?? ""} />
      </p>
      <Identity id={id} entry={entry} description={description} />
      {description &&
        [...groups].map(([group, fields]) => (
          <section key={group} className="field-group">
            <h3>{group || text.settings}</h3>
            {fields.map((field) => (
              <FieldRow key={field.name} node={id} field={field} description={description} place="panel" />
            ))}
          </section>
        ))}
      {description && <Sockets id={id} description={description} />}
      {log.length > 0 && <Log lines={log} />}
    </div>
  );
}

interface IdentityProps {
  id: string;
  entry: NodeEntry;
  description: NodeDescription | undefined;
}

function Identity({ id, entry, description }: IdentityProps) {
  return (
    <div className="pair">
      <label htmlFor="panel-title">{text.nodeTitle}</label>
      <input
        id="panel-title"
        value={entry.title ?? ""}
        placeholder={description?.title}
        onChange={(event) => edit((now) => changeNode(now, id, { title: event.target.value }), `title:${id}`)}
      />
      <label htmlFor="panel-id">{text.nodeId}</label>
      <IdInput id={id} />
      <label htmlFor="panel-mode">{text.mode}</label>
      <select id="panel-mode" value={entry.mode ?? "active"} onChange={(event) => setMode([id], event.target.value as "active")}>
        {(["active", "muted", "bypassed"] as const).map((mode) => (
          <option key={mode} value={mode}>
            {text.modes[mode]}
          </option>
        ))}
      </select>
      <label htmlFor="panel-color">{text.color}</label>
      <ColorInput id={id} color={entry.color ?? ""} />
    </div>
  );
}

function IdInput({ id }: { id: string }) {
  const rename = (wanted: string) => {
    const tab = currentTab();
    if (!tab || wanted === id) return;
    if (!/^[\w-]{1,64}$/.test(wanted) || wanted in nodesOf(shownDocument(tab))) return void toast(text.badId(wanted), "warning");
    edit((now) => renameNode(now, id, wanted));
    select([wanted]);
  };
  return (
    <input
      id="panel-id"
      key={id}
      defaultValue={id}
      onBlur={(event) => {
        const wanted = event.target.value.trim();
        event.target.value = id;
        rename(wanted);
      }}
      onKeyDown={(event) => event.key === "Enter" && event.currentTarget.blur()}
    />
  );
}

function ColorInput({ id, color }: { id: string; color: string }) {
  return (
    <span className="with-button">
      <input
        id="panel-color"
        type="color"
        value={color || "#7c8797"}
        onChange={(event) => edit((now) => changeNode(now, id, { color: event.target.value }), `color:${id}`)}
      />
      {color && (
        <button type="button" className="plain" onClick={() => edit((now) => changeNode(now, id, { color: "" }))}>
          {text.noColor}
        </button>
      )}
    </span>
  );
}

function Sockets({ id, description: { inputs, outputs, one_of } }: { id: string; description: NodeDescription }) {
  const wires = wiresOf(useDocument());
  const orders = wireOrders(wires);
  const sourcesInOrder = (name: string) =>
    wires
      .filter((wire) => wire.to === endText({ node: id, name }) && orders.has(wire))
      .map((wire) => `${orders.get(wire)}: ${end(wire.from).node}`);
  if (inputs.length + outputs.length === 0) return null;
  return (
    <section className="field-group">
      <h3>{text.sockets}</h3>
      <dl className="socket-list">
        {inputs.map((socket) => (
          <div key={socket.name}>
            <dt>{socket.name}</dt>
            <dd>
              {typeWords(socket.type)}
              {socket.required ? "" : ` (${optionality(socket.name, one_of)})`}
              {socket.many ? ` (${text.many})` : ""}
              {sourcesInOrder(socket.name).map((line) => (
                <div key={line}>{line}</div>
              ))}
            </dd>
          </div>
        ))}
        {outputs.map((socket) => (
          <div key={`out ${socket.name}`}>
            <dt>→ {socket.name}</dt>
            <dd>{typeWords(socket.type)}</dd>
          </div>
        ))}
      </dl>
    </section>
  );
}

const optionality = (name: string, groups: string[][]) => {
  const group = groups.find((each) => each.includes(name));
  return group ? text.oneOf(group) : text.optional;
};

function WorkflowFacts() {
  const document = useDocument();
  const problems = useEditor((state) => currentTab(state)?.problems ?? NO_PROBLEMS);
  const warnings = useEditor((state) => currentTab(state)?.warnings ?? NO_PROBLEMS);
  const isInside = useEditor((state) => (currentTab(state)?.inside.length ?? 0) > 0); // a subgraph has no description
  return (
    <div className="node-panel">
      <h2>{isInside ? text.newSubgraph : text.workflow}</h2>
      <div className="pair">
        <label htmlFor="workflow-name">{text.name}</label>
        <input
          id="workflow-name"
          value={document.name ?? ""}
          onChange={(event) => edit((now) => ({ ...now, name: event.target.value }), "name")}
        />
      </div>
      {!isInside && (
        <>
          <label htmlFor="workflow-description">{text.description}</label>
          <textarea
            id="workflow-description"
            rows={3}
            value={document.description ?? ""}
            onChange={(event) => edit((now) => ({ ...now, description: event.target.value }), "description")}
          />
        </>
      )}
      <h3>{problems.length > 0 ? text.problems(problems.length) : text.noProblems}</h3>
      <ProblemList problems={problems} />
      {warnings.length > 0 && (
        <>
          <h3>{text.notRunning}</h3>
          <ProblemList problems={warnings} kind="warnings" />
        </>
      )}
      <p className="hint">{text.selectHint}</p>
    </div>
  );
}

function ProblemList({ problems, kind = "" }: { problems: Problem[]; kind?: string }) {
  return (
    <ul className={`problem-list ${kind}`}>
      {problems.map((problem, index) => (
        <li key={index}>
          <button type="button" onClick={() => goTo(problem.node)}>
            {problem.node && <strong>{[problem.node, problem.field].filter(Boolean).join(" · ")}</strong>}
            {saidThere(problem)}
          </button>
        </li>
      ))}
    </ul>
  );
}

const NO_PROBLEMS: never[] = [];
