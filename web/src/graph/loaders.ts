/** For every kind of saved file, the nodes that load it and sample with it, without repeating the training. */

import { addNode, connect, type Document, emptyDocument } from "./document";

const GAP = 320;

type Fields = Record<string, unknown>;

/** A saved file, and facts about the graph that made it. */
export interface SavedFile {
  /** Class of the node that has saved it. */
  saver: string;
  /** True for a merge that has not been evaluated. */
  isCheckpoint: boolean;
  path: string;
  /** All files of that node, in order. */
  paths: string[];
  /** The words that the graph has trained, as prompts write them. */
  words: string[];
  /** Fields of a node of this class: of the one that the graph used, else those it begins with. */
  used: (type: string) => Fields;
}

/** Adds nodes in a row. */
class Row {
  document: Document = emptyDocument();
  private column = 0;

  /** Add a node, with wires from earlier ones to its inputs. */
  add(type: string, fields: Fields, inputs: Record<string, string> = {}): string {
    const [added, id] = addNode(this.document, { type, fields, position: [GAP * this.column++, 0] });
    this.document = Object.entries(inputs).reduce(
      (all, [name, from]) => connect(all, { node: from, name: "output" }, { node: id, name }, true),
      added,
    );
    return id;
  }
}

/** Returns a graph that samples with a saved file; null if no node can. */
export function samplingGraph(file: SavedFile): Document | null {
  const addSampler = SAMPLERS[file.saver];
  if (!addSampler) return null;
  const row = new Row();
  row.add("SaveImages", {}, { images: addSampler(row, file) });
  return row.document;
}

/** Adds nodes that sample, and returns the id of the one whose outputs are pictures. */
type AddSampler = (row: Row, file: SavedFile) => string;

const sample = (row: Row, { used }: SavedFile, model: string) => row.add("SampleImages", used("SampleImages"), { models: model });

/** The model on which the file was trained. */
const base = (row: Row, { used }: SavedFile) => row.add("LoadModel", used("LoadModel"));

const over =
  (loader: string): AddSampler =>
  (row, file) =>
    sample(row, file, row.add(loader, { file: file.path }, { model: base(row, file) }));

const whole: AddSampler = (row, file) => {
  const { clip_skip, max_token_length, prediction_type } = file.used("LoadModel");
  const kept = Object.entries({ clip_skip, max_token_length, prediction_type }).filter(([, value]) => value !== undefined);
  return sample(row, file, row.add("LoadModel", { ...Object.fromEntries(kept), model: file.path }));
};

const merged: AddSampler = (row, file) => {
  const checkpoint = row.add("LoadCheckpoint", { path: file.path });
  return sample(row, file, row.add("AsModel", {}, { checkpoint, model: base(row, file) }));
};

const nameOf = (path: string): string => (path.split("/").pop() ?? "").replace(/\.[^.]+$/, "");
const plain = (word: string): string => word.replace(/[^\p{L}\p{N}_-]/gu, "");

/** The fields with which a file's word is called as it was in training. */
function wordFields(path: string, place: number, words: string[]): Fields {
  const name = nameOf(path);
  const isNegative = name.endsWith("-neg");
  const own = words.find((word) => name === plain(word) || name.endsWith(`-${plain(word)}`)) ?? words[isNegative ? 0 : place];
  const word = own === undefined ? {} : { placeholder_token: isNegative ? `${own}-neg` : own };
  return { file: path, ...word, ...(isNegative && { negative: true }) };
}

const addWords = (row: Row, model: string, paths: string[], words: string[]): string =>
  paths.reduce((before, path, place) => row.add("LoadEmbedding", wordFields(path, place, words), { model: before }), model);

const SAMPLERS: Record<string, AddSampler> = {
  SaveSafetensors: (row, file) => (file.isCheckpoint ? merged : over("LoadLoRA"))(row, file),
  SaveHypernetwork: over("LoadHypernetwork"),
  SaveCheckpoint: whole,
  SavePipeline: whole,
  SaveEmbedding: (row, file) => sample(row, file, addWords(row, base(row, file), file.paths, file.words)),
  SaveCustomDiffusion: (row, file) => {
    const [changes = file.path, ...words] = file.paths;
    const model = row.add("LoadCustomDiffusion", { file: changes }, { model: base(row, file) });
    return sample(row, file, addWords(row, model, words, file.words));
  },
  SaveAestheticEmbedding: (row, file) => {
    const inputs = { embedding: row.add("LoadAestheticEmbedding", { file: file.path }), model: base(row, file) };
    return sample(row, file, row.add("ApplyAestheticGradient", file.used("ApplyAestheticGradient"), inputs));
  },
  SaveNullText: (row, file) => {
    const inputs = { inversion: row.add("LoadNullText", { file: file.path }), model: base(row, file) };
    return row.add("SampleWithNullText", file.used("SampleWithNullText"), inputs);
  },
  SaveImageEmbedding: (row, file) => {
    const embeddings = row.add("LoadImageEmbedding", { file: file.path });
    const model = row.add("LoadImageVariation", file.used("LoadImageVariation"));
    return row.add("SampleVariation", file.used("SampleVariation"), { embeddings, model });
  },
  SaveImageVariation: (row, file) => {
    const { model: parts } = file.used("LoadModel");
    const model = row.add("LoadImageVariation", { model: file.path, ...(parts !== undefined && { base: parts }) });
    const images = row.add("LoadImages", file.used("LoadImages"));
    return row.add("SampleVariation", file.used("SampleVariation"), { model, images });
  },
};
