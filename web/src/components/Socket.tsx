import { Handle, Position } from "@xyflow/react";
import { memo } from "react";
import type { InputSocket, OutputSocket } from "../api/types";
import { endText, wiresOf } from "../graph/document";
import { nameWords, styleOf, typeWords } from "../graph/socketStyle";
import { verdict } from "../graph/verdicts";
import { currentTab, outerName, shownDocument, useEditor } from "../state/editor";
import { openDialog, useUi } from "../state/ui";
import { view } from "../state/view";
import { text } from "../text/en";

interface Props {
  node: string;
  socket: InputSocket | OutputSocket;
  side: "in" | "out";
  /** Inputs of which one at least must be wired, this one among them. */
  choice?: string[];
}

/** A named place where wires end or begin. */
export const Socket = memo(function Socket({ node, socket, side, choice }: Props) {
  const isRequired = "required" in socket && socket.required;
  const isMany = "many" in socket && socket.many;
  const isWired = useIsWired(node, [socket.name], side);
  const isAnyWired = useIsWired(node, choice ?? [], side);
  const outer = useEditor((state) => outerName(currentTab(state), endText({ node, name: socket.name }), side));
  const isWanting = choice ? !isAnyWired : isRequired && !isWired;
  const name = socket.name === "output" && side === "out" ? typeWords(socket.type) : nameWords(socket.name);
  return (
    <li className={`socket ${side}`} title={choice ? text.oneOf(choice) : typeWords(socket.type)}>
      <Plug node={node} name={socket.name} type={socket.type} side={side} isWired={isWired} />
      {outer && (
        <span className={`boundary ${side}`} title={text.boundary[side]}>
          {nameWords(outer)}
        </span>
      )}
      <span className={isWanting ? "wanting" : ""}>
        {name}
        {isMany && <span className="many"> ×n</span>}
        {side === "in" && !isRequired && (
          <span className="optional"> {choice ? text.oneOfThese(choice.length) : text.optional}</span>
        )}
      </span>
    </li>
  );
});

/** Returns whether one of these sockets has a wire, also across the border of the subgraph that they are in. */
export function useIsWired(node: string, names: string[], side: "in" | "out"): boolean {
  return useEditor((state) => {
    const tab = currentTab(state);
    if (!tab) return false;
    const places = names.map((name) => endText({ node, name }));
    const isHere = wiresOf(shownDocument(tab)).some((wire) => places.includes(side === "in" ? wire.to : wire.from));
    return isHere || places.some((place) => outerName(tab, place, side) !== "");
  });
}

interface PlugProps {
  node: string;
  name: string;
  type: string;
  side: "in" | "out";
  isWired: boolean;
}

/** The handle; while a wire is dragged its look shows whether the wire fits. Enter opens a list of fitting nodes. */
export function Plug({ node, name, type, side, isWired }: PlugProps) {
  const { hue, shape } = styleOf(type);
  const fit = useUi((state) => {
    const from = state.wiring;
    const tab = from && currentTab();
    if (!from || !tab) return "";
    if (from.node === node && from.name === name && from.isOutput === (side === "out")) return "origin";
    if (from.isOutput === (side === "out")) return "unfit";
    const [a, b] = from.isOutput ? [from, { node, name }] : [{ node, name }, from];
    return verdict(shownDocument(tab), useEditor.getState().palette, a, b).fits ? "fit" : "unfit";
  });
  const label =
    side === "in"
      ? text.inputLabel(nameWords(name), typeWords(type), isWired)
      : text.outputLabel(nameWords(name), typeWords(type), isWired);
  return (
    <Handle
      id={name}
      type={side === "in" ? "target" : "source"}
      position={side === "in" ? Position.Left : Position.Right}
      className={`plug shape-${shape} ${isWired ? "wired" : ""} ${fit}`}
      style={{ "--hue": `var(--hue-${hue})` } as React.CSSProperties}
      data-testid={`socket-${side}-${node}-${name}`}
      tabIndex={0}
      role="button"
      aria-label={label}
      onKeyDown={(event) => {
        if (event.key !== "Enter" && event.key !== " ") return;
        event.preventDefault();
        event.stopPropagation();
        const box = view.boxes([node])[node];
        const at: [number, number] = box ? [side === "out" ? box.x + box.width + 72 : box.x - 72, box.y] : view.center();
        openDialog({ kind: "search", request: { at, from: { node, name, isOutput: side === "out" } } });
      }}
    />
  );
}
