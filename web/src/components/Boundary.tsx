import { Component, type ReactNode } from "react";
import { text } from "../text/en";

interface Props {
  children: ReactNode;
  /** The action to recover; without it the page is reloaded. */
  way?: { label: string; run: () => void };
}

/** Shows that something broke in the place of what broke; drafts are on the server. */
export class Boundary extends Component<Props, { hasFailed: boolean }> {
  override state = { hasFailed: false };
  static getDerivedStateFromError() {
    return { hasFailed: true };
  }
  override render() {
    if (!this.state.hasFailed) return this.props.children;
    const { way } = this.props;
    const goOn = () => {
      this.setState({ hasFailed: false });
      way?.run();
    };
    return (
      <div className={way ? "crash part" : "crash"} role="alert">
        <p>{way ? text.partCrashed : text.crashed}</p>
        <button type="button" onClick={way ? goOn : () => location.reload()}>
          {way?.label ?? text.reload}
        </button>
      </div>
    );
  }
}

const AGAIN = { label: text.tryAgain, run: () => undefined };

/** A part of the page whose fault leaves the other parts as they are. */
export function Part({ children }: { children: ReactNode }) {
  return <Boundary way={AGAIN}>{children}</Boundary>;
}
