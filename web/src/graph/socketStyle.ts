/** The look of a socket type: a hue and a shape, so that it is distinct in grey and for the color-blind. */

export type Shape = "circle" | "square" | "diamond" | "triangle" | "hexagon" | "pentagon" | "bar" | "ring";

export interface SocketStyle {
  /** Number of the hue in the style sheet, `--hue-N`. */
  hue: number;
  shape: Shape;
}

const KNOWN: Record<string, SocketStyle> = {
  DiffusionModel: { hue: 0, shape: "circle" },
  ImageDataset: { hue: 1, shape: "square" },
  CaptionedDataset: { hue: 2, shape: "diamond" },
  LatentDataset: { hue: 3, shape: "hexagon" },
  EmbeddingDataset: { hue: 4, shape: "triangle" },
  ImageSet: { hue: 5, shape: "pentagon" },
  int: { hue: 6, shape: "ring" },
  float: { hue: 6, shape: "ring" },
  str: { hue: 7, shape: "bar" },
  bool: { hue: 6, shape: "square" },
};
const SHAPES: Shape[] = ["circle", "square", "diamond", "triangle", "hexagon", "pentagon"];

/** A type of another package gets a look made from its name; where several types fit, the first counts. */
export function styleOf(types: string): SocketStyle {
  const type = types.split(" or ")[0] ?? types;
  const known = KNOWN[type];
  if (known) return known;
  let hash = 7;
  for (const letter of type) hash = (hash * 31 + letter.charCodeAt(0)) >>> 0;
  return { hue: hash % 6, shape: SHAPES[(hash >>> 4) % SHAPES.length] ?? "circle" };
}

const CATEGORY_HUES: Record<string, number> = {
  models: 0,
  data: 1,
  adapters: 4,
  methods: 3,
  merging: 2,
  sampling: 5,
  evaluation: 6,
  output: 7,
};

/** The hue of a category of nodes; one of another package gets one made from its name. */
export const categoryHue = (category: string): number => CATEGORY_HUES[category] ?? styleOf(category).hue;

/** `LatentDataset` becomes `latent dataset`. */
export function typeWords(type: string): string {
  const plain: Record<string, string> = { int: "whole number", float: "number", str: "text", bool: "switch", Literal: "choice" };
  return plain[type] ?? type.replace(/([a-z])([A-Z])/g, "$1 $2").toLowerCase();
}

/** `ImageDataset` becomes `an image dataset`. */
export function oneOf(type: string): string {
  const words = typeWords(type);
  return `${/^[aeiou]/.test(words) ? "an" : "a"} ${words}`;
}

/** `learning_rate` becomes `learning rate`. */
export const nameWords = (name: string): string => name.replaceAll("_", " ");
