/** Handling of files dropped on the page: graphs are opened, pictures become a dataset. */

import { nodesOf, type Point } from "../graph/document";
import { type Dropped, isPicture } from "../graph/dropped";
import { embeddedWorkflow } from "../graph/embeddedWorkflow";
import { pictureFolderOf } from "../graph/palette";
import { openFiles } from "./actions";
import { currentTab, shownDocument, useEditor } from "./editor";
import { kinds } from "./facts";
import { openDialog } from "./ui";

/** The files of a drop, with those in folders; hidden ones are left out. */
export async function droppedFiles(data: DataTransfer): Promise<Dropped[]> {
  const items = [...data.items].filter((item) => item.kind === "file");
  const entries = items.map((item) => item.webkitGetAsEntry() ?? item.getAsFile()); // at once: gone when the event is over
  const found = await Promise.all(entries.map((entry) => (entry instanceof File ? [alone(entry)] : entry ? within(entry) : [])));
  return found.flat();
}

const alone = (file: File): Dropped => ({ path: file.name, file });

async function within(entry: FileSystemEntry): Promise<Dropped[]> {
  if (entry.name.startsWith(".")) return [];
  if (entry.isFile) {
    const file = await new Promise<File>((done, failed) => (entry as FileSystemFileEntry).file(done, failed));
    return [{ path: entry.fullPath.replace(/^\//, ""), file }];
  }
  const reader = (entry as FileSystemDirectoryEntry).createReader();
  const found: Dropped[] = [];
  for (let some = await part(reader); some.length > 0; some = await part(reader)) {
    for (const each of some) found.push(...(await within(each)));
  }
  return found;
}

/** The next entries of a folder, about a hundred at a time. */
const part = (reader: FileSystemDirectoryReader) =>
  new Promise<FileSystemEntry[]>((done, failed) => reader.readEntries(done, failed));

/** Take what was dropped on the canvas, on the node `on` if there is one. */
export async function takeDropped(files: Dropped[], at: Point, on: string | null): Promise<void> {
  const node = on !== null && pictureNodes().includes(on) ? on : null;
  if (node === null && !(await makesDataSet(files))) return openFiles(files.map(({ file }) => file));
  askForDataSet(files, node, at);
}

/** Ask for the name of a new data set, and whose folder it is to be. */
export function askForDataSet(files: Dropped[], node: string | null, at: Point = [0, 0]): void {
  const tab = currentTab();
  if (tab) openDialog({ kind: "newDataSet", files, use: { tab: tab.id, node, at } });
}

/** Nodes on the canvas that read a folder of pictures. */
export function pictureNodes(): string[] {
  const [tab, { palette }] = [currentTab(), useEditor.getState()];
  const entries = tab ? Object.entries(nodesOf(shownDocument(tab))) : [];
  return entries.flatMap(([id, { type }]) => {
    const description = palette.get(type);
    return description && pictureFolderOf(description) ? [id] : [];
  });
}

/** Returns whether these are pictures to train on: in a folder, or at least one of them not made by a graph. */
async function makesDataSet(files: Dropped[]): Promise<boolean> {
  const pictures = files.filter((each) => isPicture(each, kinds()));
  if (pictures.some(({ path }) => path.includes("/"))) return true;
  for (const { file } of pictures) if (!(await embeddedWorkflow(file).catch(() => null))) return true;
  return false;
}
