import type { BatchTemplate, Handler, NewBatch } from "@/api/types";
import { parseObject, type JsonSchema } from "@/use/schemaForm";
import { readItems, type ItemForm } from "@/use/items";

/** A batch to be as a form: every field is a text, and empty leaves it to the handler. */
export interface BatchForm {
  task_type: string;
  kind: ItemForm;
  items: string;
  name: string;
  params: string;
  concurrency: string;
  pause: string;
  max_retries: string;
  stop_after: string;
  notify: string;
}

export const EMPTY: BatchForm = {
  task_type: "",
  kind: "ids",
  items: "",
  name: "",
  params: "{}",
  concurrency: "",
  pause: "",
  max_retries: "",
  stop_after: "",
  notify: "",
};

const COUNTS = ["concurrency", "max_retries", "stop_after"] as const;
/** The fields that a template has too. */
const SHARED = ["name", "params", "concurrency", "pause", "max_retries", "stop_after", "notify"] as const;
const VARIABLE = /\{\{\s*([A-Za-z_]\w*)\s*\}\}/g;
/** Variables that are always there. */
const CLOCK = ["today", "now"];

/** The schema of what each item is; a handler without a parameter `item` takes no batches. */
export const itemSchema = (handler: Handler | undefined) =>
  (handler?.parameters as JsonSchema | undefined)?.properties?.item;

/** The schema of a batch's parameters: the handler's own without the item. */
export function paramsSchema(handler: Handler | undefined): JsonSchema | undefined {
  const schema = handler?.parameters as JsonSchema | undefined;
  if (!schema?.properties) return undefined;
  const { item: _, ...properties } = schema.properties;
  if (Object.keys(properties).length === 0) return undefined;
  return { ...schema, properties, required: schema.required?.filter((name) => name !== "item") };
}

/** The items as typed; ids are numbers where the handler takes numbers. */
export function itemsOf(form: BatchForm, handler: Handler | undefined) {
  const type = itemSchema(handler)?.type;
  return readItems(form.kind, form.items, type === "integer" || type === "number");
}

/** All that the form says besides its items, which a template keeps too. */
export function fieldsOf(form: BatchForm): Omit<NewBatch, "items" | "start"> {
  const params = parseObject(form.params) ?? {};
  const notify = form.notify.split(/[\s,;]+/).filter(Boolean);
  const counts = COUNTS.filter((name) => form[name].trim() !== "").map((name) => [name, numberOf(form[name])]);
  return {
    ...(Object.fromEntries(counts) as Partial<NewBatch>),
    ...(form.name.trim() && { name: form.name.trim() }),
    ...(form.pause.trim() && { pause: form.pause.trim() }),
    ...(Object.keys(params).length > 0 && { params }),
    ...(notify.length > 0 && { notify }),
  };
}

/** What a template is to keep: what the form says, and those of its fields that the form has no place for. */
export function templateFields(form: BatchForm, template?: BatchTemplate): Record<string, unknown> {
  const others = Object.entries(template?.fields ?? {}).filter(([name]) => !(SHARED as readonly string[]).includes(name));
  return { ...Object.fromEntries(others), ...fieldsOf(form) };
}

/** What the form says otherwise than its template; null takes out what the template says. */
export function changesTo(form: BatchForm, template: BatchTemplate): Partial<NewBatch> {
  const before = withTemplate(EMPTY, template);
  const given = fieldsOf(form) as Record<string, unknown>;
  const changed = SHARED.filter((name) => form[name] !== before[name]);
  return Object.fromEntries(changed.map((name) => [name, given[name] ?? null]));
}

/** The names in double braces in the form's texts, which a template is filled in with. */
export function variablesIn(form: BatchForm): string[] {
  const texts = SHARED.map((name) => form[name]).join(" ");
  const names = [...texts.matchAll(VARIABLE)].map(([, name]) => name as string);
  return [...new Set(names)].filter((name) => !CLOCK.includes(name));
}

/** What was typed for variables: numbers and truths as such, null where nothing was. */
export function valuesOf(names: readonly string[], typed: Record<string, string>): Record<string, unknown> {
  return Object.fromEntries(names.map((name) => [name, valueOf(typed[name]?.trim() ?? "")]));
}

function valueOf(text: string): unknown {
  if (text === "") return null;
  return /^(true|false|-?(0|[1-9]\d{0,14})(\.\d+)?)$/.test(text) ? JSON.parse(text) : text;
}

/** A variable stays what it is: the number comes when it is filled in. */
const numberOf = (text: string) => (text.includes("{{") ? text.trim() : Number(text));

/** The form with what a template says; its items stay. */
export function withTemplate(form: BatchForm, template: BatchTemplate): BatchForm {
  const { fields } = template;
  const text = (name: string) => (fields[name] === undefined || fields[name] === null ? "" : String(fields[name]));
  return {
    ...form,
    task_type: template.task_type,
    name: text("name"),
    params: JSON.stringify(fields.params ?? {}, null, 2),
    concurrency: text("concurrency"),
    pause: text("pause"),
    max_retries: text("max_retries"),
    stop_after: text("stop_after"),
    notify: addresses(fields.notify).join(", "),
  };
}

function addresses(notify: unknown): string[] {
  if (Array.isArray(notify)) return notify.map(String);
  if (typeof notify !== "object" || notify === null) return [];
  return Object.values(notify as Record<string, unknown>).flatMap((part) => addresses(part));
}
