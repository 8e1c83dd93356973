/** The workflow that a file carries; of large files only the headers are read. */

const KEY = "latentloom";
const MAX_DOCUMENT = 20 * 2 ** 20;
const MAX_HEADER = 100 * 2 ** 20;
const PNG = "\x89PNG\r\n\x1a\n";
const TEXTS = ["tEXt", "zTXt", "iTXt"];

/** The workflow in a JSON file, or the one that made a PNG or a safetensors file; null when there is none that can be read. */
export async function embeddedWorkflow(file: Blob): Promise<unknown | null> {
  const text = await embeddedText(file);
  const value = text === null ? null : parsed(text);
  if (typeof value !== "object" || value === null) return null;
  return "workflow" in value && !("format" in value) ? value.workflow : value;
}

async function embeddedText(file: Blob): Promise<string | null> {
  const start = await bytes(file, 0, 9);
  if (latin(start.subarray(0, 8)) === PNG) return pngText(file);
  const length = headerLength(start);
  if (length <= Math.min(file.size - 8, MAX_HEADER)) return safetensorsText(file, length);
  return file.size <= MAX_DOCUMENT ? file.text() : null;
}

/** The length of a safetensors header, infinite when the file begins with none: in JSON these bytes are a huge number. */
function headerLength(start: Uint8Array<ArrayBuffer>): number {
  return start.at(8) === "{".charCodeAt(0) ? Number(new DataView(start.buffer).getBigUint64(0, true)) : Number.POSITIVE_INFINITY;
}

async function safetensorsText(file: Blob, length: number): Promise<string | null> {
  const header = parsed(await file.slice(8, 8 + length).text()) as { __metadata__?: Record<string, unknown> } | null;
  const text = header?.__metadata__?.[KEY];
  return typeof text === "string" ? text : null;
}

/** The text chunk of a PNG under our name (PNG specification, 11.3.4). */
async function pngText(file: Blob): Promise<string | null> {
  for (let at = 8; at + 8 <= file.size; ) {
    const head = await bytes(file, at, 8);
    const length = new DataView(head.buffer).getUint32(0);
    const kind = latin(head.subarray(4));
    if (kind === "IEND") return null;
    if (TEXTS.includes(kind) && length <= MAX_HEADER) {
      const chunk = await bytes(file, at + 8, length);
      if (latin(chunk.subarray(0, KEY.length + 1)) === `${KEY}\0`) return chunkText(kind, chunk.subarray(KEY.length + 1));
    }
    at += length + 12;
  }
  return null;
}

async function chunkText(kind: string, rest: Uint8Array<ArrayBuffer>): Promise<string | null> {
  if (kind === "tEXt") return latin(rest);
  if (kind === "zTXt") return inflated(rest.subarray(1)).then((content) => content && latin(content));
  const language = rest.indexOf(0, 2);
  const translated = rest.indexOf(0, language + 1);
  if (language < 0 || translated < 0) return null;
  const content = rest.subarray(translated + 1);
  const plain = rest[0] ? await inflated(content) : content;
  return plain && new TextDecoder().decode(plain);
}

/** Returns zlib-decompressed bytes; null when they are damaged, or larger than the limit of a header. */
async function inflated(packed: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer> | null> {
  const reader = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate")).getReader();
  const parts: Uint8Array<ArrayBuffer>[] = [];
  let size = 0;
  try {
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      size += part.value.length;
      if (size > MAX_HEADER) {
        await reader.cancel();
        return null;
      }
      parts.push(part.value);
    }
  } catch {
    return null;
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}

async function bytes(file: Blob, at: number, length: number): Promise<Uint8Array<ArrayBuffer>> {
  return new Uint8Array(await file.slice(at, at + length).arrayBuffer());
}

/** Bytes as Latin-1, which TextDecoder would read as Windows-1252. */
function latin(content: Uint8Array): string {
  let text = "";
  for (let at = 0; at < content.length; at += 8192) text += String.fromCharCode(...content.subarray(at, at + 8192));
  return text;
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
