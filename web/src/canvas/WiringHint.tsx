import { useConnection, useViewport } from "@xyflow/react";
import { verdict } from "../graph/verdicts";
import { currentTab, shownDocument, useEditor } from "../state/editor";
import { text } from "../text/en";

/** The reason why a socket does not accept the wire that is dragged over it. */
export function WiringHint() {
  const connection = useConnection();
  const tab = currentTab();
  if (!connection.inProgress || !connection.toHandle || !tab) return null;
  const start = { node: connection.fromHandle.nodeId, name: connection.fromHandle.id ?? "" };
  const goal = { node: connection.toHandle.nodeId, name: connection.toHandle.id ?? "" };
  const isForward = connection.fromHandle.type === "source";
  if (connection.toHandle.type === connection.fromHandle.type) return <Hint at={connection.to} words={text.sameSide} />;
  const found = verdict(shownDocument(tab), useEditor.getState().palette, isForward ? start : goal, isForward ? goal : start);
  return found.fits ? null : <Hint at={connection.to} words={text.refusal(found.refusal)} />;
}

function Hint({ at, words }: { at: { x: number; y: number }; words: string }) {
  const { x, y, zoom } = useViewport();
  return (
    <div className="wiring-hint" role="status" style={{ left: at.x * zoom + x + 18, top: at.y * zoom + y + 18 }}>
      {words}
    </div>
  );
}
