import { Component, type ReactNode } from "react";
import { text } from "./text/en";

/** Shows that something broke instead of an empty page; drafts are on the server. */
export class Boundary extends Component<{ children: ReactNode }, { hasFailed: boolean }> {
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
