import { useEffect } from "react";

/** Let Tab reach the nodes before the wires, which the flow lays out the other way round; the style sheet paints wires below. */
export function useNodesFirst(): void {
  useEffect(() => {
    const viewport = document.querySelector(".react-flow__viewport");
    const wires = viewport?.querySelector(":scope > .react-flow__edges");
    if (wires) viewport?.append(wires);
  }, []);
}
