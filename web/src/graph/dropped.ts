/** Dropped files, alone or in folders, and the dataset made from them. */

export interface Dropped {
  /** Its name, after those of the folders that came with it. */
  path: string;
  file: File;
}

/** Ends of names, such as `.png`, of what can be uploaded. */
export interface Kinds {
  pictures: string[];
  texts: string[];
}

const ending = (path: string): string => path.slice(path.lastIndexOf(".")).toLowerCase();

export const isPicture = ({ path }: Dropped, kinds: Kinds): boolean => kinds.pictures.includes(ending(path));

/** A data set that is to be: its pictures, and the captions that go along. */
export interface NewDataSet {
  name: string;
  files: Dropped[];
  pictures: number;
  /** Files that are neither pictures nor texts. */
  left: string[];
}

/** Returns the files that can be uploaded, without hidden ones; one folder around all of them gives the name and is removed. */
export function dataSetOf(all: Dropped[], kinds: Kinds): NewDataSet {
  const tops = new Set(all.map(({ path }) => (path.includes("/") ? path.slice(0, path.indexOf("/")) : "")));
  const [top = ""] = tops.size === 1 ? tops : [];
  const unpacked = top ? all.map(({ path, file }) => ({ path: path.slice(top.length + 1), file })) : all;
  const inside = unpacked.filter(({ path }) => !path.split("/").some((part) => part.startsWith("."))); // as macOS leaves them
  const isWanted = ({ path }: Dropped) => [...kinds.pictures, ...kinds.texts].includes(ending(path));
  const files = inside.filter(isWanted);
  return {
    name: plainName(top) || "pictures",
    files,
    pictures: files.filter((each) => isPicture(each, kinds)).length,
    left: inside.filter((each) => !isWanted(each)).map(({ path }) => path),
  };
}

/** A name as a folder that every system can keep. */
function plainName(name: string): string {
  return name
    .replace(/[^\p{L}\p{N} ._-]+/gu, "-")
    .replace(/^[ .~-]+|[ .]+$/g, "")
    .slice(0, 60);
}

export const isFolderName = (name: string): boolean => name !== "" && plainName(name) === name;

/** The name itself, or the next one that is free. */
export function freeName(name: string, taken: string[]): string {
  const known = new Set(taken.map((each) => each.toLowerCase()));
  let free = name;
  for (let number = 2; known.has(free.toLowerCase()); number++) free = `${name}-${number}`;
  return free;
}
