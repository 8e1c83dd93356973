import { Component, type ReactNode } from "react";
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
import { start } from "./state/sync";
import { text } from "./text/en";

/** Shows that something broke instead of an empty page; drafts are on the server. */
class Boundary extends Component<{ children: ReactNode }, { hasFailed: boolean }> {
  override state = { hasFailed: false };
  static getDerivedStateFromError() {
    return { hasFailed: true };
  }
  override render() {
    if (!this.state.hasFailed) return this.props.children;
    return (
      <div className="crash" role="alert">
        <p>{text.crashed}</p>
        <button type="button" onClick={() => location.reload()}>
          {text.reload}
        </button>
      </div>
    );
  }
}

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
