import { Box, File as FileIcon, Folder, FolderUp, Image } from "lucide-react";
import { useCallback, useEffect, useState } from "react";
import { address, api } from "../api/client";
import type { FileEntry, FileList } from "../api/types";
import { attempt } from "../state/actions";
import { openDialog, toast } from "../state/ui";
import { text } from "../text/en";
import { Frame } from "./Frame";

const MAX_UPLOAD = 2 * 2 ** 30;

interface Props {
  wanted: "workspace-folder" | "workspace-file" | "model";
  start: string;
  choose: (path: string) => void;
}

const ICONS = { folder: Folder, image: Image, model: Box, workflow: FileIcon, file: FileIcon };

/** Goes through the workspace; files dropped here are uploaded into the folder that is shown. */
export function Files({ wanted, start, choose }: Props) {
  const [list, setList] = useState<FileList>();
  const go = useCallback(async (path: string) => {
    const found = await attempt(api.files(path));
    if (found) setList(found);
    return found !== undefined;
  }, []);
  useEffect(() => {
    const folder = wanted === "workspace-file" ? start.split("/").slice(0, -1).join("/") : start;
    api.files(folder).then(setList, () => void go(""));
  }, [go, start, wanted]);
  const take = (path: string) => {
    choose(path);
    openDialog(null);
  };
  const upload = async (chosen: Iterable<File>) => {
    if (!list) return;
    const files = [...chosen];
    let count = 0;
    for (const file of files) {
      if (file.size > MAX_UPLOAD) toast(text.tooLarge(file.name), "error");
      else toast(text.uploading(file.name));
    }
    for (const file of files) if (file.size <= MAX_UPLOAD) if (await attempt(api.upload(list.path, file))) count++;
    if (count > 0) toast(text.uploaded(count));
    await go(list.path);
  };
  if (!list) return null;
  const isFolderWanted = wanted === "workspace-folder";
  return (
    <Frame
      title={wanted === "model" ? text.chooseModel : isFolderWanted ? text.chooseFolder : text.chooseFile}
      kind="files"
      tools={
        <label className="button">
          {text.upload}
          <input type="file" multiple className="hidden" onChange={(event) => void upload(event.target.files ?? [])} />
        </label>
      }
    >
      {/* biome-ignore lint/a11y/noStaticElementInteractions: the button above uploads by keyboard */}
      <div
        className="file-body"
        onDragOver={(event) => event.preventDefault()}
        onDrop={(event) => {
          event.preventDefault();
          event.stopPropagation();
          void upload(event.dataTransfer.files);
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
  wanted: Props["wanted"];
  go: (path: string) => Promise<boolean>;
  take: (path: string) => void;
}

function Row({ entry, wanted, go, take }: RowProps) {
  const Icon = ICONS[entry.kind];
  const isChoice =
    wanted === "model"
      ? entry.kind === "model"
      : wanted === "workspace-file" && entry.kind !== "folder" && entry.kind !== "model";
  const isWay = entry.kind === "folder" || (entry.kind === "model" && wanted === "workspace-folder");
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
