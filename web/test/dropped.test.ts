import { expect, test } from "vitest";
import { dataSetOf, freeName, isFolderName } from "../src/graph/dropped";

const KINDS = { pictures: [".png", ".jpg"], texts: [".txt"] };
const dropped = (...paths: string[]) => paths.map((path) => ({ path, file: new File([], path.split("/").at(-1) ?? "") }));
const paths = (all: string[]) => dataSetOf(dropped(...all), KINDS).files.map(({ path }) => path);

test("a folder gives the name, and what lies in its folders stays there", () => {
  const made = dataSetOf(
    dropped("my cats/a.PNG", "my cats/10_tabby/b.jpg", "my cats/10_tabby/b.txt", "my cats/Thumbs.db"),
    KINDS,
  );
  expect(made).toMatchObject({ name: "my cats", pictures: 2, left: ["Thumbs.db"] });
  expect(made.files.map(({ path }) => path)).toEqual(["a.PNG", "10_tabby/b.jpg", "10_tabby/b.txt"]);
});

test("files alone, and several folders, keep their paths under a name of their own", () => {
  expect(dataSetOf(dropped("a.png", "a.txt"), KINDS)).toMatchObject({ name: "pictures", pictures: 1, left: [] });
  expect(paths(["one/a.png", "two/a.png"])).toEqual(["one/a.png", "two/a.png"]);
  expect(paths(["one/a.png", "b.png"])).toEqual(["one/a.png", "b.png"]);
});

test("a name is one that every system can keep", () => {
  expect(dataSetOf(dropped(".. a:b*c?./x.png"), KINDS).name).toBe("a-b-c-");
  expect(dataSetOf(dropped("猫 ねこ/x.png"), KINDS).name).toBe("猫 ねこ");
  expect(["", "..", "a/b", "a ", ".a", "a:b"].filter(isFolderName)).toEqual([]);
  expect(["a", "my cats-2", "été"].every(isFolderName)).toBe(true);
});

test("a taken name gets the next number, whatever its case", () => {
  expect(freeName("cats", ["dogs"])).toBe("cats");
  expect(freeName("cats", ["Cats", "cats-2"])).toBe("cats-3");
});

test("hidden files, such as macOS leaves, are no part of it", () => {
  expect(dataSetOf(dropped("cats/a.png", "cats/._a.png", "cats/.DS_Store", "cats/.x/b.png"), KINDS)).toMatchObject({
    pictures: 1,
    left: [],
  });
});
