/** The class of a node; for a Subgraph node, one made from the nodes inside. */

import { type Document, type End, end, nodesOf, wiresOf } from "./document";
import { fieldSocketOf, fieldsOf, type InputSocket, inputOf, type NodeDescription, outputOf, type Palette } from "./palette";
import { innerDocument, SUBGRAPH, subgraphOf } from "./subgraphUse";

interface Known {
  subgraphs: Document["subgraphs"];
  palette: Palette;
  description: NodeDescription;
}

const known = new WeakMap<object, Known>();

/** The class of a node; undefined when it is unknown. */
export function describe(document: Document, palette: Palette, id: string): NodeDescription | undefined {
  return described(document, palette, id, []);
}

/** Returns the class of a Subgraph node, with the subgraph's inputs and outputs as sockets. */
export function describeSubgraph(document: Document, palette: Palette, id: string): NodeDescription {
  return subgraphDescription(document, palette, id, []);
}

function described(document: Document, palette: Palette, id: string, outer: string[]): NodeDescription | undefined {
  const entry = nodesOf(document)[id];
  return entry?.type === SUBGRAPH ? subgraphDescription(document, palette, id, outer) : palette.get(entry?.type ?? "");
}

/** Returns the same object for the same definitions; a subgraph inside itself (in `outer`) is invalid, and has no sockets there. */
function subgraphDescription(document: Document, palette: Palette, id: string, outer: string[]): NodeDescription {
  const subgraph = subgraphOf(nodesOf(document)[id]) ?? "";
  const definition = document.subgraphs?.[subgraph];
  if (!definition || outer.includes(subgraph)) return blank(definition?.name ?? "");
  const found = known.get(definition);
  if (found && found.subgraphs === document.subgraphs && found.palette === palette) return found.description;
  const inner = innerDocument(document, subgraph);
  const classOf = (node: string) => described(inner, palette, node, [...outer, subgraph]);
  const description: NodeDescription = {
    ...blank(definition.name ?? ""),
    side_effects: Object.keys(nodesOf(inner)).some((node) => classOf(node)?.side_effects),
    inputs: Object.entries(definition.inputs ?? {}).map(([name, text]) => inputSocket(name, end(text), inner, classOf)),
    outputs: Object.entries(definition.outputs ?? {}).map(([name, text]) => {
      const source = classOf(end(text).node);
      return { name, type: (source && outputOf(source, end(text).name)?.type) ?? "" };
    }),
  };
  known.set(definition, { subgraphs: document.subgraphs, palette, description });
  return description;
}

function blank(title: string): NodeDescription {
  return {
    name: SUBGRAPH,
    title: title || SUBGRAPH,
    category: "",
    package: "",
    version: 0,
    schema_version: 1,
    description: "",
    synonyms: [],
    side_effects: false,
    one_of: [],
    inputs: [],
    field_sockets: [],
    outputs: [],
    fields: {},
  };
}

function inputSocket(
  name: string,
  place: End,
  inner: Document,
  classOf: (node: string) => NodeDescription | undefined,
): InputSocket {
  const target = classOf(place.node);
  const socket = target && inputOf(target, place.name);
  const isFed = wiresOf(inner).some((wire) => wire.to === `${place.node}.${place.name}`);
  if (socket) return { ...socket, name, required: socket.required && !isFed };
  const field = target && fieldSocketOf(target, place.name);
  if (!field) return { name, type: "", accepts: [], many: false, required: false };
  const spec = fieldsOf(target).find((each) => each.name === place.name);
  const isSet = nodesOf(inner)[place.node]?.fields?.[place.name] !== undefined;
  return {
    name,
    type: field.type,
    accepts: field.refuses ? [] : field.accepts,
    many: false,
    required: !!spec?.required && !isSet,
  };
}
