import { useEffect, useState } from "react";
import { type Dropped, dataSetOf, freeName, isFolderName } from "../graph/dropped";
import { pictureNodes } from "../state/dropping";
import { kinds } from "../state/facts";
import { type DataSetUse, openDialog } from "../state/ui";
import { DATA_SETS, dataSetNames, makeDataSet } from "../state/uploads";
import { text } from "../text/en";
import { Frame } from "./Frame";

/** Asks what a new data set is called, and which node reads it. */
export function NewDataSet({ files, use }: { files: Dropped[]; use: DataSetUse }) {
  const found = dataSetOf(files, kinds());
  const [name, setName] = useState(found.name);
  const [taken, setTaken] = useState<string[]>([]);
  const nodes = pictureNodes();
  const [node, setNode] = useState(use.node ?? nodes[0] ?? "");
  useEffect(() => {
    dataSetNames().then(
      (names) => {
        setTaken(names);
        setName((typed) => (typed === found.name ? freeName(typed, names) : typed));
      },
      () => undefined, // then the server says so when the upload begins
    );
  }, [found.name]);
  const fault = !isFolderName(name) ? text.badFileName : taken.includes(name) ? text.dataSetTaken(name) : "";
  const isUsable = fault === "" && found.pictures > 0;
  return (
    <Frame title={text.newDataSet(found.pictures)} kind="small">
      <form
        onSubmit={(event) => {
          event.preventDefault();
          if (!isUsable) return;
          openDialog(null);
          void makeDataSet(name, files, { ...use, node: node || null });
        }}
      >
        <label htmlFor="data-set-name">{text.dataSetName}</label>
        <input
          id="data-set-name"
          data-autofocus
          value={name}
          onChange={(event) => setName(event.target.value)}
          onFocus={(event) => event.target.select()}
          aria-describedby="data-set-help"
        />
        <p id="data-set-help" className={fault ? "problem" : "hint"}>
          {fault || text.dataSetHelp(`${DATA_SETS}/${name}`, found.files.length - found.pictures, found.left.length)}
        </p>
        {use.node === null && nodes.length > 0 && (
          <>
            <label htmlFor="data-set-node">{text.dataSetNode}</label>
            <select id="data-set-node" value={node} onChange={(event) => setNode(event.target.value)}>
              {nodes.map((id) => (
                <option key={id}>{id}</option>
              ))}
              <option value="">{text.newNode}</option>
            </select>
          </>
        )}
        <div className="buttons">
          <button type="submit" className="primary" disabled={!isUsable}>
            {text.makeDataSet}
          </button>
        </div>
      </form>
    </Frame>
  );
}
