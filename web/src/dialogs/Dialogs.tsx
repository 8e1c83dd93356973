import { Boundary } from "../components/Boundary";
import { type Dialog, openDialog, useUi } from "../state/ui";
import { text } from "../text/en";
import { CommandPalette, FindInGraph, Shortcuts } from "./Commands";
import { DatasetView } from "./DatasetView";
import { Files } from "./Files";
import { Templates, Workflows } from "./Gallery";
import { NewDataSet } from "./NewDataSet";
import { Pictures } from "./Pictures";
import { Conflict, SaveAs } from "./Saving";
import { Search } from "./Search";

const CLOSE = { label: text.close, run: () => openDialog(null) };

/** The dialog that is open, if one is. */
export function Dialogs() {
  const dialog = useUi((state) => state.dialog);
  if (!dialog) return null;
  return (
    <Boundary key={dialog.kind} way={CLOSE}>
      <Shown dialog={dialog} />
    </Boundary>
  );
}

function Shown({ dialog }: { dialog: Dialog }) {
  switch (dialog.kind) {
    case "search":
      return <Search request={dialog.request} />;
    case "commands":
      return <CommandPalette />;
    case "shortcuts":
      return <Shortcuts />;
    case "find":
      return <FindInGraph />;
    case "templates":
      return <Templates />;
    case "workflows":
      return <Workflows />;
    case "saveAs":
      return <SaveAs />;
    case "conflict":
      return <Conflict path={dialog.path} />;
    case "files":
      return <Files {...dialog} />;
    case "newDataSet":
      return <NewDataSet files={dialog.files} use={dialog.use} />;
    case "dataset":
      return <DatasetView node={dialog.node} folder={dialog.folder} />;
    case "pictures":
      return <Pictures request={dialog.request} />;
  }
}
