import { ReactFlowProvider } from "@xyflow/react";
import { useEffect } from "react";
import { Canvas } from "./canvas/Canvas";
import { Part } from "./components/Boundary";
import { Dialogs } from "./dialogs/Dialogs";
import { Breadcrumbs } from "./panels/Breadcrumbs";
import { Rail } from "./panels/Rail";
import { SidePanel } from "./panels/SidePanel";
import { Toasts } from "./panels/Toasts";
import { TopBar } from "./panels/TopBar";
import { handleKey } from "./state/commands";
import { droppedFiles, takeDropped } from "./state/dropping";
import { useEditor } from "./state/editor";
import { pasteText } from "./state/graphActions";
import { useUi } from "./state/ui";
import { view } from "./state/view";

/** The whole page. */
export function App() {
  useTheme();
  const tab = useEditor((state) => state.current);
  useEffect(() => {
    const paste = (event: ClipboardEvent) => {
      if ((event.target as HTMLElement).closest("input, textarea") || useUi.getState().dialog) return;
      if (pasteText(event.clipboardData?.getData("text/plain") ?? "")) event.preventDefault();
    };
    // with Ctrl before the canvas, which would take Enter as a click that deselects the node
    const handleEarly = (event: KeyboardEvent) => (event.ctrlKey || event.metaKey) && handleKey(event);
    addEventListener("keydown", handleEarly, true);
    addEventListener("keydown", handleKey);
    addEventListener("paste", paste);
    return () => {
      removeEventListener("keydown", handleEarly, true);
      removeEventListener("keydown", handleKey);
      removeEventListener("paste", paste);
    };
  }, []);
  return (
    <ReactFlowProvider>
      {/* biome-ignore lint/a11y/noStaticElementInteractions: files can be opened by keyboard in the dialog of workflows */}
      <div
        className="app"
        onDragOver={(event) => event.preventDefault()}
        onDrop={(event) => {
          event.preventDefault();
          if (useUi.getState().dialog) return;
          const on = (event.target as Element).closest<HTMLElement>(".react-flow__node")?.dataset.id ?? null;
          const at = view.at({ x: event.clientX, y: event.clientY });
          void droppedFiles(event.dataTransfer).then((files) => takeDropped(files, at, on));
        }}
      >
        <Part>
          <TopBar />
        </Part>
        <Part>
          <Rail />
        </Part>
        <main className="canvas">
          <Breadcrumbs />
          <Part key={tab}>
            <Canvas />
          </Part>
        </main>
        <SidePanel />
        <Part>
          <Toasts />
        </Part>
        <Dialogs />
      </div>
    </ReactFlowProvider>
  );
}

/** Follow the chosen theme, or the system's when none is chosen. */
function useTheme(): void {
  const theme = useUi((state) => state.theme);
  useEffect(() => {
    const media = matchMedia("(prefers-color-scheme: light)");
    const apply = () => {
      document.documentElement.dataset.theme = theme === "system" ? (media.matches ? "light" : "dark") : theme;
    };
    apply();
    media.addEventListener("change", apply);
    return () => media.removeEventListener("change", apply);
  }, [theme]);
}
