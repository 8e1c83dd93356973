/** Translates the document into React Flow's nodes and edges, keeping every object that did not change. */

import { type Edge, type Node, type NodeHandle, Position } from "@xyflow/react";
import { describe } from "../graph/describe";
import type { Group, NodeEntry, Note, Wire } from "../graph/document";
import { type Document, groupsOf, NODE_WIDTH, nodesOf, notesOf, wireOrders, wiresOf } from "../graph/document";
import { type NodeDescription, outputOf, type Palette } from "../graph/palette";
import { pushed } from "../graph/push";
import { estimatedHeight, estimatedSockets, type Spot } from "../graph/size";
import { styleOf } from "../graph/socketStyle";
import { SUBGRAPH } from "../graph/subgraph";
import { wireId } from "../state/graphActions";

export type CardNode = Node<{ entry: NodeEntry; description: NodeDescription | undefined }, "card">;
export type NoteNode = Node<{ note: Note; index: number }, "note">;
export type GroupNode = Node<{ group: Group; index: number }, "group">;
export type FlowNode = CardNode | NoteNode | GroupNode;
/** `order`: which of several wires at one input it is, such as `a`; empty where there is one. */
export type WireEdge = Edge<{ wire: Wire; hue: number; order: string }, "wire">;

const PLUG = 12;
const GROUP_PADDING = 24;
const GROUP_TITLE = 40;

/** Nodes as React Flow wants them; `before` supplies measured sizes and unchanged objects. */
export function flowNodes(
  document: Document,
  palette: Palette,
  selected: ReadonlySet<string>,
  before: readonly FlowNode[],
): FlowNode[] {
  const old = new Map(before.map((node) => [node.id, node]));
  let column = 0;
  const cards = Object.entries(nodesOf(document)).map(([id, entry]): FlowNode => {
    const previous = old.get(id) as CardNode | undefined;
    const isSelected = selected.has(id);
    const isSubgraph = entry.type === SUBGRAPH;
    if (previous?.data.entry === entry && !isSubgraph) {
      return previous.selected === isSelected ? previous : { ...previous, selected: isSelected };
    }
    const description = describe(document, palette, id);
    const [x, y] = entry.position ?? [column++ * (NODE_WIDTH + 48), 0];
    const width = entry.size?.[0] ?? NODE_WIDTH;
    const initialHeight = estimatedHeight(description, entry);
    const data = { entry, description };
    // React Flow mounts every node without known sockets to measure them: a thousand cards at once
    const handles = previous ? undefined : estimatedSockets(description).map((spot) => handle(spot, width));
    return {
      ...previous,
      id,
      type: "card",
      position: { x, y },
      data,
      width,
      initialHeight,
      handles,
      selected: isSelected,
    } as CardNode;
  });
  return [...noteNodes(notesOf(document), selected, old), ...cards];
}

function handle({ id, type, y }: Spot, width: number): NodeHandle {
  const isInput = type === "target";
  const x = (isInput ? 0 : width) - PLUG / 2;
  return { id, type, position: isInput ? Position.Left : Position.Right, x, y: y - PLUG / 2, width: PLUG, height: PLUG };
}

function noteNodes(notes: Note[], selected: ReadonlySet<string>, old: Map<string, FlowNode>): NoteNode[] {
  return notes.map((note, index) => {
    const id = `note:${index}`;
    const previous = old.get(id) as NoteNode | undefined;
    const isSelected = selected.has(id);
    if (previous?.data.note === note) return previous.selected === isSelected ? previous : { ...previous, selected: isSelected };
    const [x, y] = note.position ?? [0, 0];
    const [width, height] = note.size ?? [280, 140];
    return {
      ...previous,
      id,
      type: "note",
      position: { x, y },
      width,
      height,
      data: { note, index },
      selected: isSelected,
      zIndex: -1,
    } as NoteNode;
  });
}

/** Frames around the nodes of each group, wherever those are now. */
export function groupNodes(document: Document, nodes: readonly FlowNode[], selected: ReadonlySet<string>): GroupNode[] {
  const groups = groupsOf(document);
  if (groups.length === 0) return [];
  const byId = new Map(nodes.map((node) => [node.id, node]));
  return groups.map((group, index) => {
    const boxes = (group.nodes ?? []).flatMap((id) => {
      const node = byId.get(id);
      return node ? [{ x: node.position.x, y: node.position.y, ...sizeOf(node) }] : [];
    });
    const left = Math.min(...boxes.map((box) => box.x)) - GROUP_PADDING;
    const top = Math.min(...boxes.map((box) => box.y)) - GROUP_PADDING - GROUP_TITLE;
    const right = Math.max(...boxes.map((box) => box.x + box.width)) + GROUP_PADDING;
    const bottom = Math.max(...boxes.map((box) => box.y + box.height)) + GROUP_PADDING;
    const isEmpty = boxes.length === 0;
    const [x, y] = isEmpty ? (group.position ?? [0, 0]) : [left, top];
    const [width, height] = isEmpty ? (group.size ?? [240, 120]) : [right - left, bottom - top];
    const id = `group:${index}`;
    return {
      id,
      type: "group",
      position: { x, y },
      width,
      height,
      data: { group, index },
      selected: selected.has(id),
      zIndex: -2,
    };
  });
}

/** The nodes where they are shown: pushed down by results that grow above them. */
export function shownNodes(nodes: FlowNode[]): FlowNode[] {
  const cards = nodes.map((node) => {
    const { width, height } = sizeOf(node);
    const usual = node.type === "card" ? estimatedHeight(node.data.description, node.data.entry) : height;
    return { id: node.id, ...node.position, width, height, usual, isHeld: node.dragging ?? false };
  });
  const shifts = pushed(cards);
  if (shifts.size === 0) return nodes;
  return nodes.map((node) => {
    const shift = shifts.get(node.id);
    return shift ? { ...node, position: { x: node.position.x, y: node.position.y + shift } } : node;
  });
}

export function sizeOf(node: FlowNode): { width: number; height: number } {
  return { width: node.measured?.width ?? node.width ?? NODE_WIDTH, height: node.measured?.height ?? node.initialHeight ?? 120 };
}

const edges = new WeakMap<Wire, WireEdge>();

export function flowEdges(document: Document, palette: Palette, selected: ReadonlySet<string>): WireEdge[] {
  const orders = wireOrders(wiresOf(document));
  return wiresOf(document).map((wire) => {
    const id = wireId(wire);
    const order = orders.get(wire) ?? "";
    const [source, sourceHandle] = split(wire.from);
    const [target, targetHandle] = split(wire.to);
    const description = describe(document, palette, source);
    const hue = styleOf((description && outputOf(description, sourceHandle)?.type) ?? "").hue;
    const isSelected = selected.has(id);
    const previous = edges.get(wire);
    if (previous && previous.selected === isSelected && previous.data?.hue === hue && previous.data.order === order)
      return previous;
    const edge: WireEdge = {
      id,
      type: "wire",
      source,
      sourceHandle,
      target,
      targetHandle,
      data: { wire, hue, order },
      selected: isSelected,
    };
    edges.set(wire, edge);
    return edge;
  });
}

function split(text: string): [string, string] {
  const dot = text.indexOf(".");
  return [text.slice(0, dot), text.slice(dot + 1)];
}
