/** Uploads of the user's files into the workspace. */

import { api, Refused } from "../api/client";
import { addNode, setField } from "../graph/document";
import { type Dropped, dataSetOf } from "../graph/dropped";
import { versionOf } from "../graph/palette";
import { text } from "../text/en";
import { edit, select, useEditor } from "./editor";
import { kinds } from "./facts";
import { checkCurrent } from "./sync";
import { type DataSetUse, dismiss, retell, toast } from "./ui";
import { view } from "./view";

const LOADER = "LoadImages";
const MAX_BYTES = 2 * 2 ** 30;
/** The folder of the workspace in which data sets are made. */
export const DATA_SETS = "datasets";

/** Names of the data sets that are there. */
export async function dataSetNames(): Promise<string[]> {
  const top = await api.files("");
  if (!top.entries.some((entry) => entry.path === DATA_SETS)) return [];
  return (await api.files(DATA_SETS)).entries.map((entry) => entry.name);
}

/** Upload pictures and captions into a new folder, and have a node read it. */
export async function makeDataSet(name: string, all: Dropped[], { tab, node, at }: DataSetUse): Promise<void> {
  const { files, left } = dataSetOf(all, kinds());
  const folder = `${DATA_SETS}/${name}`;
  if ((await upload(files, folder, left)) === 0) return;
  let id = node ?? "";
  const loader = useEditor.getState().palette.get(LOADER);
  edit(
    (document) => {
      if (node !== null) return setField(document, node, "folder", folder);
      const [added, made] = addNode(document, { type: LOADER, ...versionOf(loader), fields: { folder }, position: at });
      id = made;
      return added;
    },
    "",
    tab,
  );
  await checkCurrent(); // a node may have waited for this folder
  if (useEditor.getState().current !== tab) return;
  select([id]);
  view.reveal(id);
}

/** Upload files one after the other, with one message that counts; return how many have arrived. */
export async function upload(files: Dropped[], folder: string, left: string[] = []): Promise<number> {
  const message = toast(text.uploading(0, files.length), "busy");
  const failed: [path: string, reason: string][] = [];
  let arrived = 0;
  for (const { path, file } of files) {
    const reason = file.size > MAX_BYTES ? text.tooLarge : await refusal(file, within(folder, path));
    if (reason === null) retell(message, text.uploading(++arrived, files.length), "busy");
    else failed.push([path, reason]);
  }
  if (arrived > 0) retell(message, text.uploaded(arrived, folder), "info");
  else dismiss(message);
  if (failed.length > 0) toast(text.notUploaded(failed.length, grouped(failed)), "error");
  if (left.length > 0) toast(text.leftBehind(left), "warning");
  return arrived;
}

/** One line per reason, with the files that it holds for, unless it names its file itself. */
function grouped(failed: [path: string, reason: string][]): string[] {
  return [...new Set(failed.map(([, reason]) => reason))].map((reason) => {
    const paths = failed.filter(([, each]) => each === reason).map(([path]) => path);
    return paths.every((path) => reason.includes(path.slice(path.lastIndexOf("/") + 1)))
      ? reason
      : text.fileReason(paths, reason);
  });
}

const within = (folder: string, path: string): string => [folder, ...path.split("/").slice(0, -1)].filter(Boolean).join("/");

async function refusal(file: File, folder: string): Promise<string | null> {
  try {
    await api.upload(folder, file);
    return null;
  } catch (error) {
    return error instanceof Refused ? error.message : text.serverAway;
  }
}
