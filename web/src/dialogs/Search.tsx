import { DocstringText } from "../components/DocstringText";
import { describe } from "../graph/describe";
import { endText, nodesOf } from "../graph/document";
import type { NodeDescription } from "../graph/palette";
import { searchNodes } from "../graph/search";
import { nameWords, styleOf, typeWords } from "../graph/socketStyle";
import { matchingSocket, verdict } from "../graph/verdicts";
import { currentTab, shownDocument, useEditor } from "../state/editor";
import { place, placeNote, replaceWith, wire } from "../state/graphActions";
import { openDialog, type SearchRequest } from "../state/ui";
import { text } from "../text/en";
import { type Choice, Picker } from "./Picker";

/** Finds a node to add, to put in another's place, or to wire to; then also the sockets that are there already. */
export function Search({ request }: { request: SearchRequest }) {
  const palette = useEditor((state) => state.palette);
  const tab = currentTab();
  const document = tab && shownDocument(tab);
  const { from, replace, at } = request;
  const done = (work: () => void) => () => {
    openDialog(null);
    work();
  };
  const fits = (node: NodeDescription) =>
    !from || !document || matchingSocket(document, palette, from, from.isOutput, node.name) !== null;
  const find = (query: string): Choice[] => {
    const nodes = searchNodes(palette, query).filter(fits);
    const choices = nodes.map((node) => ({
      key: node.name,
      label: node.title,
      note: node.category,
      choose: done(() => (replace === undefined ? place(node.name, at, from) : replaceWith(replace, node.name))),
    }));
    const isNoteWanted = !from && replace === undefined && text.note.toLowerCase().startsWith(query.toLowerCase());
    const note = { key: "note", label: text.note, note: text.noteKind, choose: done(() => placeNote(at)) };
    return [...existing(request, query, done), ...choices, ...(isNoteWanted ? [note] : [])];
  };
  const title =
    replace !== undefined
      ? text.replaceTitle(replace)
      : from
        ? text.wireTitle(nameWords(from.name), from.isOutput)
        : text.addTitle;
  return <Picker title={title} placeholder={title} find={find} detail={(key) => <Preview node={palette.get(key)} />} />;
}

/** Sockets on the canvas that a wire from `from` fits. */
function existing({ from }: SearchRequest, query: string, done: (work: () => void) => () => void): Choice[] {
  const [tab, { palette }] = [currentTab(), useEditor.getState()];
  if (!from || !tab) return [];
  const document = shownDocument(tab);
  return Object.keys(nodesOf(document)).flatMap((id) => {
    const description = describe(document, palette, id);
    const sockets = from.isOutput
      ? [...(description?.inputs ?? []), ...(description?.field_sockets ?? [])]
      : (description?.outputs ?? []);
    return sockets.flatMap((socket): Choice[] => {
      const [a, b] = from.isOutput ? [from, { node: id, name: socket.name }] : [{ node: id, name: socket.name }, from];
      const label = endText({ node: id, name: socket.name });
      if (!label.toLowerCase().includes(query.toLowerCase()) || !verdict(document, palette, a, b).fits) return [];
      return [{ key: label, label: `${id} · ${nameWords(socket.name)}`, note: text.isThere, choose: done(() => wire(a, b)) }];
    });
  });
}

function Preview({ node }: { node: NodeDescription | undefined }) {
  if (!node) return null;
  const sockets = [
    ...node.inputs.map((socket) => ({ ...socket, side: "in" })),
    ...node.outputs.map((socket) => ({ ...socket, side: "out" })),
  ];
  return (
    <div className="node-preview">
      <span className="category">{node.category}</span>
      <h3>{node.title}</h3>
      <p>
        <DocstringText of={node.description} />
      </p>
      <ul>
        {sockets.map((socket) => (
          <li key={`${socket.side}${socket.name}`} className={socket.side}>
            <i
              className={`shape-${styleOf(socket.type).shape}`}
              style={{ "--hue": `var(--hue-${styleOf(socket.type).hue})` } as React.CSSProperties}
            />
            {socket.side === "out" ? "→ " : ""}
            {nameWords(socket.name)} <small>{typeWords(socket.type)}</small>
          </li>
        ))}
      </ul>
    </div>
  );
}
