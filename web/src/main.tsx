import { createRoot } from "react-dom/client";
import "@fontsource-variable/inter";
import "@xyflow/react/dist/style.css";
import "./style/tokens.css";
import "./style/controls.css";
import "./style/shell.css";
import "./style/canvas.css";
import "./style/panels.css";
import "./style/dialogs.css";
import { App } from "./App";
import { Boundary } from "./components/Boundary";
import { start } from "./state/sync";
import { text } from "./text/en";

const root = createRoot(document.getElementById("root") as HTMLElement);
start().then(
  () =>
    root.render(
      <Boundary>
        <App />
      </Boundary>,
    ),
  () =>
    root.render(
      <div className="crash" role="alert">
        <p>{text.serverAway}</p>
        <button type="button" onClick={() => location.reload()}>
          {text.reload}
        </button>
      </div>,
    ),
);
