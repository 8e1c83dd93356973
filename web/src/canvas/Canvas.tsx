import {
  applyNodeChanges,
  Background,
  BackgroundVariant,
  type Connection,
  type EdgeChange,
  type FinalConnectionState,
  getViewportForBounds,
  MiniMap,
  type NodeChange,
  ReactFlow,
  SelectionMode,
  useReactFlow,
  useStore,
  type Viewport,
} from "@xyflow/react";
import { useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from "react";
import { changeNode, changeNote, end, nodesOf, type Point, wiresOf } from "../graph/document";
import { SUBGRAPH } from "../graph/subgraph";
import { verdict } from "../graph/verdicts";
import { currentTab, edit, enter, select, shownDocument, useDocument, useEditor } from "../state/editor";
import { wire as layWire } from "../state/graphActions";
import { openDialog, setWiring, useUi } from "../state/ui";
import { setView, view } from "../state/view";
import { text } from "../text/en";
import { Empty } from "./Empty";
import { type FlowNode, flowEdges, flowNodes, groupNodes, shownNodes, sizeOf, type WireEdge } from "./flow";
import { GroupFrame } from "./GroupFrame";
import { NodeCard } from "./NodeCard";
import { NoteCard } from "./NoteCard";
import { useNodesFirst } from "./tabOrder";
import { Wire } from "./Wire";
import { WiringHint } from "./WiringHint";
import { ZoomedOut } from "./ZoomedOut";
import { ZOOMED_OUT_BELOW, ZoomedOutContext } from "./zoomedOutContext";

const NODE_TYPES = { card: NodeCard, note: NoteCard, group: GroupFrame };
const EDGE_TYPES = { wire: Wire };
const NO_EDGES: WireEdge[] = [];
const NONE: ReadonlySet<string> = new Set();
const MIN_ZOOM = 0.05;
const SNAP: [number, number] = [8, 8];

export function Canvas() {
  const document = useDocument();
  const palette = useEditor((state) => state.palette);
  const place = useEditor((state) => [state.current, ...(currentTab(state)?.inside ?? [])].join(" "));
  const selected = useEditor((state) => currentTab(state)?.selected ?? NONE);
  const selectedWires = useEditor((state) => currentTab(state)?.selectedWires ?? NONE);
  const isZoomedOut = useStore((state) => state.transform[2] < ZOOMED_OUT_BELOW);
  const minimap = useUi((state) => state.minimap && state.wiring === null); // it would swallow a wire that is dropped on it
  const [nodes, setNodes] = useState<FlowNode[]>([]);
  const flow = useReactFlow<FlowNode, WireEdge>();

  useEffect(() => {
    setNodes((before) => flowNodes(document, palette, selected, before));
  }, [document, palette, selected]);
  const shown = useMemo(() => shownNodes(nodes), [nodes]);
  const groups = useMemo(() => groupNodes(document, shown, selected), [document, shown, selected]);
  const all = useMemo(() => (groups.length > 0 ? [...groups, ...shown] : shown), [groups, shown]);
  const edges = useMemo(() => flowEdges(document, palette, selectedWires), [document, palette, selectedWires]);
  useFitOnOpen(place, shown);
  useNodesFirst();
  useView(shown, flow);

  const onNodesChange = useCallback(
    (changes: NodeChange<FlowNode>[]) => {
      const moves = withGroupMembers(changes, groups, shown);
      setNodes((before) => withoutEstimates(applyNodeChanges(moves, before), moves));
      commitSelection(changes, []);
      commitMoves(moves);
    },
    [groups, shown],
  );
  const onEdgesChange = useCallback((changes: EdgeChange<WireEdge>[]) => commitSelection([], changes), []);
  const wiring = useWiring(flow.screenToFlowPosition);

  return (
    <ZoomedOutContext value={isZoomedOut}>
      <ReactFlow<FlowNode, WireEdge>
        id="canvas"
        nodes={all}
        edges={isZoomedOut ? NO_EDGES : edges}
        nodeTypes={NODE_TYPES}
        edgeTypes={EDGE_TYPES}
        onNodesChange={onNodesChange}
        onEdgesChange={onEdgesChange}
        {...wiring}
        onDoubleClick={(event) => {
          if (!(event.target as Element).classList.contains("react-flow__pane")) return;
          const at = flow.screenToFlowPosition({ x: event.clientX, y: event.clientY });
          openDialog({ kind: "search", request: { at: [at.x, at.y] } });
        }}
        onNodeDoubleClick={(_, node) => {
          if (node.type === "card" && node.data.entry.type === SUBGRAPH) enter(node.id);
        }}
        onlyRenderVisibleElements={!isZoomedOut}
        deleteKeyCode={null}
        panActivationKeyCode={null}
        selectionKeyCode="Shift"
        multiSelectionKeyCode={["Meta", "Control", "Shift"]}
        selectionMode={SelectionMode.Partial}
        zoomOnDoubleClick={false}
        minZoom={MIN_ZOOM}
        maxZoom={2}
        snapToGrid
        snapGrid={SNAP}
        connectionRadius={28}
        nodeDragThreshold={3}
        elevateNodesOnSelect={false}
        proOptions={{ hideAttribution: false }}
        ariaLabelConfig={text.flow}
        disableKeyboardA11y={false}
      >
        <Background variant={BackgroundVariant.Dots} gap={24} size={1.5} />
        {isZoomedOut && <ZoomedOut edges={edges} nodes={shown} />}
        {minimap && nodes.length > 0 && <MiniMap pannable zoomable ariaLabel={text.minimap} nodeBorderRadius={6} />}
        <WiringHint />
      </ReactFlow>
      {Object.keys(nodesOf(document)).length === 0 && <Empty />}
    </ZoomedOutContext>
  );
}

/** Once the browser has measured a node, its estimated sockets give way to the real ones. */
function withoutEstimates(nodes: FlowNode[], changes: NodeChange<FlowNode>[]): FlowNode[] {
  const measured = new Set(changes.flatMap((change) => (change.type === "dimensions" ? [change.id] : [])));
  return measured.size === 0 ? nodes : nodes.map((node) => (measured.has(node.id) ? { ...node, handles: undefined } : node));
}

/** Moving a group's frame moves what is in it. */
function withGroupMembers(changes: NodeChange<FlowNode>[], groups: FlowNode[], shown: FlowNode[]): NodeChange<FlowNode>[] {
  const moved = changes.flatMap((change) => {
    const group = change.type === "position" && change.position && groups.find((each) => each.id === change.id);
    return group && group.type === "group" && change.type === "position" && change.position ? [{ group, change }] : [];
  });
  if (moved.length === 0) return changes;
  const already = new Set(changes.map((change) => ("id" in change ? change.id : "")));
  const members = moved.flatMap(({ group, change }) =>
    (group.data.group.nodes ?? []).flatMap((id): NodeChange<FlowNode>[] => {
      const to = change.position;
      const place = shown.find((node) => node.id === id)?.position;
      if (!place || !to || already.has(id)) return [];
      const start = groupStart.get(group.id) ?? { group: group.position, members: new Map<string, Point>() };
      groupStart.set(group.id, start);
      const from = start.members.get(id) ?? [place.x, place.y];
      start.members.set(id, from);
      const position = { x: from[0] + to.x - start.group.x, y: from[1] + to.y - start.group.y };
      return [{ id, type: "position", position, dragging: change.dragging ?? false }];
    }),
  );
  for (const { group, change } of moved) if (!change.dragging) groupStart.delete(group.id);
  return [...changes.filter((change) => !("id" in change) || !change.id.startsWith("group:")), ...members];
}

const groupStart = new Map<string, { group: { x: number; y: number }; members: Map<string, Point> }>();

/** Write positions and note sizes into the document once a movement has ended. */
function commitMoves(changes: NodeChange<FlowNode>[]): void {
  const done = changes.filter((change) => change.type === "position" && !change.dragging && change.position !== undefined);
  const sized = changes.filter((change) => change.type === "dimensions" && change.resizing === false);
  if (done.length + sized.length === 0) return;
  edit((document) => {
    let changed = document;
    for (const change of done) {
      if (change.type !== "position" || !change.position) continue;
      const position: Point = [Math.round(change.position.x), Math.round(change.position.y)];
      if (change.id.startsWith("note:")) changed = changeNote(changed, Number(change.id.slice(5)), { position });
      else if (!samePoint(nodesOf(changed)[change.id]?.position, position))
        changed = changeNode(changed, change.id, { position });
    }
    for (const change of sized) {
      if (change.type !== "dimensions" || !change.dimensions) continue;
      const size: Point = [Math.round(change.dimensions.width), Math.round(change.dimensions.height)];
      if (change.id.startsWith("note:")) changed = changeNote(changed, Number(change.id.slice(5)), { size });
      else changed = changeNode(changed, change.id, { size });
    }
    return changed;
  });
}

const samePoint = (a: Point | null | undefined, b: Point) => a?.[0] === b[0] && a?.[1] === b[1];

function commitSelection(nodes: NodeChange<FlowNode>[], wires: EdgeChange<WireEdge>[]): void {
  const tab = currentTab();
  const changes = [...nodes, ...wires].filter((change) => change.type === "select");
  if (!tab || changes.length === 0) return;
  const [chosen, chosenWires] = [new Set(tab.selected), new Set(tab.selectedWires)];
  for (const change of changes) {
    if (change.type !== "select") continue;
    const set = change.id.includes(">") ? chosenWires : chosen;
    if (change.selected) set.add(change.id);
    else set.delete(change.id);
  }
  select(chosen, chosenWires);
  if (chosen.size > 0) getSelection()?.removeAllRanges(); // the next copy is one of nodes, not of text marked before
}

/** Drawing, dropping and re-plugging wires. */
function useWiring(toFlow: (point: { x: number; y: number }) => { x: number; y: number }) {
  return useMemo(() => {
    const ends = (connection: Connection | WireEdge) => ({
      from: { node: connection.source, name: connection.sourceHandle ?? "" },
      to: { node: connection.target, name: connection.targetHandle ?? "" },
    });
    const isValidConnection = (connection: Connection | WireEdge) => {
      const tab = currentTab();
      const { from, to } = ends(connection);
      return tab !== undefined && verdict(shownDocument(tab), useEditor.getState().palette, from, to).fits;
    };
    const dropped = (event: MouseEvent | TouchEvent, state: FinalConnectionState) => {
      setWiring(null);
      const place = "changedTouches" in event ? event.changedTouches[0] : event;
      if (state.toHandle || state.isValid || !state.fromHandle || !place) return;
      const isOnPane = (event.target as Element).closest(".react-flow__pane") !== null;
      if (!isOnPane) return;
      const at = toFlow({ x: place.clientX, y: place.clientY });
      const { nodeId, id, type } = state.fromHandle;
      const isOutput = type === "source";
      openDialog({ kind: "search", request: { at: [at.x, at.y], from: { node: nodeId, name: id ?? "", isOutput } } });
    };
    return {
      isValidConnection,
      onConnectStart: (
        _: unknown,
        { nodeId, handleId, handleType }: { nodeId: string | null; handleId: string | null; handleType: string | null },
      ) => setWiring({ node: nodeId ?? "", name: handleId ?? "", isOutput: handleType === "source" }),
      onConnect: (connection: Connection) => {
        const { from, to } = ends(connection);
        layWire(from, to);
      },
      onConnectEnd: dropped,
      onReconnect: (edge: WireEdge, connection: Connection) => {
        const { from, to } = ends(connection);
        edit((document) => ({
          ...document,
          wires: wiresOf(document).filter((each) => each !== edge.data?.wire),
        }));
        layWire(from, to);
      },
    };
  }, [toFlow]);
}

/** The last viewport of each document and subgraph; the canvas is unmounted when its tab is hidden. */
const views = new Map<string, Viewport>();

/** Show what is opened for the first time as a whole, and anything else as it was left. */
function useFitOnOpen(place: string, nodes: FlowNode[]): void {
  const { getViewport, setViewport } = useReactFlow();
  const shown = useRef("");
  const newest = useRef(nodes);
  newest.current = nodes;
  const hasNodes = nodes.length > 0;
  // in the layout phase: later the flow has forgotten its view
  useLayoutEffect(() => {
    return hasNodes ? () => void views.set(place, getViewport()) : undefined;
  }, [place, hasNodes, getViewport]);
  useEffect(() => {
    if (!hasNodes || shown.current === place) return;
    shown.current = place;
    const fit = () => void setViewport(views.get(place) ?? viewportFor(newest.current, 0.12));
    requestAnimationFrame(() => requestAnimationFrame(fit)); // after the place's own nodes have come
  }, [place, hasNodes, setViewport]);
}

/** The view that shows these nodes, no larger than life; one that was never on the screen counts with its estimated size. */
function viewportFor(nodes: FlowNode[], padding: number): { x: number; y: number; zoom: number } {
  const pane = window.document.querySelector(".react-flow")?.getBoundingClientRect();
  const [x, y] = [Math.min(...nodes.map((node) => node.position.x)), Math.min(...nodes.map((node) => node.position.y))];
  const width = Math.max(...nodes.map((node) => node.position.x + sizeOf(node).width)) - x;
  const height = Math.max(...nodes.map((node) => node.position.y + sizeOf(node).height)) - y;
  return getViewportForBounds({ x, y, width, height }, pane?.width ?? 1, pane?.height ?? 1, MIN_ZOOM, 1, padding);
}

function useView(nodes: FlowNode[], flow: ReturnType<typeof useReactFlow<FlowNode, WireEdge>>): void {
  const awaited = useRef<string | null>(null); // a node that is to be revealed once it is here
  useEffect(() => {
    const byId = new Map(nodes.map((node) => [node.id, node]));
    const box = (id: string) => {
      const node = byId.get(id);
      return node && { x: node.position.x, y: node.position.y, ...sizeOf(node) };
    };
    setView({
      center: () => {
        const pane = window.document.querySelector(".react-flow")?.getBoundingClientRect();
        const at = flow.screenToFlowPosition({
          x: (pane?.left ?? 0) + (pane?.width ?? 0) / 2 - 136,
          y: (pane?.top ?? 0) + (pane?.height ?? 0) / 2 - 80,
        });
        return [at.x, at.y];
      },
      at: (point) => {
        const { x, y } = flow.screenToFlowPosition(point);
        return [Math.round(x), Math.round(y)];
      },
      boxes: (ids) =>
        Object.fromEntries(ids.flatMap((id) => (box(id) ? [[id, box(id) as NonNullable<ReturnType<typeof box>>]] : []))),
      fit: () => void flow.setViewport(viewportFor(nodes, 0.12), { duration: 200 }),
      zoom: (factor) => void flow.zoomTo(flow.getZoom() * factor, { duration: 120 }),
      show: (id) => {
        select([id]);
        const node = byId.get(id);
        if (node) void flow.setViewport(viewportFor([node], 0.6), { duration: 250 });
      },
      reveal: (id) => {
        const node = box(id);
        awaited.current = node ? null : id;
        const pane = window.document.querySelector(".react-flow")?.getBoundingClientRect();
        if (!node || !pane) return;
        const [x, y, zoom] = [flow.getViewport().x, flow.getViewport().y, flow.getZoom()];
        const [left, top] = [node.x * zoom + x, node.y * zoom + y];
        const isInView =
          left >= 0 && top >= 0 && left + node.width * zoom <= pane.width && top + node.height * zoom <= pane.height;
        if (!isInView) void flow.setCenter(node.x + node.width / 2, node.y + node.height / 2, { zoom, duration: 200 });
        const focus = () => {
          if (window.document.activeElement !== window.document.body) return; // the person has gone on already
          window.document.querySelector<HTMLElement>(`.react-flow__node[data-id="${id}"]`)?.focus({ preventScroll: true });
        };
        setTimeout(focus, isInView ? 50 : 250); // after it is drawn, and the view has glided to it
      },
      middleOf: (wire) => {
        const [a, b] = [box(end(wire.from).node), box(end(wire.to).node)];
        if (!a || !b) return [0, 0];
        return [Math.round((a.x + a.width + b.x) / 2), Math.round((a.y + b.y) / 2 + 32)];
      },
    });
    if (awaited.current !== null) view.reveal(awaited.current);
  }, [nodes, flow]);
}
