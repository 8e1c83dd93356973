import { Box, File as FileIcon, Folder, FolderUp, Image } from "lucide-react";
import { useCallback, useEffect, useState } from "react";
import { address, api } from "../api/client";
import type { FileEntry, FileList } from "../api/types";
import { UploadButton } from "../components/UploadButton";
import { type Dropped, dataSetOf } from "../graph/dropped";
import { attempt } from "../state/actions";
import { askForDataSet, droppedFiles } from "../state/dropping";
import { kinds } from "../state/facts";
import { type FilesRequest, openDialog } from "../state/ui";
import { upload } from "../state/uploads";
import { text } from "../text/en";
import { Frame } from "./Frame";

const TITLES = {
  "workspace-folder": text.chooseFolder,
  "workspace-file": text.chooseFile,
  "workspace-path": text.chooseFileOrFolder,
  model: text.chooseModel,
};
const ICONS = { folder: Folder, image: Image, model: Box, workflow: FileIcon, file: FileIcon };

/** Goes through the workspace; pictures dropped here become a data set, other files are uploaded into the folder that is shown. */
export function Files({ wanted, start, pictures, choose }: FilesRequest) {
  const [list, setList] = useState<FileList>();
  const go = useCallback(async (path: string) => {
    const found = await attempt(api.files(path));
    if (found) setList(found);
    return found !== undefined;
  }, []);
  useEffect(() => {
    const folder = wanted === "workspace-file" || wanted === "workspace-path" ? start.split("/").slice(0, -1).join("/") : start;
    api.files(folder).then(setList, () => void go(""));
  }, [go, start, wanted]);
  const take = (path: string) => {
    choose(path);
    openDialog(null);
  };
  const put = async (files: Dropped[]) => {
    if (!list) return;
    await upload(files, list.path);
    await go(list.path);
  };
  const receive = (files: Dropped[]) => {
    const isDataSet = pictures !== null && dataSetOf(files, kinds()).pictures > 0 && !list?.path;
    if (isDataSet) askForDataSet(files, pictures);
    else void put(files);
  };
  if (!list) return null;
  const isFolderWanted = wanted === "workspace-folder" || wanted === "workspace-path";
  return (
    <Frame
      title={TITLES[wanted]}
      kind="files"
      tools={
        <>
          {pictures !== null && (
            <>
              <UploadButton label={text.uploadPictures} take={(files) => askForDataSet(files, pictures)} />
              <UploadButton label={text.uploadFolder} isFolder take={(files) => askForDataSet(files, pictures)} />
            </>
          )}
          {(pictures === null || list.path) && <UploadButton label={text.uploadHere} take={(files) => void put(files)} />}
        </>
      }
    >
      {/* biome-ignore lint/a11y/noStaticElementInteractions: the button above uploads by keyboard */}
      <div
        className="file-body"
        onDragOver={(event) => event.preventDefault()}
        onDrop={(event) => {
          event.preventDefault();
          event.stopPropagation();
          void droppedFiles(event.dataTransfer).then(receive);
        }}
      >
        <p className="path">
          <code>/{list.path}</code> {list.images > 0 && <span>{text.pictureCount(list.images)}</span>}
        </p>
        <ul className="rows">
          {list.parent !== null && (
            <li>
              <button type="button" className="row" onClick={() => void go(list.parent ?? "")}>
                <FolderUp size={16} aria-hidden /> <strong>{text.parentFolder}</strong>
              </button>
            </li>
          )}
          {list.entries.map((entry) => (
            <Row key={entry.path} entry={entry} wanted={wanted} go={go} take={take} />
          ))}
        </ul>
        {list.entries.length === 0 && <p className="hint">{text.emptyFolder}</p>}
      </div>
      {isFolderWanted && (
        <div className="buttons">
          <button type="button" className="primary" disabled={!list.path} onClick={() => take(list.path)}>
            {text.useFolder}
          </button>
        </div>
      )}
    </Frame>
  );
}

interface RowProps {
  entry: FileEntry;
  wanted: FilesRequest["wanted"];
  go: (path: string) => Promise<boolean>;
  take: (path: string) => void;
}

function Row({ entry, wanted, go, take }: RowProps) {
  const Icon = ICONS[entry.kind];
  const isFolder = entry.kind === "folder" || (entry.kind === "model" && entry.bytes === 0);
  const isChoice = wanted === "model" ? entry.kind === "model" : wanted !== "workspace-folder" && !isFolder;
  const isWay = isFolder && !isChoice;
  return (
    <li>
      <button
        type="button"
        className="row"
        disabled={!isChoice && !isWay}
        onClick={() => (isChoice ? take(entry.path) : void go(entry.path))}
      >
        {entry.kind === "image" ? (
          <img src={address.content(entry.path, 64)} alt="" loading="lazy" />
        ) : (
          <Icon size={16} aria-hidden />
        )}
        <strong>{entry.name}</strong>
        {entry.kind !== "folder" && entry.bytes > 0 && <small>{text.bytes(entry.bytes)}</small>}
      </button>
    </li>
  );
}
