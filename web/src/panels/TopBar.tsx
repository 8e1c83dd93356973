import { ChevronDown, Play, Plus, Square, X } from "lucide-react";
import { DropdownMenu } from "radix-ui";
import { cancelShown, closeWithUndo, runCurrent, runToSelected } from "../state/actions";
import { isDirty, openEmpty, showTab, type Tab, useEditor } from "../state/editor";
import { selectedNodes } from "../state/graphActions";
import { isOpen, useRuns, useShownRun, useShownView } from "../state/runs";
import { prefer } from "../state/ui";
import { text } from "../text/en";

/** Tabs on the left, the run on the right. */
export function TopBar() {
  const tabs = useEditor((state) => state.tabs);
  const current = useEditor((state) => state.current);
  return (
    <header className="top-bar">
      <img className="logo" src="/icon.png" alt="Latent Loom" width={24} height={24} />
      <nav className="tabs" aria-label={text.tabs}>
        {tabs.map((tab) => (
          <TabButton key={tab.id} tab={tab} isCurrent={tab.id === current} />
        ))}
      </nav>
      <button type="button" className="icon" aria-label={text.newTab} title={text.newTab} onClick={openEmpty}>
        <Plus size={16} aria-hidden />
      </button>
      <div className="spacer" />
      <Machine />
      <RunButtons />
    </header>
  );
}

function TabButton({ tab, isCurrent }: { tab: Tab; isCurrent: boolean }) {
  const run = useRuns((state) => state.runs[tab.run]);
  const name = tab.history.present.name || text.workflow;
  return (
    <div className={`tab${isCurrent ? " current" : ""}`}>
      <button
        type="button"
        aria-current={isCurrent ? "page" : undefined}
        onClick={() => showTab(tab.id)}
        onAuxClick={(event) => event.button === 1 && closeWithUndo(tab.id)}
      >
        {isOpen(run) && <i className="live" aria-hidden />}
        {name}
        {isDirty(tab) && <span className="dirty" title={text.unsaved} aria-label={text.unsaved} role="img" />}
      </button>
      <button type="button" className="icon" aria-label={text.closeTab(name)} onClick={() => closeWithUndo(tab.id)}>
        <X size={13} aria-hidden />
      </button>
    </div>
  );
}

/** The load of the machine. */
function Machine() {
  const device = useRuns((state) => state.device);
  if (!device) return null;
  const [used, total] = device.gpu_total > 0 ? [device.gpu_used, device.gpu_total] : [device.memory_used, device.memory_total];
  const words = text.device(text.memoryOf(used, total), device.cpu_percent);
  return (
    <div className="machine" title={words}>
      <span className="meter" style={{ "--share": total > 0 ? used / total : 0 } as React.CSSProperties} />
      <span>{text.memoryOf(used, total)}</span>
    </div>
  );
}

function RunButtons() {
  const run = useShownRun();
  const view = useShownView();
  const waiting = useRuns((state) => Object.values(state.runs).filter((each) => each.state === "queued").length);
  const hasSelection = useEditor(() => selectedNodes().length > 0);
  const running = Object.values(view.nodes).find((node) => node.state === "running");
  const isRunning = isOpen(run);
  return (
    <div className="run-buttons">
      {waiting > 0 && (
        <button type="button" className="plain" onClick={() => prefer({ side: "queue" })}>
          {text.queued(waiting)}
        </button>
      )}
      {isRunning && (
        <button type="button" className="stop" onClick={() => void cancelShown()}>
          <Square size={12} aria-hidden fill="currentColor" /> {text.stop}
          {running && running.total > 0 && <span className="percent">{Math.round((100 * running.step) / running.total)} %</span>}
        </button>
      )}
      <div className="split">
        <button type="button" className="primary" onClick={() => void runCurrent()}>
          <Play size={13} aria-hidden fill="currentColor" /> {text.run}
        </button>
        <DropdownMenu.Root>
          <DropdownMenu.Trigger className="primary" aria-label={text.runTo}>
            <ChevronDown size={14} aria-hidden />
          </DropdownMenu.Trigger>
          <DropdownMenu.Portal>
            <DropdownMenu.Content className="menu" align="end" sideOffset={4}>
              <DropdownMenu.Item onSelect={() => void runCurrent()}>{text.run}</DropdownMenu.Item>
              <DropdownMenu.Item disabled={!hasSelection} onSelect={() => void runToSelected()}>
                {text.runTo}
              </DropdownMenu.Item>
            </DropdownMenu.Content>
          </DropdownMenu.Portal>
        </DropdownMenu.Root>
      </div>
    </div>
  );
}
