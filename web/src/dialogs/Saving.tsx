import { useState } from "react";
import { openTheirs, saveAs, saveOver } from "../state/actions";
import { currentTab } from "../state/editor";
import { openDialog } from "../state/ui";
import { text } from "../text/en";
import { Frame } from "./Frame";

/** Asks for the name of a new file. */
export function SaveAs() {
  const [name, setName] = useState(currentTab()?.history.present.name ?? "");
  const isUsable = /^\w[\w .()-]*$/.test(name);
  return (
    <Frame title={text.commands.saveAs} kind="small">
      <form
        onSubmit={(event) => {
          event.preventDefault();
          if (isUsable) void saveAs(name.trim()).then((isSaved) => isSaved && openDialog(null));
        }}
      >
        <label htmlFor="save-name">{text.fileName}</label>
        <input
          id="save-name"
          value={name}
          onChange={(event) => setName(event.target.value)}
          onFocus={(event) => event.target.select()}
          aria-describedby="save-help"
        />
        <p id="save-help" className={isUsable ? "hint" : "problem"}>
          {isUsable ? text.saveHelp : text.badFileName}
        </p>
        <div className="buttons">
          <button type="submit" className="primary" disabled={!isUsable}>
            {text.commands.save}
          </button>
        </div>
      </form>
    </Frame>
  );
}

/** A conflict with another page or program that has written the same file; no choice loses data. */
export function Conflict({ path }: { path: string }) {
  const choose = (work: () => unknown) => () => {
    openDialog(null);
    void work();
  };
  return (
    <Frame title={text.conflictTitle} kind="small">
      <p>{text.conflict(path)}</p>
      <div className="buttons">
        <button type="button" className="primary" onClick={choose(() => openDialog({ kind: "saveAs" }))}>
          {text.saveOther}
        </button>
        <button type="button" onClick={choose(() => openTheirs(path))}>
          {text.seeTheirs}
        </button>
        <button type="button" onClick={choose(() => saveOver(path))}>
          {text.saveOver}
        </button>
      </div>
    </Frame>
  );
}
