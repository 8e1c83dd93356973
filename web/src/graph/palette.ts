/** Node classes, looked up by name, and their fields read from JSON Schema. */

import type { FieldSocket, InputSocket, NodeDescription, OutputSocket } from "../api/types";
import { paragraphs } from "./paragraphs";

export type { FieldSocket, InputSocket, NodeDescription, OutputSocket };
export type Palette = ReadonlyMap<string, NodeDescription>;

/** What the value of a field is. */
export type FieldKind = "integer" | "number" | "seed" | "switch" | "choice" | "text";

/** A field as an editor shows it. */
export interface FieldSpec {
  name: string;
  kind: FieldKind;
  /** The name of what edits it, here or in a package; empty for what fits the kind. */
  widget: string;
  help: string;
  default: unknown;
  required: boolean;
  group: string;
  minimum: number;
  maximum: number;
  multipleOf: number;
  choices: string[];
  pattern: string;
  maxLength: number;
}

type Schema = Record<string, unknown>;

export function makePalette(nodes: NodeDescription[]): Palette {
  return new Map(nodes.map((node) => [node.name, { ...node, description: paragraphs(node.description) }]));
}

/** Returns the schema version that a document stores with a new node, so that later releases can migrate its names. */
export const versionOf = (node: NodeDescription | undefined): { schema_version?: number } =>
  node ? { schema_version: node.schema_version } : {};

const known = new WeakMap<NodeDescription, FieldSpec[]>();

/** The fields of a class, in the order in which it declares them. */
export function fieldsOf(node: NodeDescription): FieldSpec[] {
  let specs = known.get(node);
  if (!specs) {
    const schema = node.fields as Schema;
    const required = new Set((schema.required as string[] | undefined) ?? []);
    const properties = Object.entries((schema.properties as Record<string, Schema> | undefined) ?? {});
    specs = properties.map(([name, property]) => spec(name, resolved(property, schema), required.has(name)));
    known.set(node, specs);
  }
  return specs;
}

function resolved(property: Schema, root: Schema): Schema {
  const options = property.anyOf as Schema[] | undefined;
  const main = options?.find((option) => option.type !== "null") ?? {};
  const reference = (property.$ref ?? main.$ref) as string | undefined;
  const definitions = root.$defs as Record<string, Schema> | undefined;
  const shared = reference ? definitions?.[reference.split("/").pop() ?? ""] : undefined;
  return { ...shared, ...main, ...property };
}

function spec(name: string, schema: Schema, required: boolean): FieldSpec {
  const number = (key: string, otherwise: number) => (typeof schema[key] === "number" ? (schema[key] as number) : otherwise);
  return {
    name,
    kind: kind(name, schema),
    widget: String(schema.widget ?? ""),
    help: paragraphs(String(schema.description ?? "")),
    default: schema.default,
    required,
    group: String(schema.group ?? ""),
    minimum: number("minimum", number("exclusiveMinimum", Number.NEGATIVE_INFINITY)),
    maximum: number("maximum", number("exclusiveMaximum", Number.POSITIVE_INFINITY)),
    multipleOf: number("multipleOf", 0),
    choices: ((schema.enum as unknown[] | undefined) ?? []).map(String),
    pattern: String(schema.pattern ?? ""),
    maxLength: number("maxLength", Number.POSITIVE_INFINITY),
  };
}

function kind(name: string, schema: Schema): FieldKind {
  if (schema.enum) return "choice";
  if (schema.type === "boolean") return "switch";
  if (schema.type === "integer") return /(^|_)seed$/.test(name) ? "seed" : "integer";
  if (schema.type === "number") return "number";
  return "text";
}

/** The field that takes a folder of pictures, if the class has one. */
export function pictureFolderOf(node: NodeDescription): FieldSpec | undefined {
  return fieldsOf(node).find(isPictureFolder);
}

export const isPictureFolder = (field: FieldSpec): boolean => field.widget === "workspace-folder" && field.name === "folder";

/** The value that a field has: its own, else the default. */
export function valueOf(field: FieldSpec, fields: Record<string, unknown> | undefined): unknown {
  const value = fields?.[field.name];
  return value === undefined ? field.default : value;
}

/** Returns why a value is invalid, as a catalogue key with numbers; null for a valid one. The server checks again. */
export type FieldFault =
  | { code: "missing" }
  | { code: "notNumber" }
  | { code: "notInteger" }
  | { code: "tooSmall"; limit: number }
  | { code: "tooLarge"; limit: number }
  | { code: "notMultiple"; limit: number }
  | { code: "tooLong"; limit: number }
  | { code: "notChoice" }
  | { code: "pattern" };

export function faultOf(field: FieldSpec, value: unknown): FieldFault | null {
  if (value === undefined || (value === "" && field.required && field.default === undefined)) {
    return field.required ? { code: "missing" } : null;
  }
  if (field.kind === "integer" || field.kind === "number" || field.kind === "seed") return numberFault(field, value);
  if (field.kind === "choice") return field.choices.includes(String(value)) ? null : { code: "notChoice" };
  if (typeof value === "string" && value.length > field.maxLength) return { code: "tooLong", limit: field.maxLength };
  if (typeof value === "string" && field.pattern && !new RegExp(field.pattern, "u").test(value)) return { code: "pattern" };
  return null;
}

function numberFault(field: FieldSpec, value: unknown): FieldFault | null {
  if (typeof value !== "number" || !Number.isFinite(value)) return { code: "notNumber" };
  if (field.kind !== "number" && !Number.isInteger(value)) return { code: "notInteger" };
  if (field.kind !== "number" && !Number.isSafeInteger(value)) return { code: "tooLarge", limit: Number.MAX_SAFE_INTEGER };
  if (value < field.minimum) return { code: "tooSmall", limit: field.minimum };
  if (value > field.maximum) return { code: "tooLarge", limit: field.maximum };
  const steps = field.multipleOf ? value / field.multipleOf : 0;
  return Math.abs(steps - Math.round(steps)) > 1e-9 ? { code: "notMultiple", limit: field.multipleOf } : null;
}

export function inputOf(node: NodeDescription, name: string): InputSocket | undefined {
  return node.inputs.find((socket) => socket.name === name);
}

export function fieldSocketOf(node: NodeDescription, name: string): FieldSocket | undefined {
  return node.field_sockets.find((socket) => socket.name === name);
}

export function outputOf(node: NodeDescription, name: string): OutputSocket | undefined {
  return node.outputs.find((socket) => socket.name === name);
}
