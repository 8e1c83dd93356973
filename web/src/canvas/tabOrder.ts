import { useEffect } from "react";

/** Put nodes before wires in the tab order; React Flow has the reverse order, and the style sheet paints wires below. */
export function useNodesFirst(): void {
  useEffect(() => {
    const viewport = document.querySelector(".react-flow__viewport");
    const wires = viewport?.querySelector(":scope > .react-flow__edges");
    if (wires) viewport?.append(wires);
  }, []);
}
