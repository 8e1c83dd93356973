import { PanelRightClose } from "lucide-react";
import { Part } from "../components/Boundary";
import { prefer, type Side, useUi } from "../state/ui";
import { text } from "../text/en";
import { NodePanel } from "./NodePanel";
import { QueuePanel } from "./QueuePanel";
import { RunPanel } from "./RunPanel";

const SIDES: Side[] = ["node", "run", "queue"];
const PANELS = { node: NodePanel, run: RunPanel, queue: QueuePanel };

/** One panel at the right: the node, the run, or the queue. */
export function SidePanel() {
  const side = useUi((state) => state.side);
  if (!side) return <SideTabs side={null} />;
  const Panel = PANELS[side];
  return (
    <aside className="side-panel" aria-label={text.side[side]}>
      <SideTabs side={side} />
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a scrolling area needs the focus to scroll by keys */}
      <div className="side-body" role="tabpanel" tabIndex={0} aria-label={text.side[side]}>
        <Part key={side}>
          <Panel />
        </Part>
      </div>
    </aside>
  );
}

function SideTabs({ side }: { side: Side | null }) {
  return (
    <div className={`side-tabs${side ? "" : " floating"}`}>
      <div role="tablist" aria-label={text.panels}>
        {SIDES.map((each) => (
          <button key={each} type="button" role="tab" aria-selected={each === side} onClick={() => prefer({ side: each })}>
            {text.side[each]}
          </button>
        ))}
      </div>
      {side && (
        <button
          type="button"
          className="icon"
          aria-label={text.closePanel}
          title={text.closePanel}
          onClick={() => prefer({ side: null })}
        >
          <PanelRightClose size={16} aria-hidden />
        </button>
      )}
    </div>
  );
}
