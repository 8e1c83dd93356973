import { expect, test } from "vitest";
import { sha256 } from "../src/graph/sha256";

test.each([
  ["", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"],
  ["abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"],
  ["ä".repeat(60), "ae47adceb80f75d46afc10b0270f7dda5d8bbc6b2bc98b7213bb1e1f8c6203b8"],
])("the SHA-256 of %j is that of the standard", (text, digest) => {
  expect(sha256(text)).toBe(digest);
});
