import { stringify } from "./exact";

/** A form from a JSON Schema: its fields, and values as text and back. */

export interface JsonSchema {
  type?: string;
  title?: string;
  description?: string;
  default?: unknown;
  enum?: unknown[];
  format?: string;
  properties?: Record<string, JsonSchema>;
  required?: string[];
  anyOf?: JsonSchema[];
  allOf?: JsonSchema[];
  $ref?: string;
  $defs?: Record<string, JsonSchema>;
}

export type Control = "text" | "number" | "integer" | "boolean" | "choice" | "json";

export interface FormField {
  name: string;
  label: string;
  help: string;
  control: Control;
  required: boolean;
  options: string[];
  fallback: unknown;
}

/** The fields of an object's schema, those that are required first. */
export function fieldsOf(schema: JsonSchema): FormField[] {
  const required = new Set(schema.required ?? []);
  return Object.entries(schema.properties ?? {}).map(([name, given]) => {
    const part = plain(given, schema);
    return {
      name,
      label: name,
      help: part.description ?? given.description ?? "",
      control: controlOf(part),
      required: required.has(name),
      options: (part.enum ?? []).map(String),
      fallback: given.default ?? part.default,
    };
  });
}

function plain(schema: JsonSchema, root: JsonSchema): JsonSchema {
  if (schema.$ref) return plain(root.$defs?.[schema.$ref.split("/").at(-1) ?? ""] ?? {}, root);
  if (schema.allOf?.length === 1) return plain(schema.allOf[0]!, root);
  const others = (schema.anyOf ?? []).filter((option) => option.type !== "null");
  if (others.length === 1) return { ...plain(others[0]!, root), description: schema.description };
  return schema;
}

function controlOf(schema: JsonSchema): Control {
  if (schema.enum) return "choice";
  switch (schema.type) {
    case "string":
      return "text";
    case "integer":
    case "number":
    case "boolean":
      return schema.type;
    default:
      return "json";
  }
}

/** A value as the text of its control. */
export function toText(value: unknown, control: Control): string {
  if (value === undefined || value === null) return "";
  return control === "json" ? stringify(value) : String(value);
}

/** The value that a control's text means; undefined where it says nothing. Throws where it is none. */
export function fromText(text: string, control: Control): unknown {
  if (control === "text" || control === "choice") return text === "" ? undefined : text;
  if (text.trim() === "") return undefined;
  if (control === "boolean") return text === "true";
  if (control === "json") return JSON.parse(text);
  const value = Number(text);
  if (!Number.isFinite(value) || (control === "integer" && !Number.isInteger(value))) {
    throw new TypeError(control);
  }
  return value;
}

/** A JSON object from text; null where it is none. */
export function parseObject(text: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(text.trim() || "{}");
    const isObject = typeof value === "object" && value !== null && !Array.isArray(value);
    return isObject ? (value as Record<string, unknown>) : null;
  } catch {
    return null;
  }
}
