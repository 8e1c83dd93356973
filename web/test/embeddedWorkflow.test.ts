import { describe, expect, test } from "vitest";
import { embeddedWorkflow } from "../src/graph/embeddedWorkflow";

const WORKFLOW = { format: "latentloom/1", name: "größer ✓", nodes: {} };
const CARRIED = JSON.stringify({ workflow: WORKFLOW, inputs: {}, versions: {} });
const ASCII = CARRIED.replace(/[^ -~]/g, (letter) => `\\u${letter.charCodeAt(0).toString(16).padStart(4, "0")}`);

const utf8 = (text: string): Uint8Array<ArrayBuffer> => new Uint8Array([...new TextEncoder().encode(text)]);

async function deflated(content: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
  const stream = new Blob([content]).stream().pipeThrough(new CompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

function chunk(kind: string, ...parts: Uint8Array<ArrayBuffer>[]): Blob {
  const length = new DataView(new ArrayBuffer(4));
  length.setUint32(0, new Blob(parts).size);
  return new Blob([length, kind, ...parts, new Uint8Array(4)]);
}

const png = (...chunks: Blob[]): Blob =>
  new Blob([
    new Uint8Array([0x89, 0x50, 0x4e, 0x47, 13, 10, 26, 10]),
    chunk("IHDR", new Uint8Array(13)),
    ...chunks,
    chunk("IEND"),
  ]);

function safetensors(header: string, length = utf8(header).length): Blob {
  const size = new DataView(new ArrayBuffer(8));
  size.setBigUint64(0, BigInt(length), true);
  return new Blob([size, utf8(header), new Uint8Array(64)]);
}

describe("the workflow is found", () => {
  test("in its own file, and in what an artifact carries as text", async () => {
    expect(await embeddedWorkflow(new Blob([JSON.stringify(WORKFLOW)]))).toEqual(WORKFLOW);
    expect(await embeddedWorkflow(new Blob([CARRIED]))).toEqual(WORKFLOW);
  });

  test.each(["tEXt", "zTXt", "iTXt", "compressed iTXt", "translated iTXt"])("in a PNG's %s chunk", async (kind) => {
    const content: Record<string, () => Promise<Blob>> = {
      tEXt: async () => chunk("tEXt", utf8(`latentloom\0${ASCII}`)),
      zTXt: async () => chunk("zTXt", utf8("latentloom\0\0"), await deflated(utf8(ASCII))),
      iTXt: async () => chunk("iTXt", utf8(`latentloom\0\0\0\0\0${CARRIED}`)),
      "compressed iTXt": async () => chunk("iTXt", utf8("latentloom\0\x01\0\0\0"), await deflated(utf8(CARRIED))),
      "translated iTXt": async () => chunk("iTXt", utf8(`latentloom\0\0\0de\0Webstuhl\0${CARRIED}`)),
    };
    const found = await content[kind]?.();
    const picture = png(chunk("tEXt", utf8("prompt\0a cat")), chunk("IDAT", new Uint8Array(99)), found ?? new Blob());
    expect(await embeddedWorkflow(picture)).toEqual(WORKFLOW);
  });

  test("in the header of a safetensors file", async () => {
    const file = safetensors(JSON.stringify({ __metadata__: { format: "pt", latentloom: CARRIED } }));
    expect(await embeddedWorkflow(file)).toEqual(WORKFLOW);
  });
});

describe("nothing is found", () => {
  test.each([
    ["no JSON", new Blob(["hello"])],
    ["an empty file", new Blob([])],
    ["a number", new Blob(["3"])],
    ["an empty safetensors file", new Blob([])],
    ["a header that is longer than its file", safetensors("{}", 10_000)],
    ["a header that is no JSON", safetensors("{nope")],
    ["a header without metadata", safetensors("{}")],
    ["a header that is null", safetensors("null")],
    ["a picture without text", png()],
    ["a picture with another text", png(chunk("tEXt", utf8("latentloomer\0x")))],
    ["a picture with a damaged text", png(chunk("zTXt", utf8("latentloom\0\0nope")))],
    ["a picture with half a text", png(chunk("iTXt", utf8("latentloom\0\0")))],
    ["half a picture", png(chunk("IDAT", new Uint8Array(99))).slice(0, 60)],
  ])("in %s", async (_, file) => {
    expect(await embeddedWorkflow(file)).toBeNull();
  });

  test("in a text that unpacks to more than a header may hold", async () => {
    const bomb = await deflated(new Uint8Array(101 * 2 ** 20));
    expect(await embeddedWorkflow(png(chunk("zTXt", utf8("latentloom\0\0"), bomb)))).toBeNull();
  });
});

test("of a large file only the header is read", async () => {
  const file = safetensors(JSON.stringify({ __metadata__: { latentloom: CARRIED } }));
  const read: number[] = [];
  const watched = new Proxy(file, {
    get: (target, key) => {
      if (key === "size") return 2 ** 40;
      if (key !== "slice") throw new Error(`${String(key)} reads everything`);
      return (from: number, to: number) => {
        read.push(to - from);
        return target.slice(from, to);
      };
    },
  });
  expect(await embeddedWorkflow(watched)).toEqual(WORKFLOW);
  expect(read.reduce((sum, count) => sum + count, 0)).toBeLessThan(2000);
});
