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
  const counts = COUNTS.filter((name) => form[name].trim() !== "").map((name) => [name, Number(form[name])]);
  return {
    ...(Object.fromEntries(counts) as Partial<NewBatch>),
    ...(form.name.trim() && { name: form.name.trim() }),
    ...(form.pause.trim() && { pause: form.pause.trim() }),
    ...(Object.keys(params).length > 0 && { params }),
    ...(notify.length > 0 && { notify }),
  };
}

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
